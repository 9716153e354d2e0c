//! What a metric measures, as far as unit, name and kind tell: it decides scale and tolerance.

use serde::{Deserialize, Serialize};

use super::terms::Sides;
use crate::{
    detect::{
        Group,
        group::{PERCENT, has_word},
    },
    event::{Kind, Unit},
};

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Measure {
    /// A bounded share; the value is divided by `full` (100 for percent) and compared in points.
    Share {
        /// The value that means everything.
        full: f64,
    },
    /// Memory in use.
    Memory,
    /// What else a process gathers from its start on: threads, connections, entries of caches.
    Held,
    /// Events per time that only a process of some age has: what it gathered is dropped.
    Dropped,
    /// How long something takes.
    Latency,
    /// Processor in use.
    Cpu,
    /// Events per time.
    Count,
    /// A quantity per time that is no number of events: seconds, bytes, sums of them.
    Amount,
    /// Anything else.
    Other,
}

/// Whom a metric speaks of that is not the service itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Bystander {
    Machine,
    Callee,
    Process,
    Build,
}

/// A metric's class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Class {
    /// What it measures.
    pub(super) measure: Measure,
    /// Whom it speaks of, where that is not the service itself: such metrics inform, but under a
    /// selection of everything they do not block. A fresh host sits on another machine, and a
    /// failing neighbour is not the version's fault.
    pub(super) speaks_of: Option<Bystander>,
}

/// Last words of the names of counters that add up a quantity.
const QUANTITIES: [&str; 7] = [
    "sum",
    "seconds",
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "bytes",
    "joules",
];
/// Words of what a process gathers from its start on.
const HELD: [&str; 11] = [
    "threads",
    "goroutines",
    "connections",
    "sessions",
    "descriptors",
    "fds",
    "cache",
    "cached",
    "classes",
    "buffers",
    "pool",
];
/// Words of what is in use just now: that follows the load, not the age of the process, but for sessions, which
/// are active for half an hour after they were.
const IN_USE: [&str; 4] = ["busy", "active", "running", "used"];
const LASTING: &str = "sessions";
/// Words of what happens to things when they have been held for long enough, or when there are too many.
const DROPPED: [&str; 8] = [
    "evicted",
    "eviction",
    "evictions",
    "expire",
    "expired",
    "expiration",
    "expirations",
    "invalidated",
];
/// Last words of the names of numbers that stand for what was built or configured: they measure nothing.
const FINGERPRINTS: [&str; 4] = ["hash", "checksum", "fingerprint", "revision"];
/// A share of 1 may exceed it by what is rounded.
const SHARE_MAX: f64 = 1.1;

impl Bystander {
    /// A phrase for a person.
    pub(super) fn phrase(self) -> &'static str {
        match self {
            Self::Machine => "the machine, not the version",
            Self::Callee => "what it calls, not the version",
            Self::Process => "the age of the process, not the version",
            Self::Build => "what was built or configured, not how it does",
        }
    }
}

impl Class {
    /// Classes a group.
    pub(super) fn of(group: &Group) -> Self {
        let name = group.key.labels.metric().to_ascii_lowercase();
        // `1` is the unit of shares, and of whatever else has none (UCUM): what exceeds 1 is no share of it.
        let unit = if group.unit == Unit::Ratio && group.exceeds(SHARE_MAX) {
            Unit::Unknown
        } else {
            group.unit
        };
        Self {
            measure: measure(&name, group.kind, unit),
            speaks_of: speaks_of(&name),
        }
    }

    /// The difference that is accepted by default where hosts have a past or there are many of
    /// them: a relative one as a logarithm, of shares in shares.
    pub(super) fn tolerance(&self) -> f64 {
        match self.measure {
            Measure::Share { .. } => 0.01,
            Measure::Memory
            | Measure::Held
            | Measure::Latency
            | Measure::Cpu
            | Measure::Count
            | Measure::Dropped
            | Measure::Amount
            | Measure::Other => 1.1_f64.ln(),
        }
    }

