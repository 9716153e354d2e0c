//! The identity of a series: its metric name and labels, sorted and unique.

use std::{cmp::Ordering, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The label that holds the name of the metric, as Prometheus has it.
pub const METRIC_NAME: &str = "__name__";

/// The labels that tell which instrumentation measured a series: name and version of OpenTelemetry's
/// scope, as Prometheus has them.
pub const SCOPE_LABELS: [&str; 2] = ["otel_scope_name", "otel_scope_version"];

/// A sorted set of label pairs without duplicates or empty values; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<Pairs>);

/// All names and values one behind the other: a new series has twenty of them, and would cost as many
/// allocations otherwise.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Pairs {
    text: Box<str>,
    /// Where each name and each value ends, in turn.
    ends: Box<[u32]>,
}

impl Labels {
    /// Takes pairs in any order. An empty value means that the label is absent; of two pairs with
    /// one name the first stands.
    ///
    /// # Panics
    /// The names and values take 4 GiB, which no limit allows.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut sorted: Vec<(N, V)> = pairs
            .into_iter()
            .filter(|(_, value)| !value.as_ref().is_empty())
            .collect();
        sorted.sort_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
        sorted.dedup_by(|(later, _), (first, _)| later.as_ref() == first.as_ref());
        Self::of(
            sorted
                .iter()
                .map(|(name, value)| (name.as_ref(), value.as_ref())),
        )
    }

    /// Takes pairs that are sorted, unique and not empty.
    fn of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Self {
        let (mut bytes, mut count) = (0, 0);
        for (name, value) in pairs.clone() {
            bytes += name.len() + value.len();
            count += 2;
        }
        let mut text = String::with_capacity(bytes);
        let mut ends = Vec::with_capacity(count);
        for (name, value) in pairs {
            for piece in [name, value] {
                text.push_str(piece);
                ends.push(u32::try_from(text.len()).expect("labels are limited"));
            }
        }
        Self(Arc::new(Pairs {
            text: text.into(),
            ends: ends.into(),
        }))
    }

    /// The value of a label, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let (candidate, value) = self.pair(middle);
            match candidate.cmp(name) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Some(value),
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The name of the metric; empty where there is none (log records).
    pub fn metric(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// The pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        (0..self.len()).map(|index| self.pair(index))
    }

    /// These labels without those whose names the predicate rejects.
    #[must_use]
    pub fn retain(&self, keep: impl Fn(&str) -> bool) -> Self {
        let kept: Vec<_> = self.iter().filter(|(name, _)| keep(name)).collect();
        Self::of(kept.into_iter())
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.0.ends.len() / 2
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    fn pair(&self, index: usize) -> (&str, &str) {
        let Pairs { text, ends } = &*self.0;
        let end = |piece: usize| ends[piece] as usize;
        let start = (2 * index).checked_sub(1).map_or(0, end);
        let (middle, stop) = (end(2 * index), end(2 * index + 1));
        (&text[start..middle], &text[middle..stop])
    }
}

/// Pair by pair, the name before the value.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        let (
            Pairs { text: a, ends },
            Pairs {
                text: b,
                ends: others,
            },
        ) = (&*self.0, &*other.0);
        let (a, b) = (a.as_bytes(), b.as_bytes());
        // Series differ in few labels: what stands before is passed over at once. All names and values
        // that end alike, and before the first byte that differs, are equal.
        let differs = first_difference(a, b) as u32;
        let alike = ends
            .iter()
            .zip(others)
            .take_while(|(end, other)| end == other && **end <= differs);
        let index = alike.count();
        match (ends.get(index), others.get(index)) {
            (Some(end), Some(other)) => {
                let start = index
                    .checked_sub(1)
                    .map_or(0, |before| ends[before] as usize);
                a[start..*end as usize].cmp(&b[start..*other as usize])
            }
            (mine, theirs) => mine.is_some().cmp(&theirs.is_some()),
        }
    }
}

/// How many bytes both begin with.
fn first_difference(a: &[u8], b: &[u8]) -> usize {
    let words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    let start = 8 * words.take_while(|(a, b)| a == b).count();
    let rest = a[start..].iter().zip(&b[start..]);
    start + rest.take_while(|(a, b)| a == b).count()
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As a sequence of pairs.
impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Sequence<'a>(&'a Labels);
        impl Serialize for Sequence<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.iter())
            }
        }
        serializer.serialize_newtype_struct("Labels", &Sequence(self))
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Labels")]
        struct Sequence(Vec<(String, String)>);
        Sequence::deserialize(deserializer).map(|Sequence(pairs)| Self::new(pairs))
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::of(std::iter::empty())
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
        if others.peek().is_none() && !self.metric().is_empty() {
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_are_sorted_unique_and_never_empty() {
        let labels = Labels::new([("b", "2"), ("a", "1"), ("b", "3"), ("c", "")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(labels.get("b"), Some("2"));
        assert_eq!(labels.get("c"), None);
    }

    proptest! {
        #[test]
        fn labels_are_ordered_as_their_pairs_are(
            a in proptest::collection::btree_map("[ab]{1,2}", "[ab\u{e9}]{1,2}", 0..4),
            b in proptest::collection::btree_map("[ab]{1,2}", "[ab\u{e9}]{1,2}", 0..4),
        ) {
            let pairs: [Vec<_>; 2] = [&a, &b].map(|pairs| pairs.clone().into_iter().collect());
            let labels = [&a, &b].map(Labels::new);
            prop_assert_eq!(labels[0].cmp(&labels[1]), pairs[0].cmp(&pairs[1]));
            prop_assert_eq!(labels[0] == labels[1], pairs[0] == pairs[1]);
            for name in ["a", "b", "aa", "ab", "ba", "bb", "c", ""] {
                prop_assert_eq!(labels[0].get(name), a.get(name).map(String::as_str));
            }
            let kept = labels[0].retain(|name| name.starts_with('a'));
            prop_assert_eq!(kept, Labels::new(a.iter().filter(|(name, _)| name.starts_with('a'))));
            let json = serde_json::to_string(&labels[0]).expect("labels are plain");
            prop_assert_eq!(&json, &serde_json::to_string(&pairs[0]).expect("pairs are plain"));
            let back: Labels = serde_json::from_str(&json).expect("it was written by us");
            prop_assert_eq!(&back, &labels[0]);
        }
    }

    #[test]
    fn labels_print_as_a_selector() {
        let labels = Labels::new([("code", "500"), (METRIC_NAME, "http_requests_total")]);
        assert_eq!(labels.to_string(), r#"http_requests_total{code="500"}"#);
        assert_eq!(Labels::new([(METRIC_NAME, "up")]).to_string(), "up");
        assert_eq!(Labels::default().to_string(), "{}");
    }
}
