//! The identity of a series: its metric name and labels, sorted and unique.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The label that holds the name of the metric, as Prometheus has it.
pub const METRIC_NAME: &str = "__name__";

/// A sorted set of label pairs without duplicates or empty values; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// Takes pairs in any order. An empty value means that the label is absent; of two pairs with
    /// one name the first stands.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut sorted: Vec<(Arc<str>, Arc<str>)> = pairs
            .into_iter()
            .filter(|(_, value)| !value.as_ref().is_empty())
            .map(|(name, value)| (Arc::from(name.as_ref()), Arc::from(value.as_ref())))
            .collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        sorted.dedup_by(|later, first| later.0 == first.0);
        Self(sorted.into())
    }

    /// The value of a label, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        let index = self
            .0
            .binary_search_by(|(candidate, _)| (**candidate).cmp(name))
            .ok()?;
        Some(&self.0[index].1)
    }

    /// The name of the metric; empty where there is none (log records).
    pub fn metric(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// The pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// These labels without those whose names the predicate rejects.
    #[must_use]
    pub fn retain(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(name, _)| keep(name))
                .cloned()
                .collect(),
        )
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

/// As a Prometheus selector: `name{label="value"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric())?;
        let mut others = self
            .iter()
            .filter(|(name, _)| *name != METRIC_NAME)
            .peekable();
        if others.peek().is_none() {
            return Ok(());
        }
        f.write_str("{")?;
        let mut separator = "";
        for (name, value) in others {
            write!(f, "{separator}{name}={value:?}")?;
            separator = ",";
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_unique_and_never_empty() {
        let labels = Labels::new([("b", "2"), ("a", "1"), ("b", "3"), ("c", "")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(labels.get("b"), Some("2"));
        assert_eq!(labels.get("c"), None);
    }

    #[test]
    fn labels_print_as_a_selector() {
        let labels = Labels::new([("code", "500"), (METRIC_NAME, "http_requests_total")]);
        assert_eq!(labels.to_string(), r#"http_requests_total{code="500"}"#);
        assert_eq!(Labels::new([(METRIC_NAME, "up")]).to_string(), "up");
    }
}
