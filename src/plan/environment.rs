//! References to the environment in the values of a configuration.
//!
//! `${NAME}` is what the environment holds, `${NAME:-default}` something else where it holds nothing, and
//! `$$` a dollar. Any other dollar stands for itself, as at the end of a regular expression. A value that
//! is one reference and nothing else may be a flag or a whole number; keys are taken as they are.

use super::{
    fault::Fault,
    tree::{Node, Tree},
};

/// What the environment holds under a name; `None`: nothing.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

const REMEDY: &str = "write ${NAME}, ${NAME:-default}, or $$ for a dollar";

/// Puts what the environment holds in the place of every reference. Gives a fault for each that has
/// nothing; such a value is told of once, whatever else it does not fit.
pub(super) fn expand(root: &mut Node, environment: Environment<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    walk(root, "", environment, &mut faults);
    faults
}

fn walk(node: &mut Node, path: &str, environment: Environment<'_>, faults: &mut Vec<Fault>) {
    match &mut node.value {
        Tree::Text(text) if text.contains('$') => match resolve(text, environment) {
            Ok(Resolved {
                text: resolved,
                names,
                is_whole,
            }) => {
                node.names = names;
                node.value = if is_whole {
                    typed(resolved)
                } else {
                    Tree::Text(resolved)
                };
            }
            Err(problem) => {
                node.is_unresolved = true;
                faults.push(Fault {
                    path: if path.is_empty() {
                        "configuration"
                    } else {
                        path
                    }
                    .to_owned(),
                    line: node.line,
                    problem: problem.problem,
                    remedy: problem.remedy,
                });
            }
        },
        Tree::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, &format!("{path}[{index}]"), environment, faults);
            }
        }
        Tree::Map(pairs) => {
            for pair in pairs {
                let key = pair.key.escape_debug();
                let path = if path.is_empty() {
                    key.to_string()
                } else {
                    format!("{path}.{key}")
                };
                walk(&mut pair.value, &path, environment, faults);
            }
        }
        Tree::Nothing | Tree::Flag(_) | Tree::Integer(_) | Tree::Number(_) | Tree::Text(_) => {}
    }
}

struct Resolved {
    text: String,
    /// Names of the references, in order.
    names: Vec<String>,
    /// Whether the text was one reference and nothing else.
    is_whole: bool,
}

struct Unresolved {
    problem: String,
    remedy: String,
}

fn resolve(text: &str, environment: Environment<'_>) -> Result<Resolved, Unresolved> {
    let (mut resolved, mut names, mut is_whole) = (String::new(), Vec::new(), false);
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, reference) = rest.split_at(dollar);
        resolved.push_str(before);
        if let Some(after) = reference.strip_prefix("$$") {
            resolved.push('$');
            rest = after;
        } else if let Some(after) = reference.strip_prefix("${") {
            let (name, default, after) = parse(after).ok_or_else(|| Unresolved {
                problem: "a reference to the environment has no end, or no name".to_owned(),
                remedy: REMEDY.to_owned(),
            })?;
            is_whole = reference.len() == text.len() && after.is_empty();
            let held = environment(name);
            let value = match (held, default) {
                (Some(held), Some(default)) if held.is_empty() => default.to_owned(),
                (Some(held), _) => held,
                (None, Some(default)) => default.to_owned(),
                (None, None) => {
                    return Err(Unresolved {
                        problem: format!("{name} is not set in the environment"),
                        remedy: format!("set it, or write ${{{name}:-default}}"),
                    });
                }
            };
            resolved.push_str(&value);
            names.push(name.to_owned());
            rest = after;
        } else {
            resolved.push('$');
            rest = &reference[1..];
        }
    }
    resolved.push_str(rest);
    Ok(Resolved {
        text: resolved,
        names,
        is_whole,
    })
}

/// `NAME}…` or `NAME:-default}…`.
fn parse(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let (inside, after) = text.split_once('}')?;
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some((name, default, after))
}

