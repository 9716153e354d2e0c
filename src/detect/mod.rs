//! Partials in, findings out: one file and one small state machine per kind of check.
//!
//! A [`Panel`] holds what a check sees of its service: for each metric and host the recent past,
//! bucket by bucket. When a bucket closes, each open deployment shows a [`View`] of the panel, with
//! the hosts in their roles, to its detectors; each answers with a [`Finding`].
//!
//! What every detector owes:
//! - it sees each closed bucket once, never a clock, and answers the same when it is fed the same
//!   buckets again;
//! - silence, NaN, an empty selection or too little data is never [`CheckState::Ok`];
//! - it does not learn from what it flagged;
//! - it says when it is warming up, and what it could have detected.

mod absent;
mod bounds;
mod bucket_bounds;
mod cell;
mod compare;
mod coverage;
mod derivative;
mod detector;
mod finding;
mod flat;
mod group;
mod load;
mod new_template;
mod pace;
mod panel;
mod ratio;
mod robust;
mod sigma;
mod state;
mod stats;
#[cfg(test)]
mod test_support;
mod track;
mod view;
mod wording;

pub(crate) use bounds::ratio_time;
pub use cell::Cell;
pub(crate) use coverage::silence_min;
pub use coverage::{Coverage, Covered};
pub use detector::Detector;
pub use finding::{Basis, CheckState, Evidence, Finding, NoDataCause};
pub use group::{Group, GroupKey, Stat};
pub(crate) use new_template::template_severity;
pub use panel::{Beside, Kin, Panel, Place, TemplateTrack};
pub use ratio::{RatioWords, Word};
pub use state::{DetectorState, Extent, Unsound};
pub use track::Track;
pub use view::{BIRTHS_APART, Before, Host, HostBook, HostId, Setup, View, is_start_time};