    /// The smallest difference that is harm by default, where many hosts have a past: half of the tolerance.
    /// A harm as large as the tolerance would else be judged by the toss of a coin, since its estimate
    /// is as often below it as above. A metric's traffic is given to it: there it is the tolerance.
    pub(super) fn least(&self) -> f64 {
        match self.measure {
            Measure::Memory | Measure::Held | Measure::Latency | Measure::Cpu | Measure::Other => {
                1.05_f64.ln()
            }
            Measure::Share { .. } | Measure::Count | Measure::Dropped | Measure::Amount => {
                self.tolerance()
            }
        }
    }

    /// The tolerance for hosts that were never seen before: fresh hosts differ more.
    pub(super) fn tolerance_cold(&self) -> f64 {
        match self.measure {
            Measure::Share { .. } => 0.05,
            Measure::Memory
            | Measure::Held
            | Measure::Latency
            | Measure::Cpu
            | Measure::Count
            | Measure::Dropped
            | Measure::Amount
            | Measure::Other => 1.5_f64.ln(),
        }
    }

    /// The same for a change of theirs in the midst of the bake: they warm up, and get their share of the traffic by
    /// and by.
    pub(super) fn tolerance_within(&self) -> f64 {
        match self.measure {
            Measure::Share { .. } => 0.025,
            Measure::Memory
            | Measure::Held
            | Measure::Latency
            | Measure::Cpu
            | Measure::Count
            | Measure::Dropped
            | Measure::Amount
            | Measure::Other => 1.25_f64.ln(),
        }
    }

    /// Standard deviation between healthy fresh hosts, before anything is known of these.
    pub(super) fn sigma_cold(&self) -> f64 {
        match self.measure {
            Measure::Share { .. } => 0.01,
            Measure::Memory => 0.15,
            Measure::Held
            | Measure::Latency
            | Measure::Cpu
            | Measure::Count
            | Measure::Dropped
            | Measure::Amount
            | Measure::Other => 0.35,
        }
    }

    /// Smallest standard deviation that is believed: rounding and constant values would make every
    /// difference significant.
    pub(super) fn sigma_min(&self) -> f64 {
        match self.measure {
            Measure::Share { .. } => 0.001,
            Measure::Memory
            | Measure::Held
            | Measure::Latency
            | Measure::Cpu
            | Measure::Count
            | Measure::Dropped
            | Measure::Amount
            | Measure::Other => 0.01,
        }
    }

    /// Whether it is a stock that something may leak into: memory, descriptors, queues.
    pub(super) fn is_stock(&self) -> bool {
        match self.measure {
            Measure::Memory | Measure::Held | Measure::Other => true,
            Measure::Share { .. }
            | Measure::Latency
            | Measure::Cpu
            | Measure::Count
            | Measure::Dropped
            | Measure::Amount => false,
        }
    }

    /// Whether it is what a process gathers from its start on.
    pub(super) fn is_gathered(&self) -> bool {
        matches!(self.measure, Measure::Memory | Measure::Held)
    }

    /// Whether a counter of it adds up a quantity instead of counting events. Part of what it adds up may
    /// follow the traffic, and part of it not.
    pub(super) fn is_amount(&self) -> bool {
        matches!(self.measure, Measure::Cpu | Measure::Amount)
    }

    /// Which side of the fleet is harm where this one was asked for. A process that has just begun holds
    /// less memory, has fewer threads and has nothing to drop, for as long as it fills up: less than the fleet is
    /// harm only where nothing else is.
    pub(super) fn sides(&self, asked: Sides) -> Sides {
        let has_little = self.is_gathered() || self.measure == Measure::Dropped;
        match asked {
            Sides::Both if has_little => Sides::Up,
            Sides::Both | Sides::Up | Sides::Down => asked,
        }
    }

    /// Whether differences are in points of a share.
    pub(super) fn is_share(&self) -> bool {
        matches!(self.measure, Measure::Share { .. })
    }
}

