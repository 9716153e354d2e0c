//! The engine's own metrics in Prometheus' text format.

use std::fmt::{Display, Write as _};

use super::{
    chronicle::Counted,
    core::{QUEUE_ORDERS_MAX, Room},
    metrics::{Source, SourceMetrics},
    published::Stats,
    shared::Shared,
};
use crate::{
    gate::VerdictState,
    reduce::{LossReason, ReducerCounters},
};

/// Version 0.0.4 of the text format, which every scraper reads.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// Text that grows family by family.
pub(super) struct Text(String);

/// The name of a family and what a scraper is told of it.
#[derive(Clone, Copy)]
pub(super) struct Family<'a> {
    pub(super) name: &'a str,
    kind: &'a str,
    help: &'a str,
}

/// Renders all metrics.
pub(super) fn render(shared: &Shared) -> String {
    let mut text = Text(String::new());
    about(&mut text, shared);
    doors(&mut text, shared);
    rejections(&mut text, shared);
    denials(&mut text, shared);
    waits(&mut text, shared);
    core(&mut text, shared);
    shared.metrics.sinks.render(&mut text);
    ledger(&mut text, shared);
    #[cfg(feature = "kafka")]
    super::kafka::metrics::render(&mut text, shared);
    text.0
}

fn about(text: &mut Text, shared: &Shared) {
    text.family(gauge(
        "sluice_build_info",
        "Version of the engine and of its configuration.",
    ));
    text.sample(
        "sluice_build_info",
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("config_digest", &shared.plan().digest),
        ],
        1,
    );
    text.family(gauge(
        "sluice_config_info",
        "Digest of the configuration, as verdicts of deployments that begin now carry it.",
    ));
    let plan = shared.plan();
    text.sample("sluice_config_info", &[("digest", &plan.digest)], 1);
    let (is_good, taken_at) = shared.reloading.last();
    let name = "sluice_config_last_reload_successful";
    let help = "Whether the configuration that was read last was taken.";
    text.single(gauge(name, help), u8::from(is_good));
    let name = "sluice_config_last_reload_success_timestamp_seconds";
    let help = "When a configuration was taken last, in Unix seconds.";
    text.single(gauge(name, help), taken_at.seconds_f64());
    let help = "When the engine was started, in Unix seconds.";
    text.single(
        gauge("process_start_time_seconds", help),
        shared.metrics.started_at.seconds_f64(),
    );
}

fn doors(text: &mut Text, shared: &Shared) {
    let sources = shared.metrics.sources();
    for (name, help, value) in [
        (
            "sluice_received_requests_total",
            "Requests that came.",
            requests as fn(&_) -> u64,
        ),
        (
            "sluice_received_bytes_total",
            "Bytes of bodies as they came.",
            bytes,
        ),
        (
            "sluice_decoded_samples_total",
            "Samples that were decoded.",
            samples,
        ),
        (
            "sluice_decoded_log_records_total",
            "Log records that were decoded.",
            log_records,
        ),
        (
            "sluice_exemplars_total",
            "Exemplars that were passed over.",
            exemplars,
        ),
        (
            "sluice_repeated_requests_total",
            "Requests with log records that an equal one had brought before: they count once.",
            repeated,
        ),
    ] {
        text.family(counter(name, help));
        for (source, metrics) in &sources {
            text.sample(name, &[("source", source.name())], value(metrics));
        }
    }
    let name = "sluice_request_seconds";
    text.family(Family {
        name,
        kind: "summary",
        help: "How long requests took.",
    });
    for (source, metrics) in &sources {
        summary(text, name, *source, metrics);
    }
}

fn rejections(text: &mut Text, shared: &Shared) {
    let sources = shared.metrics.sources();
    for (name, help, counts) in [
        (
            "sluice_rejected_requests_total",
            "Requests that were refused as a whole.",
            (|metrics| &metrics.rejected_requests) as fn(&SourceMetrics) -> &_,
        ),
        (
            "sluice_rejected_samples_total",
            "Samples that were refused.",
            |metrics| &metrics.rejected_samples,
        ),
        (
            "sluice_rejected_log_records_total",
            "Log records that were refused.",
            |metrics| &metrics.rejected_log_records,
        ),
    ] {
        text.family(counter(name, help));
        for (source, metrics) in &sources {
            for (reason, count) in counts(metrics) {
                text.sample(
                    name,
                    &[("source", source.name()), ("reason", reason)],
                    count,
                );
            }
        }
    }
}

