//! Selectors of series: Prometheus' matchers on labels.

use std::fmt;

use regex::Regex;

use crate::event::{Labels, METRIC_NAME};

/// Which series are meant: all conditions must hold. No condition at all means every series (`*`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesSelector {
    /// The conditions; the one on the name of the metric is among them.
    pub matchers: Vec<LabelMatcher>,
}

/// A condition on one label. A label that is absent counts as empty.
#[derive(Clone, Debug)]
pub struct LabelMatcher {
    /// Name of the label.
    pub label: String,
    /// How it is compared.
    pub op: MatchOp,
    /// What it is compared with, as written.
    pub value: String,
}

/// How a label is compared.
#[derive(Clone, Debug)]
pub enum MatchOp {
    /// `=`: equal.
    Equal,
    /// `!=`: not equal.
    NotEqual,
    /// `=~`: the anchored regular expression matches.
    Regex(Regex),
    /// `!~`: it does not.
    NotRegex(Regex),
}

impl SeriesSelector {
    /// Whether the series is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels))
    }

    /// Whether every series is selected.
    pub fn is_everything(&self) -> bool {
        self.matchers.is_empty()
    }

    /// The name of the metric, if the selector demands a single one.
    pub fn metric(&self) -> Option<&str> {
        self.matchers
            .iter()
            .find(|matcher| matcher.label == METRIC_NAME && matches!(matcher.op, MatchOp::Equal))
            .map(|matcher| matcher.value.as_str())
    }
}

impl LabelMatcher {
    /// A condition that the label equals the value.
    pub fn equal(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            op: MatchOp::Equal,
            value: value.into(),
        }
    }

    /// Whether the labels fulfil it.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_value(value_of(labels, &self.label).unwrap_or(""))
    }

    /// Whether a value of the label fulfils it; an absent label is an empty value.
    pub fn matches_value(&self, value: &str) -> bool {
        match &self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Regex(regex) => regex.is_match(value),
            MatchOp::NotRegex(regex) => !regex.is_match(value),
        }
    }
}

/// The value of a label, also under the name that it had before or has since.
pub fn value_of<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    labels.get(name).or_else(|| labels.get(renamed(name)?))
}

/// The other name of a label that OpenTelemetry's semantic conventions renamed: what is in the field tells either.
pub fn renamed(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 2] = ["deployment.environment.name", "deployment.environment"];
    let [now, before] = NAMES;
    match name {
        _ if name == now => Some(before),
        _ if name == before => Some(now),
        _ => None,
    }
}

impl PartialEq for LabelMatcher {
    fn eq(&self, other: &Self) -> bool {
        self.label == other.label
            && self.value == other.value
            && std::mem::discriminant(&self.op) == std::mem::discriminant(&other.op)
    }
}

/// As it is written in a Prometheus selector.
impl fmt::Display for LabelMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex(_) => "=~",
            MatchOp::NotRegex(_) => "!~",
        };
        write!(f, "{}{op}{:?}", self.label, self.value)
    }
}