/// Whom a metric speaks of, by the names that exporters and OpenTelemetry's semantic conventions use:
/// `system.*`, `hw.*` and `k8s.node.*` are the machine, `http.client.*` and its like what is called. How
/// long a process has been up begins anew with every version.
fn speaks_of(name: &str) -> Option<Bystander> {
    if has_word(name, &["uptime"]) {
        return Some(Bystander::Process);
    }
    let last = name.rsplit(['_', '.']).next();
    if last.is_some_and(|last| FINGERPRINTS.contains(&last)) {
        return Some(Bystander::Build);
    }
    let mut parts = name.split(['_', '.']);
    match (parts.next()?, parts.next()?) {
        ("node" | "system" | "hw" | "machine", _) | ("k8s", "node") => Some(Bystander::Machine),
        ("out" | "client", _)
        | ("http" | "rpc" | "grpc" | "db" | "messaging", "client")
        | ("dns", "lookup") => Some(Bystander::Callee),
        _ => None,
    }
}

/// Whether a counter adds up a quantity: by its unit, or by the suffixes that Prometheus asks for. What counts
/// the members of a sum, or of a bucket, has the unit of that in its name, too.
fn is_amount(name: &str, unit: Unit) -> bool {
    let name = name.strip_suffix("_total").unwrap_or(name);
    let last = name.rsplit(['_', '.']).next();
    match (last, unit) {
        (Some("count" | "bucket"), _) | (_, Unit::Count) => false,
        (_, unit) if unit.is_time() || unit == Unit::Bytes => true,
        (Some(last), _) => QUANTITIES.contains(&last),
        (None, _) => false,
    }
}

