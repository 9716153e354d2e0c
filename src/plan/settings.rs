//! The keys of a configuration beside checks and services: addresses, labels, limits, durability.

use std::net::{Ipv4Addr, SocketAddr};

use super::{
    IgnoredLabel, JournalPlan, LabelRoles, LedgerPlan, Limits, Listen,
    ignored::ignored,
    tree::Tree,
    units::{self, Complaint},
    walk::Place,
};
use crate::event::Span;

/// Loopback only: who may reach the engine is for the configuration to say.
impl Default for Listen {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            grpc: local(7070),
            http: local(7071),
            otlp_grpc: local(4317),
            otlp_http: local(4318),
        }
    }
}

impl Default for JournalPlan {
    fn default() -> Self {
        Self {
            keep: Span::from_hours(24),
            snapshot_every: Span::from_minutes(5),
            commit_delay: Span::from_nanos(10_000_000),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: 32 << 20,
            decompressed_bytes: 64 << 20,
            samples_per_request: 1_000_000,
            labels: 64,
            label_bytes: 16 << 10,
            series_per_service: 1_000_000,
            series: 5_000_000,
            samples_per_bucket: 4_096,
            templates: 4_096,
            open_gates: 1_000,
            future: Span::from_minutes(5),
            journal_bytes: 64 << 30,
            open_requests: 1_024,
            connections: 1_024,
        }
    }
}

/// OpenTelemetry's names before Prometheus' before Kubernetes'.
impl Default for LabelRoles {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            host: owned(&["host.name", "instance", "host", "pod"]),
            service: owned(&["service.name", "service", "job"]),
            region: owned(&["cloud.region", "region"]),
            version: owned(&["service.version", "version"]),
            ignore: IgnoredLabel::usual(),
        }
    }
}

/// Reads `listen`.
pub(super) fn listen(place: &Place<'_>) -> Listen {
    let mut listen = Listen::default();
    let Some(keys) = place.map(&["grpc", "http", "otlp_grpc", "otlp_http"]) else {
        return listen;
    };
    let mut used: Vec<(&str, SocketAddr)> = Vec::new();
    for (key, slot) in [
        ("grpc", &mut listen.grpc),
        ("http", &mut listen.http),
        ("otlp_grpc", &mut listen.otlp_grpc),
        ("otlp_http", &mut listen.otlp_http),
    ] {
        if let Some(address) = keys.get(key).and_then(address) {
            *slot = address;
        }
        let taken = used.iter().find(|(_, other)| collide(*other, *slot));
        if let Some((other, _)) = taken {
            keys.get(key)
                .or_else(|| keys.get(other))
                .unwrap_or(place)
                .fault(
                    format!("{other} and {key} cannot both listen on {slot}"),
                    "give each its own port",
                );
        }
        used.push((key, *slot));
    }
    listen
}

fn address(place: &Place<'_>) -> Option<SocketAddr> {
    let parsed = match &place.node.value {
        Tree::Text(text) => text.parse().ok(),
        Tree::Nothing
        | Tree::Flag(_)
        | Tree::Integer(_)
        | Tree::Number(_)
        | Tree::List(_)
        | Tree::Map(_) => None,
    };
    if parsed.is_none() {
        place.fault(
            format!("{} is no address to listen on", place.node.value),
            "write an IP address and a port, such as \"127.0.0.1:7070\"",
        );
    }
    parsed
}

/// Port 0 is chosen by the system, so it never collides.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same_ip
}

/// Reads `resolution`.
pub(super) fn resolution(value: &Tree) -> Result<Span, Complaint> {
    const MIN: Span = Span::from_nanos(100_000_000);
    const MAX: Span = Span::from_hours(1);
    let span = units::span(value)?;
    if (MIN..=MAX).contains(&span) {
        return Ok(span);
    }
    Err(Complaint::new(
        format!("a resolution of {span} is not between {MIN} and {MAX}"),
        "write the width of a bucket, such as 10s",
    ))
}

/// Reads `lateness`.
pub(super) fn lateness(value: &Tree) -> Result<Span, Complaint> {
    const MAX: Span = Span::from_hours(1);
    let span = units::span(value)?;
    if (Span::ZERO..=MAX).contains(&span) {
        return Ok(span);
    }
    Err(Complaint::new(
        format!("a lateness of {span} is not between 0s and {MAX}"),
        "write how long stragglers are awaited, such as 20s",
    ))
}

