//! Another deployment that is open on hosts of a gate.

use serde::{Deserialize, Serialize};

/// Another deployment that is open on hosts of a gate: what these show may be of either.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// Its id.
    pub deployment: String,
    /// Its version.
    pub version: String,
    /// The hosts that both are judged by, ascending.
    pub hosts: Vec<String>,
}
