//! What the engine itself tells of the metadata of metrics.

use std::collections::BTreeSet;

use tracing::warn;

use super::exposition::{Text, counter, gauge};
use crate::reduce::ReducerCounters;

/// How many names are said at once.
const SHOWN_MAX: usize = 10;

/// Tells of metrics of which senders contradict each other, once.
#[derive(Debug, Default)]
pub(super) struct Disputes {
    /// Those that were told of.
    told: BTreeSet<String>,
}

impl Disputes {
    /// Tells of those that are new.
    pub(super) fn tell(&mut self, counters: &ReducerCounters) {
        let new: Vec<&str> = counters
            .disputed
            .difference(&self.told)
            .map(String::as_str)
            .collect();
        if !new.is_empty() {
            let shown = &new[..new.len().min(SHOWN_MAX)];
            let more = match new.len() - shown.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            warn!(
                metrics = format!("{}{more}", shown.join(", ")),
                count = counters.disputed_metrics,
                "senders tell metrics as different kinds or in different units: their names decide"
            );
        }
        if self.told != counters.disputed {
            self.told.clone_from(&counters.disputed);
        }
    }
}

/// What is known of metrics by their names alone, as metrics.
pub(super) fn render(text: &mut Text, counters: &ReducerCounters) {
    for (name, help, value) in [
        (
            "sluice_metadata_metrics",
            "Metrics of which senders tell the kind or the unit by name alone.",
            counters.told_metrics,
        ),
        (
            "sluice_metadata_disputed_metrics",
            "Those of them of which senders contradict each other, so that nothing of it counts.",
            counters.disputed_metrics,
        ),
    ] {
        text.single(gauge(name, help), value);
    }
    let help = "Metadata of metrics that was ignored: it cannot be read, or they are too many.";
    let ignored = counter("sluice_metadata_ignored_total", help);
    text.single(ignored, counters.metadata_ignored);
}