fn waits(text: &mut Text, shared: &Shared) {
    let name = "sluice_http_waits";
    let help = "Requests that wait for a verdict over HTTP, each on a connection of its own.";
    text.single(gauge(name, help), shared.places.taken());
    let name = "sluice_refused_http_waits_total";
    let help = "Requests that could not wait, as half of the connections did.";
    text.single(counter(name, help), shared.places.refused());
}

fn denials(text: &mut Text, shared: &Shared) {
    let name = "sluice_denied_requests_total";
    text.family(counter(name, "Requests of callers that may not."));
    for (reason, count) in shared.guard.load().denials() {
        text.sample(name, &[("reason", reason)], count);
    }
}

fn summary(text: &mut Text, name: &str, source: Source, metrics: &SourceMetrics) {
    let source = ("source", source.name());
    for quantile in QUANTILES {
        let seconds = if metrics.micros.is_empty() {
            f64::NAN
        } else {
            metrics.micros.value_at_quantile(quantile) as f64 / 1e6
        };
        text.sample(
            name,
            &[source, ("quantile", &quantile.to_string())],
            seconds,
        );
    }
    text.sample(&format!("{name}_sum"), &[source], metrics.seconds_sum);
    text.sample(&format!("{name}_count"), &[source], metrics.micros.len());
}

fn core(text: &mut Text, shared: &Shared) {
    let stats = shared.published().stats();
    let lives = u8::from(shared.published().board().is_ok());
    text.single(gauge("sluice_engine_up", "1 while the core lives."), lives);
    // Before the first bucket the lag is that of an engine which has seen nothing since its start.
    let watermark = stats.watermark.max(shared.metrics.started_at);
    text.single(
        gauge(
            "sluice_watermark_lag_seconds",
            "Event time behind the clock.",
        ),
        (shared.clock.now() - watermark).seconds_f64(),
    );
    for (name, help, value) in [
        ("open_gates", "Gates that are open.", stats.open_gates),
        (
            "config_retired",
            "Earlier configurations that are at work for gates that are open.",
            stats.retired,
        ),
        (
            "core_queue_length",
            "Commands that wait for the core.",
            shared.core.queue_len(),
        ),
        (
            "core_queue_capacity",
            "Commands that may wait.",
            QUEUE_ORDERS_MAX,
        ),
        (
            "core_queue_bytes",
            "Bytes of bodies on their way.",
            shared.core.reserved_bytes(),
        ),
        (
            "core_queue_bytes_capacity",
            "Bytes that may be on their way.",
            Room::BYTES_MAX,
        ),
    ] {
        text.single(gauge(&format!("sluice_{name}"), help), value);
    }
    for (name, help, value) in [
        (
            "deployment_events",
            "Deployment events taken.",
            stats.engine.events,
        ),
        (
            "refused_deployment_events",
            "Deployment events refused.",
            stats.engine.refused,
        ),
        ("buckets_closed", "Buckets closed.", stats.engine.buckets),
        (
            "journal_errors",
            "Inputs not taken as they could not be recorded.",
            shared.published().journal_errors(),
        ),
    ] {
        text.single(counter(&format!("sluice_{name}_total"), help), value);
    }
    verdicts(text, &stats);
    reduce(text, &stats.reducer);
    super::metadata::render(text, &stats.reducer);
}

fn ledger(text: &mut Text, shared: &Shared) {
    let Counted {
        failures,
        lost,
        waiting,
        waiting_bytes,
        head,
    } = shared.published().chronicled().counted();
    for (name, help, value) in [
        (
            "records",
            "Number of the last record of the history.",
            head.seq,
        ),
        (
            "waiting_records",
            "Records that are to be written to the history.",
            waiting as u64,
        ),
        (
            "waiting_bytes",
            "Bytes of records that are to be written to the history.",
            waiting_bytes as u64,
        ),
    ] {
        text.single(gauge(&format!("sluice_ledger_{name}"), help), value);
    }
    for (name, help, value) in [
        (
            "failures",
            "How often the history could not be written.",
            failures,
        ),
        (
            "lost_records",
            "Records that were given up: too many waited for the history to be writable again.",
            lost,
        ),
    ] {
        text.single(counter(&format!("sluice_ledger_{name}_total"), help), value);
    }
}

