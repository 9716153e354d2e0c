//! What is wrong with a configuration.

use std::fmt;

/// One fault of a configuration: where, what, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Path of keys: `checks.latency.sigma.k`, `services.checkout.stages[3].bake.min`.
    pub path: String,
    /// Line of the text, from 1, where it is known.
    pub line: Option<u32>,
    /// What is wrong, on one line.
    pub problem: String,
    /// What to write instead, on one line.
    pub remedy: String,
}

/// Every fault of a configuration, in the order of its lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

/// Something that is allowed but most likely not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Path of keys, as in [`Fault::path`].
    pub path: String,
    /// What is odd, on one line.
    pub problem: String,
    /// What to do about it, on one line.
    pub remedy: String,
}

/// `path: problem; remedy`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.problem, self.remedy)
    }
}

/// One line for each fault.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// `path: problem; remedy`.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.problem, self.remedy)
    }
}
