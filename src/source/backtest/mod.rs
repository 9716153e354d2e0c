//! Back-tests: what a configuration would have said of deployments that were, and of deployments that
//! never happened.

mod rate;

pub use rate::Rate;