fn verdicts(text: &mut Text, stats: &Stats) {
    if let Some(bytes) = stats.journal_bytes {
        text.single(
            gauge("sluice_journal_bytes", "Bytes in the journal."),
            bytes,
        );
    }
    if let Some(saved) = stats.snapshots {
        for (name, help, value) in [
            ("written", "Snapshots that were written.", saved.written),
            (
                "failed",
                "Snapshots that could not be written.",
                saved.failed,
            ),
        ] {
            text.single(
                counter(&format!("sluice_snapshots_{name}_total"), help),
                value,
            );
        }
        text.single(
            gauge(
                "sluice_snapshot_bytes",
                "Bytes of the last snapshot on disk.",
            ),
            saved.bytes,
        );
    }
    let name = "sluice_verdict_changes_total";
    text.family(counter(
        name,
        "Changes of verdicts, by the verdict that was reached.",
    ));
    // A rate of what has never happened is to be 0, and not nothing.
    for verdict in VerdictState::ALL {
        let count = stats.engine.verdicts.get(&verdict).copied();
        text.sample(name, &[("verdict", verdict.name())], count.unwrap_or(0));
    }
}

fn reduce(text: &mut Text, reducer: &ReducerCounters) {
    for (name, help, value) in [
        ("series", "Series in the table.", reducer.series),
        (
            "selected_series",
            "Series that a check selects.",
            reducer.selected_series,
        ),
        (
            "unselected_series",
            "Series that no check selects; the page names some of their metrics.",
            reducer.unselected_series,
        ),
        ("log_streams", "Log streams in the table.", reducer.streams),
        ("templates", "Message templates.", reducer.templates),
    ] {
        text.single(gauge(&format!("sluice_{name}"), help), value);
    }
    for (name, help, value) in [
        (
            "accepted_samples",
            "Samples put into buckets.",
            reducer.samples_accepted,
        ),
        (
            "unselected_samples",
            "Samples that no check selects.",
            reducer.samples_unselected,
        ),
        (
            "duplicate_samples",
            "Samples that came again and were ignored.",
            reducer.samples_duplicate,
        ),
        (
            "accepted_log_records",
            "Log records counted in buckets.",
            reducer.logs_accepted,
        ),
        (
            "unselected_log_records",
            "Log records of no service.",
            reducer.logs_unselected,
        ),
        (
            "refused_series",
            "New series refused by a limit.",
            reducer.refused_series,
        ),
        (
            "refused_log_streams",
            "New log streams refused by a limit.",
            reducer.refused_streams,
        ),
        (
            "series_resets",
            "Restarts of counters and distributions.",
            reducer.resets,
        ),
    ] {
        text.single(counter(&format!("sluice_{name}_total"), help), value);
    }
    let name = "sluice_lost_samples_total";
    text.family(counter(
        name,
        "Samples and log records that could not be used.",
    ));
    for reason in LossReason::ALL {
        let count = reducer.losses.get(&reason).copied().unwrap_or(0);
        text.sample(name, &[("reason", reason.name())], count);
    }
}

fn requests(metrics: &SourceMetrics) -> u64 {
    metrics.requests
}

fn bytes(metrics: &SourceMetrics) -> u64 {
    metrics.bytes
}

fn samples(metrics: &SourceMetrics) -> u64 {
    metrics.samples
}

fn log_records(metrics: &SourceMetrics) -> u64 {
    metrics.log_records
}

fn exemplars(metrics: &SourceMetrics) -> u64 {
    metrics.exemplars
}

fn repeated(metrics: &SourceMetrics) -> u64 {
    metrics.repeated
}

pub(super) fn counter<'a>(name: &'a str, help: &'a str) -> Family<'a> {
    Family {
        name,
        kind: "counter",
        help,
    }
}

pub(super) fn gauge<'a>(name: &'a str, help: &'a str) -> Family<'a> {
    Family {
        name,
        kind: "gauge",
        help,
    }
}

impl Text {
    pub(super) fn family(&mut self, Family { name, kind, help }: Family<'_>) {
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    pub(super) fn single(&mut self, family: Family<'_>, value: impl Display) {
        self.family(family);
        self.sample(family.name, &[], value);
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            self.put(format_args!("{before}{label}=\"{text}\""));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        self.put(format_args!(" {value}\n"));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes any text");
    }
}