/// Reads `labels`; roles that are not given keep their defaults.
pub(super) fn labels(place: &Place<'_>) -> LabelRoles {
    let mut roles = LabelRoles::default();
    let known = ["host", "service", "region", "version", "ignore", "keep"];
    let Some(keys) = place.map(&known) else {
        return roles;
    };
    roles.ignore = ignored(keys.get("ignore"), keys.get("keep"));
    for (key, slot) in [
        ("host", &mut roles.host),
        ("service", &mut roles.service),
        ("region", &mut roles.region),
        ("version", &mut roles.version),
    ] {
        if let Some(list) = keys.get(key) {
            *slot = list
                .list()
                .iter()
                .filter_map(Place::text)
                .map(str::to_owned)
                .collect();
        }
    }
    if let Some(host) = keys.get("host")
        && matches!(&host.node.value, Tree::List(items) if items.is_empty())
    {
        host.fault(
            "no label tells the host",
            "name at least one, such as host.name",
        );
    }
    roles
}

/// Reads `limits`; those that are not given keep their defaults.
pub(super) fn limits(place: &Place<'_>) -> Limits {
    let mut limits = Limits::default();
    let known = [
        "request_bytes",
        "decompressed_bytes",
        "samples_per_request",
        "labels",
        "label_bytes",
        "series_per_service",
        "series",
        "samples_per_bucket",
        "templates",
        "open_gates",
        "future",
        "journal_bytes",
        "open_requests",
        "connections",
    ];
    let Some(keys) = place.map(&known) else {
        return limits;
    };
    for (key, slot) in [
        ("request_bytes", &mut limits.request_bytes),
        ("decompressed_bytes", &mut limits.decompressed_bytes),
        ("label_bytes", &mut limits.label_bytes),
        ("journal_bytes", &mut limits.journal_bytes),
    ] {
        *slot = keys.read(key, units::byte_count).unwrap_or(*slot);
    }
    for (key, slot) in [
        ("samples_per_request", &mut limits.samples_per_request),
        ("labels", &mut limits.labels),
        ("series_per_service", &mut limits.series_per_service),
        ("series", &mut limits.series),
        ("samples_per_bucket", &mut limits.samples_per_bucket),
        ("templates", &mut limits.templates),
        ("open_gates", &mut limits.open_gates),
        ("open_requests", &mut limits.open_requests),
        ("connections", &mut limits.connections),
    ] {
        *slot = keys.read(key, units::count).unwrap_or(*slot);
    }
    let future = keys.read("future", |value| match units::span(value)? {
        span if span >= Span::ZERO => Ok(span),
        span => Err(Complaint::new(
            format!("{span} is negative"),
            "write 0s or more",
        )),
    });
    limits.future = future.unwrap_or(limits.future);
    limits
}

/// Longest that an input may wait for others to be made durable with.
const COMMIT_DELAY_MAX: Span = Span::from_nanos(20_000_000);

/// Reads `journal`; what is not given keeps its default.
pub(super) fn journal(place: &Place<'_>) -> JournalPlan {
    let mut journal = JournalPlan::default();
    let Some(keys) = place.map(&["keep", "snapshot_every", "commit_delay"]) else {
        return journal;
    };
    let at_least = |min: Span| {
        move |value: &_| match units::span(value)? {
            span if min <= span => Ok(span),
            span => Err(Complaint::new(
                format!("{span} is too short"),
                format!("write {min} or more"),
            )),
        }
    };
    let keep = keys.read("keep", at_least(Span::ZERO));
    journal.keep = keep.unwrap_or(journal.keep);
    let every = keys.read("snapshot_every", at_least(Span::from_seconds(1)));
    journal.snapshot_every = every.unwrap_or(journal.snapshot_every);
    let delay = keys.read("commit_delay", |value| match units::span(value)? {
        span if Span::ZERO <= span && span <= COMMIT_DELAY_MAX => Ok(span),
        span => Err(Complaint::new(
            format!("{span} is out of range"),
            "write 0s to 20ms: senders wait for it",
        )),
    });
    journal.commit_delay = delay.unwrap_or(journal.commit_delay);
    journal
}

/// Reads `ledger`; what is not given keeps its default.
pub(super) fn ledger(place: &Place<'_>) -> LedgerPlan {
    const MIN: Span = Span::from_hours(1);
    let mut ledger = LedgerPlan::default();
    let Some(keys) = place.map(&["keep"]) else {
        return ledger;
    };
    let keep = keys.read("keep", |value| match units::span(value)? {
        span if MIN <= span => Ok(span),
        span => Err(Complaint::new(
            format!("{span} is too short"),
            format!("write {MIN} or more"),
        )),
    });
    ledger.keep = keep.unwrap_or(ledger.keep);
    ledger
}
