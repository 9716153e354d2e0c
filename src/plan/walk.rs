//! A walk over the tree of a configuration that collects faults and goes on.

use std::{cell::RefCell, collections::BTreeSet};

use super::{
    fault::Fault,
    tree::{Node, Tree, quoted},
    units::Complaint,
};

/// Longest name of a check, service, stage, step or region, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Most faults that are kept; a text with more is no configuration of ours.
const FAULTS_MAX: usize = 1_000;

/// Where the faults of one walk are collected.
pub(super) type FaultList = RefCell<Vec<Fault>>;

/// A value of the tree and the path of keys that leads to it.
#[derive(Clone, Debug)]
pub(super) struct Place<'t> {
    pub node: &'t Node,
    pub path: String,
    /// Line of its key where it has one, else of the value.
    line: Option<u32>,
    faults: &'t FaultList,
}

/// The entries of a map whose keys are fixed.
#[derive(Debug)]
pub(super) struct Entries<'t> {
    /// The map itself.
    pub place: Place<'t>,
    entries: Vec<(&'t str, Place<'t>)>,
}

impl<'t> Place<'t> {
    /// The whole configuration.
    pub(super) fn root(node: &'t Node, faults: &'t FaultList) -> Self {
        Self {
            node,
            path: String::new(),
            line: node.line,
            faults,
        }
    }

    /// Reports a fault here.
    pub(super) fn fault(&self, problem: impl Into<String>, remedy: impl Into<String>) {
        if self.node.is_unresolved {
            return;
        }
        let path = if self.path.is_empty() {
            "configuration"
        } else {
            &self.path
        };
        let (mut problem, mut remedy) = (problem.into(), remedy.into());
        if let Some(name) = self.node.names.first() {
            // It may be a secret.
            problem = format!("what ${{{name}}} stands for does not fit here");
            "set it to what the key takes".clone_into(&mut remedy);
        }
        let mut faults = self.faults.borrow_mut();
        if faults.len() < FAULTS_MAX {
            faults.push(Fault {
                path: path.to_owned(),
                line: self.line,
                problem,
                remedy,
            });
        }
    }

    /// Reads a value with one of the grammars of `units`, or reports why it cannot be read.
    pub(super) fn read<T>(&self, grammar: impl FnOnce(&Tree) -> Result<T, Complaint>) -> Option<T> {
        match grammar(&self.node.value) {
            Ok(value) => Some(value),
            Err(Complaint { problem, remedy }) => {
                self.fault(problem, remedy);
                None
            }
        }
    }

    fn child(&self, key: &str, line: Option<u32>, node: &'t Node) -> Self {
        let key = key.escape_debug();
        let path = if self.path.is_empty() {
            key.to_string()
        } else {
            format!("{}.{key}", self.path)
        };
        Self {
            node,
            path,
            line: line.or(node.line),
            faults: self.faults,
        }
    }

    fn wrong_type(&self, wanted: &str, remedy: impl Into<String>) {
        self.fault(format!("{} is no {wanted}", self.node.value), remedy);
    }

