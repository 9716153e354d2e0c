//! The part of a configuration that verdicts follow from, as a configuration of its own.

use serde_json::{Map, Number, Value};

use super::tree::{Node, Tree};

/// The keys at the top that verdicts follow from; the digest is made of what they mean.
const KEYS: [&str; 7] = [
    "resolution",
    "lateness",
    "labels",
    "checks",
    "services",
    "log_patterns",
    "limits",
];

/// JSON, which is YAML, with these keys alone.
pub(super) fn of(root: &Node) -> String {
    let Tree::Map(pairs) = &root.value else {
        return String::new();
    };
    let kept = pairs
        .iter()
        .filter(|pair| KEYS.contains(&pair.key.as_str()));
    let map: Map<String, Value> = kept
        .map(|pair| (pair.key.clone(), json(&pair.value)))
        .collect();
    Value::Object(map).to_string()
}

pub(super) fn json(node: &Node) -> Value {
    match &node.value {
        Tree::Nothing => Value::Null,
        Tree::Flag(flag) => Value::from(*flag),
        Tree::Integer(integer) => Value::from(*integer),
        // What is no number is refused everywhere.
        Tree::Number(number) => Number::from_f64(*number).map_or(Value::Null, Value::from),
        // Nothing in it refers to the environment any more.
        Tree::Text(text) => Value::from(text.replace('$', "$$")),
        Tree::List(items) => items.iter().map(json).collect(),
        Tree::Map(pairs) => Value::Object(
            pairs
                .iter()
                .map(|pair| (pair.key.clone(), json(&pair.value)))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::plan::Plan;

    fn check(text: &str) -> Plan {
        let plan = Plan::parse(text).unwrap_or_else(|faults| panic!("{faults}\n{text}"));
        let worded = Plan::parse(&plan.wording)
            .unwrap_or_else(|faults| panic!("{faults}\n{}", plan.wording));
        assert_eq!(worded.digest, plan.digest, "{}", plan.wording);
        assert_eq!(worded.wording, plan.wording);
        plan
    }

    #[expect(clippy::disallowed_methods, reason = "a test that reads its fixtures")]
    #[test]
    fn the_wording_has_the_same_digest_and_tells_of_no_place() {
        let example = include_str!("../../fixtures/config/example.yaml");
        let plan = check(example);
        for kept in ["node_cpu_busy_ratio", "Europe/Warsaw"] {
            assert!(plan.wording.contains(kept), "{kept}: {}", plan.wording);
        }
        for told in ["/etc/", "http://", "https://", "127.0.0.1"] {
            assert!(example.contains(told), "{told} is in the example");
            assert!(!plan.wording.contains(told), "{told}: {}", plan.wording);
        }
        check(super::super::parse::EMBEDDED);
        let recordings = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/recordings");
        let mut checked = 0;
        for entry in fs::read_dir(recordings).unwrap() {
            let file = entry.unwrap().path().join("sluice.yaml");
            if let Ok(text) = fs::read_to_string(file) {
                check(&text);
                checked += 1;
            }
        }
        assert!(25 < checked, "{checked}");
    }
}
