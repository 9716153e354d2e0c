//! Asks a receiver's own metrics what it took: an answer of 2xx alone proves little.

use std::time::Duration;

use super::{Failure, clock, http};

/// How long a receiver may take to show what it took.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sluice,
    Prometheus,
    VictoriaMetrics,
    /// Answers only by its statuses.
    Other,
}

/// A receiver, as its metrics told when it was first asked.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    authority: String,
    pub(crate) kind: Kind,
    /// Name and version.
    pub(crate) name: String,
}

/// What a receiver has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Samples that it took.
    pub(crate) taken: u64,
    /// Samples and requests that it refused or lost after it had taken them.
    pub(crate) lost: u64,
    /// Series that a check selects.
    pub(crate) selected: u64,
}

impl Receiver {
    /// Asks who is there.
    pub(crate) fn ask(authority: &str) -> Self {
        let text = http::get(authority, "/metrics").unwrap_or_default();
        let known = [
            (Kind::Sluice, "sluice", "sluice_build_info{", "version=\""),
            (
                Kind::Prometheus,
                "prometheus",
                "prometheus_build_info{",
                ",version=\"",
            ),
            (
                Kind::VictoriaMetrics,
                "victoria-metrics",
                "vm_app_version{",
                "short_version=\"",
            ),
        ];
        for (kind, name, family, label) in known {
            let Some(line) = text.lines().find(|line| line.starts_with(family)) else {
                continue;
            };
            let version = line
                .split_once(label)
                .and_then(|(_, rest)| rest.split('"').next())
                .filter(|version| !version.is_empty())
                .map_or(String::new(), |version| format!(" {version}"));
            return Self {
                authority: authority.to_owned(),
                kind,
                name: format!("{name}{version}"),
            };
        }
        Self {
            authority: authority.to_owned(),
            kind: Kind::Other,
            name: "a receiver without known metrics".to_owned(),
        }
    }

    /// Reads the counts; `None` from a receiver that has none.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn counts(&self) -> Result<Option<Counts>, Failure> {
        if self.kind == Kind::Other {
            return Ok(None);
        }
        let text = http::get(&self.authority, "/metrics")?;
        let sum =
            |families: &[&str]| -> u64 { families.iter().map(|family| total(&text, family)).sum() };
        Ok(Some(match self.kind {
            Kind::Sluice => Counts {
                taken: sum(&[
                    "sluice_accepted_samples_total",
                    "sluice_unselected_samples_total",
                ]),
                lost: sum(&[
                    "sluice_rejected_requests_total",
                    "sluice_rejected_samples_total",
                    "sluice_lost_samples_total",
                    "sluice_duplicate_samples_total",
                    "sluice_journal_errors_total",
                ]),
                selected: sum(&["sluice_selected_series"]),
            },
            Kind::Prometheus => Counts {
                taken: sum(&["prometheus_tsdb_head_samples_appended_total"]),
                lost: sum(&[
                    "prometheus_target_scrapes_sample_out_of_order_total",
                    "prometheus_tsdb_out_of_bound_samples_total",
                ]),
                selected: 0,
            },
            Kind::VictoriaMetrics => Counts {
                taken: sum(&["vm_rows_inserted_total{type=\"promremotewrite\"}"]),
                lost: sum(&["vm_rows_ignored_total"]),
                selected: 0,
            },
            Kind::Other => Counts::default(),
        }))
    }

    /// Waits until the receiver shows that it took `sent` samples more than before; it may show it
    /// a moment later than it answers. Gives the difference.
    ///
    /// # Errors
    /// It took another number, or lost some.
    pub(crate) fn verify(&self, before: Option<Counts>, sent: u64) -> Result<Counts, Failure> {
        let Some(before) = before else {
            return Ok(Counts {
                taken: sent,
                ..Counts::default()
            });
        };
        let started = clock::now();
        loop {
            let now = self.counts()?.unwrap_or_default();
            let gained = Counts {
                taken: now.taken.saturating_sub(before.taken),
                lost: now.lost.saturating_sub(before.lost),
                selected: now.selected,
            };
            let is_late = PATIENCE < started.elapsed();
            if gained.taken == sent && gained.lost == 0 {
                return Ok(gained);
            }
            if 0 < gained.lost || sent < gained.taken || is_late {
                return Err(Failure::new(format!(
                    "{} took {} of {sent} samples and counts {} as lost: what was measured is void. \
                     Samples too late or too far ahead are refused: see --start, --step and --rounds",
                    self.name, gained.taken, gained.lost
                )));
            }
            clock::rest(LOOK);
        }
    }
}

/// The sum over all lines of a family. A family with labels written out means that line only.
pub(crate) fn total(text: &str, family: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.strip_prefix(family))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as u64
}
