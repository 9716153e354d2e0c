//! The JSON Schema of a configuration, for editors.

use super::Plan;

impl Plan {
    /// A JSON Schema (draft 2020-12) of the configuration. What it refuses [`Plan::parse`] refuses too;
    /// names that refer to nothing, and combinations that cannot work, only the latter sees.
    pub const SCHEMA: &str = include_str!("schema.json");
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
