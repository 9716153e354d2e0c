//! YAML text → a tree of values that remember their lines.
//!
//! The tree is what makes it possible to report every fault of a configuration at once: reading
//! straight into types would stop at the first.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{
    DuplicateKeyPolicy, MessageFormatter, NonFiniteFloatPolicy, Spanned, UserMessageFormatter,
};

use super::fault::Fault;

/// Longest configuration that is read, in bytes.
const TEXT_BYTES_MAX: usize = 4 << 20;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Line of its first character, from 1; `None` where the parser does not know.
    pub line: Option<u32>,
    pub value: Tree,
    /// Names of the environment that the value was made of: such a value is never shown.
    pub names: Vec<String>,
    /// Whether it refers to what the environment does not have: that was told.
    pub is_unresolved: bool,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    Nothing,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the text; keys that stand twice are all here.
    Map(Vec<Pair>),
}

/// An entry of a map.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub key: String,
    /// Line of the key, from 1.
    pub line: Option<u32>,
    pub value: Node,
}

/// Longest piece of the configuration that a message quotes, in characters.
const QUOTED_CHARS_MAX: usize = 60;

/// Text in double quotes on one line, cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    if text.chars().nth(QUOTED_CHARS_MAX).is_none() {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    format!("{:?}", head + "…")
}

/// As messages name what they found.
impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Flag(flag) => flag.fmt(f),
            Self::Integer(integer) => integer.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a map"),
        }
    }
}

impl Node {
    /// Reads YAML.
    ///
    /// # Errors
    /// The text is no YAML, is more than one document, is longer than 4 MiB, or nests or repeats
    /// itself by aliases beyond the budget.
    pub(super) fn read(text: &str) -> Result<Self, Fault> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Fault {
                path: "configuration".to_owned(),
                line: None,
                problem: format!("{} bytes are more than {TEXT_BYTES_MAX}", text.len()),
                remedy: "split it into several engines".to_owned(),
            });
        }
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: 32,
                flow_nesting_limit: 32,
                max_events: 400_000,
                max_nodes: 200_000,
                max_aliases: 1_000,
                max_anchors: 1_000,
            },
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
            strict_booleans: true,
            with_snippet: false,
        };
        match serde_saphyr::from_str_with_options::<Spanned<Tree>>(text, options) {
            Ok(root) => Ok(root.into()),
            Err(error) => Err(fault_of(&error)),
        }
    }
}

impl From<Spanned<Tree>> for Node {
    fn from(spanned: Spanned<Tree>) -> Self {
        Self {
            line: line_of(&spanned),
            value: spanned.value,
            names: Vec::new(),
            is_unresolved: false,
        }
    }
}

fn line_of<T>(spanned: &Spanned<T>) -> Option<u32> {
    u32::try_from(spanned.referenced.line())
        .ok()
        .filter(|line| *line > 0)
}

fn fault_of(error: &serde_saphyr::Error) -> Fault {
    let message = UserMessageFormatter
        .format_message(error.without_snippet())
        .into_owned();
    let problem = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let location = error.location();
    Fault {
        path: match location {
            Some(location) => format!("line {}, column {}", location.line(), location.column()),
            None => "configuration".to_owned(),
        },
        line: location.and_then(|location| u32::try_from(location.line()).ok()),
        problem,
        remedy: "correct the YAML here or just before".to_owned(),
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Nothing)
    }

    fn visit_none<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Nothing)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Tree, E> {
        Ok(Tree::Flag(flag))
    }

    fn visit_i64<E: de::Error>(self, integer: i64) -> Result<Tree, E> {
        Ok(Tree::Integer(integer))
    }

    fn visit_u64<E: de::Error>(self, integer: u64) -> Result<Tree, E> {
        Ok(i64::try_from(integer).map_or(Tree::Number(integer as f64), Tree::Integer))
    }

    fn visit_i128<E: de::Error>(self, integer: i128) -> Result<Tree, E> {
        Ok(i64::try_from(integer).map_or(Tree::Number(integer as f64), Tree::Integer))
    }

    fn visit_u128<E: de::Error>(self, integer: u128) -> Result<Tree, E> {
        Ok(i64::try_from(integer).map_or(Tree::Number(integer as f64), Tree::Integer))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Tree, E> {
        Ok(Tree::Number(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Tree, E> {
        Ok(Tree::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Tree>>()? {
            list.push(item.into());
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let value = entries.next_value::<Spanned<Tree>>()?.into();
            map.push(Pair {
                line: line_of(&key),
                key: key.value,
                value,
            });
        }
        Ok(Tree::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_keys_remember_their_lines() {
        let root = Node::read("a: 1\nb:\n  c: [x,\n    90%]\n  d: {e: true}\n").unwrap();
        let Tree::Map(pairs) = &root.value else {
            panic!("{root:?}")
        };
        assert_eq!((pairs[0].line, pairs[1].line), (Some(1), Some(2)));
        let Tree::Map(inner) = &pairs[1].value.value else {
            panic!("{root:?}")
        };
        assert_eq!((inner[0].line, inner[1].line), (Some(3), Some(5)));
        let Tree::List(items) = &inner[0].value.value else {
            panic!("{root:?}")
        };
        assert_eq!(items[1].line, Some(4));
        assert!(matches!(&items[1].value, Tree::Text(text) if text == "90%"));
    }

    #[test]
    fn what_is_no_yaml_is_one_fault_with_its_place() {
        let bomb = format!(
            "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n{}",
            (1..9).fold(String::new(), |bomb, i| {
                let items = vec![format!("*a{}", i - 1); 10].join(", ");
                bomb + &format!("a{i}: &a{i} [{items}]\n")
            })
        );
        for (text, path, problem) in [
            ("a: [", "line 1, column 4", "unclosed bracket"),
            (
                "a: 1\n b: 2\n",
                "line 2, column 3",
                "mapping values are not allowed",
            ),
            ("a: 1\n---\nb: 2", "line 3, column 1", "multiple"),
            ("? [a]\n: b\n", "line 1, column 3", "expected string"),
            (&"[".repeat(100_000), "line 1, column 33", "recursion limit"),
            (&bomb, "line 6, column", "too large or too complex"),
            (
                &" ".repeat(TEXT_BYTES_MAX + 1),
                "configuration",
                "bytes are more than",
            ),
        ] {
            let fault = Node::read(text).unwrap_err();
            assert!(fault.path.starts_with(path), "{fault}");
            assert!(fault.problem.contains(problem), "{fault}");
        }
    }
}