fn typed(text: String) -> Tree {
    match text.as_str() {
        "true" => Tree::Flag(true),
        "false" => Tree::Flag(false),
        _ => text.parse().map_or(Tree::Text(text), Tree::Integer),
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Faults, Plan};

    fn environment(name: &str) -> Option<String> {
        let held = match name {
            "METRIC" => "cpu",
            "MAX" => "90%",
            "SERIES" => "7",
            "FLAG" => "true",
            "EMPTY" => "",
            "SECRET" => "hunter2-hunter2-hunter2-hunter2-hunter2-hunter2-hunter2-hunter2-hunter2",
            _ => return None,
        };
        Some(held.to_owned())
    }

    fn parse(text: &str) -> Result<Plan, Faults> {
        Plan::parse_in(text, &environment)
    }

    const TEXT: &str = r#"
checks:
  cpu: {metric: '${METRIC}_${KIND:-busy}{a=~"x$",b="$$",c="$1"}', bounds: {max: "${MAX}"}}
services: {web: {stages: [{name: "${EMPTY:-one}", checks: [cpu], policies: {one_region_at_a_time: "${FLAG}"}}]}}
limits: {series: "${SERIES}"}
"#;

    #[test]
    fn references_become_what_the_environment_holds() {
        let plan = parse(TEXT).unwrap_or_else(|faults| panic!("{faults}"));
        let plain = Plan::parse(
            r#"
checks:
  cpu: {metric: 'cpu_busy{a=~"x$",b="$",c="$1"}', bounds: {max: 90%}}
services: {web: {stages: [{name: one, checks: [cpu], policies: {one_region_at_a_time: true}}]}}
limits: {series: 7}
"#,
        );
        let plain = plain.unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(plan.digest, plain.digest);
        // What is recorded of it needs no environment: a replay elsewhere judges by the same.
        let elsewhere = Plan::parse(&plan.wording).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(elsewhere.digest, plan.digest);
    }

    #[test]
    fn what_is_not_set_is_a_fault_with_its_path() {
        let text = TEXT
            .replace("${MAX}", "${NOWHERE}")
            .replace("${SERIES}", "${SERIES")
            .replace("${FLAG}", "${}");
        let faults = parse(&text).unwrap_err().0;
        let told: Vec<(&str, &str)> = faults
            .iter()
            .map(|fault| (fault.path.as_str(), fault.problem.as_str()))
            .collect();
        let no_end = "a reference to the environment has no end, or no name";
        assert_eq!(
            told,
            [
                (
                    "checks.cpu.bounds.max",
                    "NOWHERE is not set in the environment"
                ),
                (
                    "services.web.stages[0].policies.one_region_at_a_time",
                    no_end
                ),
                ("limits.series", no_end),
            ]
        );
        assert!(
            Plan::parse(TEXT)
                .unwrap_err()
                .to_string()
                .contains("METRIC is not set")
        );
    }

    #[test]
    fn what_is_not_set_hides_no_other_fault() {
        let text = "checks:
  cpu: {metric: '${NOWHERE}', bounds: {max: '${NOWHERE}', fro: 5m}}
  other: {metric: x, compare: {direction: '${NOWHERE}'}}
services: {web: {stages: [{name: '${NOWHERE}', checks: [cpu, '${NOWHERE}', disk]}]}}
lateness: soon
";
        let faults = parse(text).unwrap_err().0;
        let told: Vec<(&str, bool)> = faults
            .iter()
            .map(|fault| {
                let is_unset = fault.problem.starts_with("NOWHERE is not set");
                (fault.path.as_str(), is_unset)
            })
            .collect();
        assert_eq!(
            told,
            [
                ("checks.cpu.metric", true),
                ("checks.cpu.bounds.max", true),
                ("checks.cpu.bounds.fro", false),
                ("checks.other.compare.direction", true),
                ("services.web.stages[0].name", true),
                ("services.web.stages[0].checks[1]", true),
                ("services.web.stages[0].checks[2]", false),
                ("lateness", false),
            ]
        );
    }

    #[test]
    fn what_the_environment_holds_is_never_shown() {
        let sinks = "sinks: [{alertmanager: {url: '${SECRET}'}}, {grafana_webhook: {url: 'http://a', timeout: '${SECRET}', name: 'x${SECRET}', queue: '${SECRET}'}}]\n";
        let faults = parse(&format!("{TEXT}{sinks}")).unwrap_err();
        assert!(3 <= faults.0.len(), "{faults}");
        let told = faults.to_string();
        assert!(
            told.contains("${SECRET}") && !told.contains("hunter2"),
            "{told}"
        );
        let sinks = "sinks: [{alertmanager: {url: 'http://a/${SECRET}'}}]\n";
        let plan = parse(&format!("{TEXT}{sinks}")).unwrap_or_else(|faults| panic!("{faults}"));
        let with_other = parse(&format!("{TEXT}{}", sinks.replace("a/$", "b/$"))).unwrap();
        assert_eq!(plan.digest, with_other.digest);
        assert!(!plan.wording.contains("hunter2") && !format!("{plan:?}").contains("hunter2"));
    }
}
