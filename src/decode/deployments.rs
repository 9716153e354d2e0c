//! `deployments.jsonl`: one deployment event a line.
//!
//! A deployment that is left out would be judged by nobody, so here a broken line is an error and no
//! reject.

use std::{collections::BTreeMap, fmt, ops::ControlFlow};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{DecodeError, json_messages::objects_while};
use crate::event::{DeploymentEvent, Timestamp, check_name};

const FORMAT: &str = "deployments";

/// Decodes all lines, in the order of the file. Empty lines are passed over.
///
/// # Errors
/// The first line that is no deployment event, with its number and what to change.
pub fn decode(bytes: &[u8]) -> Result<Vec<DeploymentEvent>, DecodeError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut events = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let event = event(line).map_err(|detail| DecodeError::BadLine {
            format: FORMAT,
            line: index as u64 + 1,
            detail,
        })?;
        events.push(event);
    }
    Ok(events)
}

/// Most events of a message of a topic, good and bad together.
pub const MESSAGE_EVENTS_MAX: usize = 256;

/// Reads a message of a topic: events as lines have them, one or several. One that has no time happened
/// when the message was written. What is wrong with one costs only itself.
///
/// # Errors
/// The message has more than [`MESSAGE_EVENTS_MAX`] events; not more than these are held meanwhile.
pub fn message(
    bytes: &[u8],
    written_at: Option<Timestamp>,
) -> Result<Vec<Result<DeploymentEvent, String>>, String> {
    let mut events = Vec::new();
    let read = objects_while(bytes, &mut |object| {
        if MESSAGE_EVENTS_MAX <= events.len() {
            return ControlFlow::Break(());
        }
        let object = object.map_err(|refusal| refusal.detail);
        events.push(object.and_then(|text| {
            let stamped = written_at.and_then(|at| stamped(text, at));
            event(stamped.as_deref().unwrap_or(text).as_bytes())
        }));
        ControlFlow::Continue(())
    });
    match read {
        ControlFlow::Continue(()) => Ok(events),
        ControlFlow::Break(()) => Err(format!(
            "more than {MESSAGE_EVENTS_MAX} events in a message: send fewer"
        )),
    }
}

/// An event with this time, where it has none.
fn stamped(text: &str, at: Timestamp) -> Option<String> {
    let Fields(mut fields) = serde_json::from_str(text).ok()?;
    if fields.get("at").is_some_and(|at| at.get() != "null") {
        return None;
    }
    let at = serde_json::value::to_raw_value(&at.to_string()).ok()?;
    fields.insert("at".to_owned(), &at);
    serde_json::to_string(&fields).ok()
}

/// The fields of an object, as they are written. One that is there twice is an error: neither of the two
/// may win without a word.
struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = BTreeMap<String, &'de RawValue>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    if fields.insert(key, value).is_some() {
                        return Err(A::Error::custom("a field is there twice"));
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Each).map(Self)
    }
}

fn event(line: &[u8]) -> Result<DeploymentEvent, String> {
    let event = serde_json::from_slice(line).or_else(|error| {
        let event = without_nulls(line).and_then(|line| serde_json::from_str(&line).ok());
        event.ok_or_else(|| told(line, &error))
    });
    let event: DeploymentEvent = event?;
    if event.deployment().is_empty() {
        return Err("deployment is empty: give each deployment an id".to_owned());
    }
    for (key, name) in names(&event) {
        check_name(name).map_err(|problem| format!("{key} {problem}"))?;
    }
    if let DeploymentEvent::Begin(begin) = &event {
        if !(begin.weight > 0.0 && begin.weight.is_finite()) {
            return Err(format!(
                "weight is {}: use a number above 0, 1 by default",
                begin.weight
            ));
        }
        for (key, value) in [
            ("service", &begin.service),
            ("stage", &begin.stage),
            ("version", &begin.version),
        ] {
            if value.is_empty() {
                return Err(format!("{key} is empty: name the {key}"));
            }
        }
    }
    Ok(event)
}

/// What may be left out.
const OPTIONAL: [&str; 5] = ["region", "one_box", "fleet", "weight", "hotfix"];

