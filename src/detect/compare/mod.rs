//! Placeholder of the Compare detector while the room is being built.

use super::{Coverage, Covered, Finding, Setup, View};

/// The Compare detector.
#[derive(Clone, Debug)]
pub struct Compare {
    coverage: Coverage,
}

impl Compare {
    /// Starts with the deployment.
    pub fn new(setup: &Setup<'_>) -> Self {
        Self {
            coverage: Coverage::new(setup),
        }
    }

    /// Judges the bucket that has just closed.
    pub fn observe(&mut self, view: &View<'_>) -> Finding {
        match self.coverage.observe(view) {
            Covered::Yes => Finding::warming("not built yet"),
            Covered::Waiting(what) => Finding::warming(what),
            Covered::No(cause, _) => Finding::no_data(cause, Vec::new()),
        }
    }
}