    /// The pairs of a map, without those whose key stood before.
    fn pairs(&self) -> Option<Vec<(&'t str, Place<'t>)>> {
        let Tree::Map(pairs) = &self.node.value else {
            self.wrong_type("map", "write {key: value}, or keys on lines of their own");
            return None;
        };
        let mut seen = BTreeSet::new();
        let mut entries = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let place = self.child(&pair.key, pair.line, &pair.value);
            if seen.insert(pair.key.as_str()) {
                entries.push((pair.key.as_str(), place));
            } else {
                place.fault("the key stands twice in one map", "keep one of them");
            }
        }
        Some(entries)
    }

    /// The entries of a map with fixed keys; every other key is a fault.
    pub(super) fn map(&self, known: &[&str]) -> Option<Entries<'t>> {
        #[cfg(test)]
        read::note(&self.path, known);
        let mut entries = self.pairs()?;
        entries.retain(|(key, place)| {
            let is_known = known.contains(key);
            if !is_known {
                place.fault(
                    "unknown key",
                    suggestion(key, known.iter().copied(), "keys"),
                );
            }
            is_known
        });
        Some(Entries {
            place: self.clone(),
            entries,
        })
    }

    /// The entries of a map whose keys are free, without those that are empty.
    pub(super) fn free_map(&self) -> Vec<(&'t str, Place<'t>)> {
        let mut entries = self.whole_map();
        entries.retain(|(key, _)| !key.is_empty());
        entries
    }

    /// The entries of a map whose keys are free. That one is empty is a fault, and hides no fault of its value.
    pub(super) fn whole_map(&self) -> Vec<(&'t str, Place<'t>)> {
        let entries = self.pairs().unwrap_or_default();
        for (_, place) in entries.iter().filter(|(key, _)| key.is_empty()) {
            place.fault("the key is empty", "give it a name");
        }
        entries
    }

    /// The entries of a map whose keys are names of checks or services. What is wrong with a name is a fault,
    /// and hides none of what it names.
    pub(super) fn named(&self) -> Vec<(&'t str, Place<'t>)> {
        let entries = self.whole_map();
        for (key, place) in &entries {
            if let Some(problem) = name_problem(key) {
                place.fault(problem, NAME_REMEDY);
            }
        }
        entries
    }

    /// The items of a list.
    pub(super) fn list(&self) -> Vec<Place<'t>> {
        let Tree::List(items) = &self.node.value else {
            let remedy = match &self.node.value {
                Tree::Text(_) | Tree::Integer(_) | Tree::Number(_) | Tree::Flag(_) => {
                    format!("write [{}]", self.node.value)
                }
                Tree::Nothing | Tree::List(_) | Tree::Map(_) => "write [a, b]".to_owned(),
            };
            self.wrong_type("list", remedy);
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .map(|(index, node)| Self {
                node,
                path: format!("{}[{index}]", self.path),
                line: node.line,
                faults: self.faults,
            })
            .collect()
    }

    /// Text that is not empty.
    pub(super) fn text(&self) -> Option<&'t str> {
        match &self.node.value {
            Tree::Text(text) if text.is_empty() => {
                self.fault("the text is empty", "write something, or leave the key out");
                None
            }
            Tree::Text(text) => Some(text),
            Tree::Integer(_) | Tree::Number(_) | Tree::Flag(_) => {
                self.wrong_type("text", format!("write \"{}\" in quotes", self.node.value));
                None
            }
            Tree::Nothing | Tree::List(_) | Tree::Map(_) => {
                self.wrong_type("text", "write a word, or text in quotes");
                None
            }
        }
    }

    /// A name of a check, service, stage, step or region.
    pub(super) fn name(&self) -> Option<&'t str> {
        let text = self.text()?;
        match name_problem(text) {
            None => Some(text),
            Some(problem) => {
                self.fault(problem, NAME_REMEDY);
                None
            }
        }
    }

    /// Names that stand only once each.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for item in self.list() {
            let Some(name) = item.name() else { continue };
            if names.iter().any(|other| other == name) {
                item.fault(format!("{} stands twice", quoted(name)), "keep one of them");
            } else {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        match &self.node.value {
            Tree::Flag(flag) => Some(*flag),
            Tree::Nothing
            | Tree::Integer(_)
            | Tree::Number(_)
            | Tree::Text(_)
            | Tree::List(_)
            | Tree::Map(_) => {
                self.wrong_type("flag", "write true or false");
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        // In quotes it would be no better.
        if let Tree::Integer(_) | Tree::Number(_) | Tree::Flag(_) = &self.node.value {
            let known = suggestion("", words.iter().map(|(word, _)| *word), "words");
            self.fault(format!("{} is not known here", self.node.value), known);
            return None;
        }
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            self.fault(
                format!("{} is not known here", quoted(text)),
                suggestion(text, words.iter().map(|(word, _)| *word), "words"),
            );
        }
        found.map(|(_, value)| *value)
    }
}

impl<'t> Entries<'t> {
    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<&Place<'t>> {
        self.entries
            .iter()
            .find(|(candidate, _)| *candidate == key)
            .map(|(_, place)| place)
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The value of a key; that it is missing is a fault.
    pub(super) fn require(&self, key: &str, remedy: &str) -> Option<&Place<'t>> {
        let found = self.get(key);
        if found.is_none() {
            self.place.fault(format!("{key} is missing"), remedy);
        }
        found
    }

    /// Reads the value of a key where it is there and good.
    pub(super) fn read<T>(
        &self,
        key: &str,
        grammar: impl FnOnce(&Tree) -> Result<T, Complaint>,
    ) -> Option<T> {
        self.get(key).and_then(|place| place.read(grammar))
    }
}