/// A line without those of its keys that may be left out and are null: as over HTTP, that is as if they were.
fn without_nulls(line: &[u8]) -> Option<String> {
    let Fields(mut fields) = serde_json::from_slice(line).ok()?;
    fields.retain(|key, value| !(value.get() == "null" && OPTIONAL.contains(&key.as_str())));
    serde_json::to_string(&fields).ok()
}

/// Why a line is no event, in the words of who wrote it.
fn told(line: &[u8], error: &serde_json::Error) -> String {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else {
        // Every line is a document of its own: the line that serde_json counts is always 1.
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or(&text);
        return format!("is no JSON: {text}, at column {}", error.column());
    };
    let Some(fields) = value.as_object() else {
        return "is no JSON object: write {\"at\": …, \"event\": \"begin\", …}".to_owned();
    };
    let one_of = |key: &str, known: &[&str]| {
        let given = fields.get(key)?;
        let is_known = given.as_str().is_some_and(|given| known.contains(&given));
        let (last, others) = known.split_last()?;
        (!is_known).then(|| format!("{key} is {given}: write {} or {last}", others.join(", ")))
    };
    if !fields.contains_key("event") {
        return "event is missing: write begin, step, bypass or end".to_owned();
    }
    if let Some(problem) = one_of("event", &["begin", "step", "bypass", "end"])
        .or_else(|| one_of("outcome", &["passed", "failed"]))
    {
        return problem;
    }
    // Neither the words of a parser nor its place in a line that it has read to the end help anybody.
    let mut text = error.to_string();
    if let Some(end) = text.find(" at line ") {
        text.truncate(end);
    }
    for (parsers, ours) in [
        ("a sequence", "a list"),
        ("sequence", "a list"),
        ("invalid type: map", "invalid type: an object"),
        ("expected f64", "expected a number"),
        ("expected a string", "expected text"),
        ("floating point", "number"),
    ] {
        text = text.replace(parsers, ours);
    }
    text
}