fn measure(name: &str, kind: Kind, unit: Unit) -> Measure {
    let has = |words: &[&str]| has_word(name, words);
    if kind == Kind::Counter && unit != Unit::Percent && unit != Unit::Ratio {
        return if has(&["cpu"]) {
            Measure::Cpu
        } else if is_amount(name, unit) {
            Measure::Amount
        } else if has(&DROPPED) {
            Measure::Dropped
        } else {
            Measure::Count
        };
    }
    if has(&["cpu"]) {
        return Measure::Cpu;
    }
    // Of what is left of it less is harm.
    let is_left = has(&["free", "available", "avail", "idle"]);
    // What a collection of garbage left, 0 until the first one.
    let is_left_over = has(&["live"]) && has(&["data"]);
    let is_held = is_left_over || has(&HELD) && (!has(&IN_USE) || has(&[LASTING]));
    if has(&["mem", "memory", "rss", "heap"]) && !is_left {
        return Measure::Memory;
    }
    match unit {
        Unit::Percent => Measure::Share { full: 100.0 },
        Unit::Ratio => Measure::Share { full: 1.0 },
        Unit::Seconds | Unit::Milliseconds | Unit::Microseconds | Unit::Nanoseconds => {
            Measure::Latency
        }
        Unit::Unknown if has(&["ratio", "utilization"]) => Measure::Share { full: 1.0 },
        Unit::Unknown if has(PERCENT) => Measure::Share { full: 100.0 },
        Unit::Unknown if has(&["latency", "duration"]) => Measure::Latency,
        Unit::Unknown | Unit::Bytes | Unit::Count if is_held && !is_left => Measure::Held,
        Unit::Unknown | Unit::Bytes | Unit::Count => Measure::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conventions_tell_the_machine_and_what_is_called_from_the_service() {
        use Bystander::{Build, Callee, Machine, Process};
        for (name, expected) in [
            ("node_load1", Some(Machine)),
            ("system.memory.usage", Some(Machine)),
            ("k8s.node.cpu.usage", Some(Machine)),
            ("k8s.pod.cpu.usage", None),
            ("hw_temperature_celsius", Some(Machine)),
            ("process.cpu.time", None),
            ("jvm.memory.used", None),
            ("http.client.request.duration", Some(Callee)),
            ("http.server.request.duration", None),
            ("db_client_operation_duration_seconds", Some(Callee)),
            ("dns.lookup.duration", Some(Callee)),
            ("out_latency_s", Some(Callee)),
            ("outages_total", None),
            ("nodes", None),
            ("process_uptime_seconds", Some(Process)),
            ("process.uptime", Some(Process)),
            ("process_start_time_seconds", None),
            ("alertmanager_config_hash", Some(Build)),
            ("hash_failures", None),
        ] {
            assert_eq!(speaks_of(name), expected, "{name}");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of names")]
    fn unit_name_and_kind_tell_the_class() {
        for (name, kind, unit, expected) in [
            (
                "in_success_pct.frontend",
                Kind::Gauge,
                Unit::Percent,
                Measure::Share { full: 100.0 },
            ),
            ("cpu_pct", Kind::Gauge, Unit::Unknown, Measure::Cpu),
            ("mem.rss", Kind::Gauge, Unit::Bytes, Measure::Memory),
            (
                "http_latency_p99",
                Kind::Gauge,
                Unit::Unknown,
                Measure::Latency,
            ),
            ("work", Kind::Histogram, Unit::Seconds, Measure::Latency),
            (
                "cache_hit_ratio",
                Kind::Gauge,
                Unit::Unknown,
                Measure::Share { full: 1.0 },
            ),
            (
                "http_requests_total",
                Kind::Counter,
                Unit::Unknown,
                Measure::Count,
            ),
            (
                "jvm.buffer.utilization",
                Kind::Gauge,
                Unit::Unknown,
                Measure::Share { full: 1.0 },
            ),
            (
                "http.server.request.duration",
                Kind::Histogram,
                Unit::Seconds,
                Measure::Latency,
            ),
            (
                "memory_available_bytes",
                Kind::Gauge,
                Unit::Bytes,
                Measure::Other,
            ),
            ("queue_depth", Kind::Gauge, Unit::Count, Measure::Other),
            ("go_threads", Kind::Gauge, Unit::Unknown, Measure::Held),
            (
                "pool_connections_idle",
                Kind::Gauge,
                Unit::Unknown,
                Measure::Other,
            ),
            ("threads_busy", Kind::Gauge, Unit::Count, Measure::Other),
            (
                "tomcat_sessions_active_current_sessions",
                Kind::Gauge,
                Unit::Unknown,
                Measure::Held,
            ),
            (
                "jvm_gc_live_data_size_bytes",
                Kind::Gauge,
                Unit::Bytes,
                Measure::Held,
            ),
            ("m01", Kind::Gauge, Unit::Unknown, Measure::Other),
        ] {
            assert_eq!(measure(name, kind, unit), expected, "{name}");
        }
    }

    #[test]
    fn counters_of_quantities_are_told_from_those_of_events() {
        for (name, unit, expected) in [
            ("process_cpu_seconds_total", Unit::Unknown, Measure::Cpu),
            ("jvm_gc_pause_seconds_sum", Unit::Unknown, Measure::Amount),
            ("jvm.gc.time", Unit::Milliseconds, Measure::Amount),
            ("network_sent_bytes_total", Unit::Unknown, Measure::Amount),
            (
                "request_duration_seconds_count",
                Unit::Seconds,
                Measure::Count,
            ),
            (
                "request_duration_seconds_bucket",
                Unit::Seconds,
                Measure::Count,
            ),
            ("checksum_failures_total", Unit::Unknown, Measure::Count),
            ("cache_evictions_total", Unit::Unknown, Measure::Dropped),
            (
                "tomcat_sessions_expired_sessions_total",
                Unit::Unknown,
                Measure::Dropped,
            ),
        ] {
            assert_eq!(measure(name, Kind::Counter, unit), expected, "{name}");
        }
    }

    #[test]
    fn less_memory_than_the_fleet_is_harm_only_where_that_is_asked_for() {
        let of = |measure| Class {
            measure,
            speaks_of: None,
        };
        let memory = of(Measure::Memory);
        for (class, asked, sides) in [
            (memory, Sides::Both, Sides::Up),
            (memory, Sides::Down, Sides::Down),
            (memory, Sides::Up, Sides::Up),
            (of(Measure::Held), Sides::Both, Sides::Up),
            (of(Measure::Dropped), Sides::Both, Sides::Up),
            (of(Measure::Dropped), Sides::Down, Sides::Down),
            (of(Measure::Other), Sides::Both, Sides::Both),
        ] {
            assert_eq!(class.sides(asked), sides, "{class:?} {asked:?}");
        }
    }
}
