//! Back-tests: what a configuration would have said of deployments that were, and of deployments that
//! never happened.
//!
//! [`Placebos`] draws mock deployments: hosts of the fleet, as many as real one-boxes had, at times at
//! which nothing was deployed. The data of the recording runs through an engine of their own, with the
//! same configuration: reduced once, whatever their number, and without touching the real gates. What
//! fails there is a false alarm. [`Trial`] says what became of a deployment, [`Row`] sums up.

mod fit;
mod placebo;
mod random;
mod rate;
mod summary;
mod trial;

pub use fit::{Fault, Fit, Fits, Grade};
pub use placebo::{History, Placebos};
pub use rate::Rate;
pub use summary::{Counts, Row, summarize};
pub use trial::{CheckTrial, Sightings, Trial};