/// What the event calls things, as the doors of a running engine check them.
fn names(event: &DeploymentEvent) -> Vec<(&'static str, &str)> {
    let mut names = vec![("deployment", event.deployment())];
    match event {
        DeploymentEvent::Begin(begin) => {
            names.extend([
                ("service", &*begin.service),
                ("stage", &begin.stage),
                ("region", begin.region.as_deref().unwrap_or_default()),
                ("version", &begin.version),
            ]);
            names.extend(begin.one_box.iter().map(|host| ("one_box", &**host)));
            names.extend(begin.fleet.iter().map(|host| ("fleet", &**host)));
            if let Some(hotfix) = &begin.hotfix {
                names.extend([
                    ("hotfix.by", &*hotfix.by),
                    ("hotfix.reason", &hotfix.reason),
                    ("hotfix.ticket", &hotfix.ticket),
                ]);
            }
        }
        DeploymentEvent::Step(step) => names.push(("step", &step.step)),
        DeploymentEvent::Bypass(bypass) => names.extend([
            ("by", &*bypass.by),
            ("reason", &bypass.reason),
            ("ticket", &bypass.ticket),
        ]),
        DeploymentEvent::End(_) => {}
    }
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEGIN: &str = r#"{"at": "2026-03-01T10:00:00Z", "event": "begin", "deployment": "d1", "service": "checkout", "stage": "onebox", "region": "eu-west-1", "version": "v42", "one_box": ["h3", "h7"], "fleet": ["h1", "h2", "h4"]}"#;

    #[test]
    fn the_lines_of_the_contract_are_read_in_order() {
        let text = format!(
            "{BEGIN}\r\n\n{}\n{}\n{}",
            r#"{"at": "2026-03-01T10:05:00Z", "event": "step", "deployment": "d1", "step": "integration-tests", "outcome": "passed"}"#,
            r#"{"at": "2026-03-01T11:00:00Z", "event": "bypass", "deployment": "d1", "by": "ana", "reason": "…", "ticket": "OPS-1"}"#,
            r#"{"at": 1772366400, "event": "end", "deployment": "d1"}"#
        );
        let events = decode(text.as_bytes()).unwrap();
        let kinds: Vec<_> = events
            .iter()
            .map(|event| match event {
                DeploymentEvent::Begin(_) => "begin",
                DeploymentEvent::Step(_) => "step",
                DeploymentEvent::Bypass(_) => "bypass",
                DeploymentEvent::End(_) => "end",
            })
            .collect();
        assert_eq!(kinds, ["begin", "step", "bypass", "end"]);
        assert_eq!(decode(b""), Ok(vec![]));
    }

    #[test]
    fn a_message_holds_one_event_or_several_and_a_bad_one_costs_only_itself() {
        let end = r#"{"at": 5, "event": "end", "deployment": "d1"}"#;
        let read = |text: &str, at| {
            let told = message(text.as_bytes(), at).unwrap();
            let told = told.into_iter().map(|event| match event {
                Ok(event) => format!("{} {}", event.deployment(), event.at()),
                Err(problem) => format!("! {problem}"),
            });
            told.collect::<Vec<_>>()
        };
        let d1 = format!("d1 {}", Timestamp::from_seconds(5));
        for several in [
            format!("{end}{end}"),
            format!("{end}\n\n{end}\n"),
            format!("[{end},{end}]"),
        ] {
            assert_eq!(read(&several, None), [&*d1, &d1], "{several}");
        }
        assert_eq!(read("", None), [""; 0]);
        let told = read(&format!("{{\n{end}\n{{\"event\": \"end\"}}"), None);
        assert!(told[0].starts_with("! no json object"), "{told:?}");
        assert_eq!(told[1], d1);
        assert!(told[2].starts_with("! missing field `at`"), "{told:?}");
        // Only what has no time of its own is of the time at which it was written.
        let written_at = Timestamp::from_seconds(7);
        assert_eq!(read(end, Some(written_at)), [&*d1]);
        for without in ["", r#""at": null, "#] {
            let text = format!(r#"{{{without}"event": "end", "deployment": "d1"}}"#);
            assert_eq!(read(&text, Some(written_at)), [format!("d1 {written_at}")]);
            assert!(read(&text, None)[0].starts_with('!'), "{text}");
        }
    }

    #[test]
    fn a_message_of_too_many_events_is_refused_as_a_whole() {
        let end = r#"{"at": 5, "event": "end", "deployment": "d1"}"#;
        for (bad, several) in [
            ("7", ["", "\n", ""]),
            ("{", ["", "\n", ""]),
            ("7", ["[", ",", "]"]),
        ] {
            let [begin, between, end_of_all] = several;
            let text = |count: usize| {
                let mut each = vec![end; count / 2];
                each.resize(count, bad);
                [begin, &each.join(between), end_of_all].concat()
            };
            let most = message(text(MESSAGE_EVENTS_MAX).as_bytes(), None).unwrap();
            let good = most.iter().filter(|event| event.is_ok()).count();
            assert_eq!((most.len(), good), (256, 128), "{several:?}");
            let refused = message(text(MESSAGE_EVENTS_MAX + 1).as_bytes(), None);
            let problem = "more than 256 events in a message: send fewer";
            assert_eq!(refused, Err(problem.to_owned()), "{several:?}");
        }
        // Reading ends there: what is behind would be held, or take long.
        let mut taken = 0;
        let all = objects_while("7\n".repeat(1_000).as_bytes(), &mut |_| {
            taken += 1;
            [ControlFlow::Continue(()), ControlFlow::Break(())][usize::from(taken == 3)]
        });
        assert_eq!((taken, all), (3, ControlFlow::Break(())));
    }

    #[test]
    fn a_key_that_comes_twice_is_refused_also_where_the_event_has_no_time_or_a_null() {
        for twice in [
            r#""deployment": "d2""#,
            r#""event": "end""#,
            r#""stage": "s2""#,
            r#""weight": 2"#,
        ] {
            for more in ["", r#", "at": 5"#, r#", "at": null"#] {
                for weight in ["1", "null"] {
                    let text = format!(
                        r#"{{"event": "begin", "deployment": "d1", "service": "s", "stage": "a",
                        "version": "v", "weight": {weight}{more}, {twice}}}"#
                    );
                    let told = message(text.as_bytes(), Some(Timestamp::MIN)).unwrap();
                    assert!(told[0].is_err(), "{text}");
                    let once = text.replace(&format!(", {twice}"), "");
                    let told = message(once.as_bytes(), Some(Timestamp::MIN)).unwrap();
                    assert!(told[0].is_ok(), "{once}");
                }
            }
        }
    }

    #[test]
    fn a_weight_is_a_ratio_as_everywhere() {
        for (written, weight) in [("\"10%\"", 0.1), ("\"0.1\"", 0.1), ("0.1", 0.1), ("2", 2.0)] {
            let line = BEGIN.replace("\"fleet\"", &format!("\"weight\": {written}, \"fleet\""));
            let told = message(line.as_bytes(), None).unwrap().remove(0);
            let DeploymentEvent::Begin(begin) = told.unwrap() else {
                panic!("{line}")
            };
            assert_eq!(begin.weight, weight, "{line}");
        }
        for (written, problem) in [
            ("true", "expected a ratio such as 10% or 0.1"),
            (
                "\"0%\"",
                "weight is \"0%\": it must be a ratio above 0, such as 10% or 0.1",
            ),
        ] {
            let line = BEGIN.replace("\"fleet\"", &format!("\"weight\": {written}, \"fleet\""));
            let told = message(line.as_bytes(), None).unwrap().remove(0);
            let told = told.unwrap_err();
            assert!(told.contains(problem), "{told}");
        }
    }

    #[test]
    fn null_is_as_if_it_were_left_out() {
        let least = r#"{"at": 1, "event": "begin", "deployment": "d1", "service": "web", "stage": "all", "version": "v2""#;
        let nulls = OPTIONAL.map(|key| format!(r#", "{key}": null"#)).concat();
        let read = |line: String| decode(line.as_bytes());
        let left_out = read(format!("{least}}}")).unwrap();
        assert_eq!(read(format!("{least}{nulls}}}")), Ok(left_out));
        for wrong in [
            format!("{least}, \"fleet\": null, \"weight\": \"x\"}}"),
            format!("{least}, \"color\": null}}"),
            r#"{"at": 1, "event": "end", "deployment": null}"#.to_owned(),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_broken_line_is_an_error_that_tells_its_number_and_what_to_change() {
        let replaced = |from: &str, to: &str| BEGIN.replace(from, to);
        for (line, word) in [
            ("{".to_owned(), "is no JSON: EOF"),
            ("7".to_owned(), "is no JSON object"),
            (
                "{}".to_owned(),
                "event is missing: write begin, step, bypass or end",
            ),
            (
                BEGIN
                    .replace("\"weight\": 1", "")
                    .replace("\"fleet\"", "\"weight\": \"much\", \"fleet\""),
                "weight is \"much\": it must be a ratio above 0, such as 10% or 0.1",
            ),
            (
                BEGIN.replace("[\"h3\", \"h7\"]", "\"h3\""),
                "expected a list",
            ),
            (
                replaced("\"begin\"", "\"start\""),
                "event is \"start\": write begin, step, bypass or end",
            ),
            (replaced("\"stage\"", "\"stag\""), "unknown field `stag`"),
            (
                replaced("\"stage\": \"onebox\", ", ""),
                "missing field `stage`",
            ),
            (
                replaced("\"at\": \"2026-03-01T10:00:00Z\", ", ""),
                "missing field `at`",
            ),
            (
                replaced("2026-03-01T10:00:00Z", "yesterday"),
                "is no timestamp: use RFC 3339",
            ),
            (replaced("\"d1\"", "\"\""), "deployment is empty"),
            (
                replaced("\"d1\"", "\"d\u{202e}1\""),
                "deployment is \"d\\u{202e}1\": it must be printable",
            ),
            (
                replaced("\"h7\"", "\"h\\u001b[2J\""),
                "one_box is \"h\\u{1b}[2J\": it must be printable",
            ),
            (
                replaced("\"d1\"", &format!("\"{}\"", "d".repeat(513))),
                "deployment has 513 bytes, at most 512 are taken",
            ),
            (replaced("\"checkout\"", "\"\""), "service is empty"),
            (
                replaced("\"region\"", "\"weight\": 0, \"region\""),
                "weight is 0: use a number above 0",
            ),
        ] {
            let error = decode(format!("{BEGIN}\n{line}\n").as_bytes()).unwrap_err();
            let DecodeError::BadLine {
                line: 2, detail, ..
            } = &error
            else {
                panic!("{error:?}")
            };
            assert!(detail.contains(word), "{detail}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, text in r#"[{}":,a-z0-9\n-]{0,60}"#) {
            decode(&bytes).ok();
            decode(text.as_bytes()).ok();
            message(&bytes, None).ok();
            message(text.as_bytes(), Some(Timestamp::MIN)).ok();
        }
    }
}