const NAME_REMEDY: &str = "write a name of at most 128 bytes without / and control characters";

fn name_problem(name: &str) -> Option<&'static str> {
    if name.len() > NAME_BYTES_MAX {
        Some("the name is too long")
    } else if name.trim() != name {
        Some("the name begins or ends with a space")
    } else if name.contains(|c: char| c == '/' || c.is_control()) {
        Some("the name contains / or a control character")
    } else {
        None
    }
}

/// `did you mean "latency"?`, or what is known where nothing is near.
pub(super) fn suggestion<'a>(
    given: &str,
    known: impl Iterator<Item = &'a str>,
    what: &str,
) -> String {
    const LISTED_MAX: usize = 16;
    let mut known: Vec<&str> = known.collect();
    let near = known
        .iter()
        .map(|name| (edit_distance(given, name), *name))
        .filter(|(distance, name)| *distance <= (name.chars().count().max(3) / 3).max(1))
        .min();
    if let Some((_, name)) = near {
        return format!("did you mean {name:?}?");
    }
    if known.is_empty() {
        return format!("there are no {what} to choose from");
    }
    let more = if known.len() > LISTED_MAX {
        ", …"
    } else {
        ""
    };
    known.truncate(LISTED_MAX);
    format!("known {what}: {}{more}", known.join(", "))
}

/// Changes, insertions, removals and swaps of neighbours that lead from one word to the other,
/// without regard to case; long words are as far as can be.
fn edit_distance(a: &str, b: &str) -> usize {
    const WORD_BYTES_MAX: usize = 64;
    if a.len() > WORD_BYTES_MAX || b.len() > WORD_BYTES_MAX {
        return usize::MAX;
    }
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    // Row i + 1 holds the distances of the first i + 1 characters of a; row 0 those of none.
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let mut least = rows[i][j] + usize::from(left != right);
            least = least.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *left == b[j - 1] && a[i - 1] == *right {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// Which maps with fixed keys are read, for what is held against them.
#[cfg(test)]
mod read {
    use std::cell::RefCell;

    /// A path of keys, `[]` for the items of a list, and the keys that are known there.
    pub(in crate::plan) type Read = (Vec<String>, Vec<String>);

    thread_local! {
        static READ: RefCell<Option<Vec<Read>>> = const { RefCell::new(None) };
    }

    pub(super) fn note(path: &str, known: &[&str]) {
        READ.with_borrow_mut(|read| {
            if let Some(read) = read {
                let steps = path
                    .split('.')
                    .filter(|step| !step.is_empty())
                    .flat_map(|step| {
                        let (key, items) = step.split_once('[').unwrap_or((step, ""));
                        let is_item = !items.is_empty();
                        [key.to_owned()]
                            .into_iter()
                            .chain(is_item.then(|| "[]".to_owned()))
                    });
                let known = known.iter().map(|key| (*key).to_owned()).collect();
                read.push((steps.collect(), known));
            }
        });
    }

    /// The maps that are read meanwhile.
    pub(in crate::plan) fn maps_read(reading: impl FnOnce()) -> Vec<Read> {
        READ.set(Some(Vec::new()));
        reading();
        READ.take().unwrap_or_default()
    }
}

#[cfg(test)]
pub(super) use read::maps_read;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_word_is_suggested() {
        let known = ["tolerance", "direction", "max", "min"];
        for (given, remedy) in [
            ("tolerence", "did you mean \"tolerance\"?"),
            ("Direction", "did you mean \"direction\"?"),
            ("mx", "did you mean \"max\"?"),
            ("colour", "known keys: tolerance, direction, max, min"),
        ] {
            assert_eq!(suggestion(given, known.into_iter(), "keys"), remedy);
        }
        assert_eq!(
            suggestion("x", [].into_iter(), "checks"),
            "there are no checks to choose from"
        );
    }

    #[test]
    fn the_distance_counts_single_changes() {
        for (a, b, distance) in [
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("same", "same", 0),
        ] {
            assert_eq!(edit_distance(a, b), distance);
        }
    }
}
