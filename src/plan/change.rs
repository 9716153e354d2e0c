//! What of a configuration cannot change while the engine runs.

use super::{Fault, Plan};

impl Plan {
    /// The keys that another configuration has otherwise although they are fixed at the start, each as a
    /// fault of it.
    pub fn fixed_in(&self, other: &Self) -> Vec<Fault> {
        let is_encrypted = self.tls.is_some();
        let keys = [
            ("listen", self.listen == other.listen),
            ("tls", is_encrypted == other.tls.is_some()),
            ("resolution", self.resolution == other.resolution),
            ("lateness", self.lateness == other.lateness),
            ("sources", self.sources == other.sources),
            ("limits", self.limits == other.limits),
            ("journal", self.journal == other.journal),
            ("ledger", self.ledger == other.ledger),
        ];
        let differing = keys.into_iter().filter(|(_, is_same)| !is_same);
        differing
            .map(|(key, _)| Fault {
                path: key.to_owned(),
                line: None,
                problem: "cannot change while the engine runs".to_owned(),
                remedy: "restart the engine, or leave it as it was".to_owned(),
            })
            .collect()
    }
}
