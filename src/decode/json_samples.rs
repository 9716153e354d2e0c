//! Messages of flat samples: `{"timestamp", "metric", "value", …labels}`, one or several a message.
//!
//! The metric may also be called `name`, and the time `time` or `ts`. Labels stand in an object
//! `labels`, beside the other fields, or both; nested objects are flattened with dots. The value is a
//! number, or text that holds one (`"NaN"` and `"+Inf"` too), as prometheus-kafka-adapter writes it.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    Refusal, batches,
    json_messages::{malformed, objects},
};
use crate::event::{Batch, Labels, METRIC_NAME, Point, RejectReason, SeriesMeta, Timestamp, Value};

const METRICS: [&str; 2] = ["metric", "name"];
const TIMES: [&str; 3] = ["timestamp", "time", "ts"];
const VALUE: &str = "value";
const LABELS: &str = "labels";
/// How deep objects are flattened; what is nested deeper is kept as text.
const DEPTH_MAX: usize = 8;

/// Reads one message. A sample without a time was measured when the message was written, where that
/// is known.
pub fn decode(bytes: &[u8], written_at: Option<Timestamp>) -> Batch {
    let mut batch = Batch::default();
    let mut number = 0u64;
    objects(bytes, &mut |object| {
        number += 1;
        match object.and_then(|text| sample(text, written_at)) {
            Ok((labels, point)) => {
                batches::append(&mut batch, labels, SeriesMeta::default(), point);
            }
            Err(refusal) => batch.rejects.sample(refusal.reason, || {
                format!("sample {number}: {}", refusal.detail)
            }),
        }
    });
    batch
}

fn sample(text: &str, written_at: Option<Timestamp>) -> Result<(Labels, Point), Refusal> {
    let mut fields: Fields<'_> = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    let at = match fields.take(&TIMES) {
        Some(time) => scalar(time)?
            .parse()
            .map_err(|error| Refusal::new(RejectReason::NoTimestamp, format!("{error}")))?,
        None => {
            written_at.ok_or_else(|| Refusal::new(RejectReason::NoTimestamp, "no timestamp"))?
        }
    };
    let value = value(fields.take(&[VALUE]))?;
    let metric = fields.take(&METRICS).map(scalar).transpose()?;
    let mut pairs = Vec::with_capacity(fields.0.len() + 4);
    if let Some(labels) = fields.take(&[LABELS]) {
        if !labels.get().starts_with('{') {
            let detail = format!("labels must be an object, found {}", head(labels));
            return Err(Refusal::new(RejectReason::BadLabels, detail));
        }
        let labels: Fields<'_> =
            serde_json::from_str(labels.get()).map_err(|error| malformed(&error))?;
        flatten(None, &labels, DEPTH_MAX, &mut pairs)?;
    }
    flatten(None, &fields, DEPTH_MAX, &mut pairs)?;
    let labels = series(metric, pairs)?;
    let value = Value::from_prometheus(value);
    Ok((
        labels,
        Point {
            at,
            start: None,
            value,
        },
    ))
}

/// Puts the name of the metric to its labels. Some producers write it there as well.
fn series<'a>(
    metric: Option<Cow<'a, str>>,
    mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
) -> Result<Labels, Refusal> {
    let bad = |detail: String| Refusal::new(RejectReason::BadLabels, detail);
    pairs.retain(|(_, value)| !value.is_empty());
    pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    if let Some(twice) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(bad(format!("the label {:?} stands twice", twice[0].0)));
    }
    let named = pairs
        .iter()
        .position(|(name, _)| name == METRIC_NAME)
        .map(|index| pairs.swap_remove(index).1);
    let metric = match (metric.filter(|metric| !metric.is_empty()), named) {
        (Some(metric), Some(other)) if metric != other => {
            return Err(bad(format!("the metric is {metric:?} and {other:?}")));
        }
        (Some(metric), _) | (None, Some(metric)) => metric,
        (None, None) => {
            let detail = "no metric: name the metric in metric or name";
            return Err(Refusal::new(RejectReason::NoMetricName, detail));
        }
    };
    pairs.push((Cow::Borrowed(METRIC_NAME), metric));
    Ok(Labels::new(pairs))
}

fn value(value: Option<&RawValue>) -> Result<f64, Refusal> {
    let refused = |detail: String| Refusal::new(RejectReason::NoValue, detail);
    let value = value.ok_or_else(|| refused("no value".to_owned()))?;
    let text = scalar(value)?;
    let number = text.trim().parse();
    number.map_err(|_| refused(format!("{} is no number", head(value))))
}

/// Text as it is meant, everything else as it is written.
fn scalar(value: &RawValue) -> Result<Cow<'_, str>, Refusal> {
    if value.get().starts_with('"') {
        let Text(text) = serde_json::from_str(value.get()).map_err(|error| malformed(&error))?;
        return Ok(text);
    }
    Ok(Cow::Borrowed(value.get()))
}

/// The beginning of a value, for messages.
fn head(value: &RawValue) -> String {
    value.get().chars().take(40).collect()
}

fn flatten<'a>(
    prefix: Option<&str>,
    fields: &Fields<'a>,
    depth: usize,
    out: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>,
) -> Result<(), Refusal> {
    for (name, value) in &fields.0 {
        let name = match prefix {
            Some(prefix) => Cow::Owned(format!("{prefix}.{name}")),
            None => name.clone(),
        };
        match value.get().as_bytes().first() {
            Some(b'n') => {}
            Some(b'{') if depth > 0 => {
                let nested: Fields<'a> =
                    serde_json::from_str(value.get()).map_err(|error| malformed(&error))?;
                flatten(Some(&name), &nested, depth - 1, out)?;
            }
            Some(_) | None if name.is_empty() => {
                let detail = "a label without a name";
                return Err(Refusal::new(RejectReason::BadLabels, detail));
            }
            Some(_) | None => out.push((name, scalar(value)?)),
        }
    }
    Ok(())
}

/// The fields of an object, borrowed from its text.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Takes the field with the first of the names that is there and not null.
    fn take(&mut self, names: &[&str]) -> Option<&'a RawValue> {
        names.iter().find_map(|wanted| {
            let index = self
                .0
                .iter()
                .position(|(name, value)| name == wanted && value.get() != "null")?;
            Some(self.0.swap_remove(index).1)
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldVisitor;
        impl<'de> Visitor<'de> for FieldVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((Text(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldVisitor)
    }
}

/// Text that is borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> (String, i64, f64) {
        let batch = decode(text.as_bytes(), None);
        assert!(batch.rejects.is_empty(), "{text}: {}", batch.rejects);
        let [block] = &batch.series[..] else {
            panic!("{batch:?}")
        };
        let [point] = &block.points[..] else {
            panic!("{batch:?}")
        };
        let Value::Number(value) = point.value else {
            panic!("{batch:?}")
        };
        (block.labels.to_string(), point.at.millis(), value)
    }

    #[test]
    fn the_usual_shapes_are_all_read() {
        let expected = (r#"up{host="h1",port="80"}"#.to_owned(), 1_500, 2.5);
        for text in [
            r#"{"timestamp":1.5,"metric":"up","value":2.5,"host":"h1","port":80}"#,
            r#"{"time":"1970-01-01T00:00:01.5Z","name":"up","value":"2.5","labels":{"host":"h1","port":"80"}}"#,
            r#"{"ts":"1.5","name":"up","value":25e-1,"labels":{"__name__":"up","host":"h1"},"port":80,"gone":null}"#,
            r#"{"timestamp":1.5,"value":" 2.5","labels":{"__name__":"\u0075p","host":"h1","port":80}}"#,
        ] {
            assert_eq!(one(text), expected, "{text}");
        }
        let nested =
            r#"{"timestamp":1,"metric":"m","value":1,"k8s":{"pod":"a","on":true},"l":[1]}"#;
        assert_eq!(one(nested).0, r#"m{k8s.on="true",k8s.pod="a",l="[1]"}"#);
    }

    #[test]
    fn values_that_are_text_may_be_no_finite_numbers() {
        let value = |text: &str| one(&format!(r#"{{"timestamp":1,"name":"m","value":{text}}}"#)).2;
        assert!(value("\"NaN\"").is_nan());
        assert_eq!(value("\"+Inf\""), f64::INFINITY);
        assert_eq!(value("\"-Inf\""), f64::NEG_INFINITY);
        assert_eq!(value("-1e3"), -1000.0);
    }

    #[test]
    fn a_sample_without_a_time_takes_that_of_its_message() {
        let at = Timestamp::from_seconds(7);
        let batch = decode(br#"{"metric":"m","value":1}"#, Some(at));
        assert_eq!(batch.series[0].points[0].at, at);
    }

    #[test]
    fn points_of_one_series_share_their_labels() {
        let text = "{\"timestamp\":1,\"metric\":\"m\",\"value\":1}\n{\"timestamp\":2,\"metric\":\"m\",\"value\":2}\n";
        let batch = decode(text.as_bytes(), None);
        assert_eq!((batch.series.len(), batch.sample_count()), (1, 2));
    }

    #[test]
    fn a_bad_object_is_a_reject_with_its_number_and_the_others_stand() {
        use RejectReason::{BadLabels, Malformed, NoMetricName, NoTimestamp, NoValue, NotUtf8};
        for (object, reason) in [
            (&b"nope"[..], Malformed),
            (b"7", Malformed),
            (b"{\"metric\":\"\xff\"}", NotUtf8),
            (br#"{"metric":"m","value":1}"#, NoTimestamp),
            (
                br#"{"timestamp":"noon","metric":"m","value":1}"#,
                NoTimestamp,
            ),
            (br#"{"timestamp":1,"metric":"m"}"#, NoValue),
            (br#"{"timestamp":1,"metric":"m","value":null}"#, NoValue),
            (br#"{"timestamp":1,"metric":"m","value":"many"}"#, NoValue),
            (br#"{"timestamp":1,"metric":"m","value":true}"#, NoValue),
            (br#"{"timestamp":1,"value":1}"#, NoMetricName),
            (br#"{"timestamp":1,"metric":"","value":1}"#, NoMetricName),
            (
                br#"{"timestamp":1,"metric":"m","value":1,"labels":[1]}"#,
                BadLabels,
            ),
            (
                br#"{"timestamp":1,"metric":"m","value":1,"a":"1","labels":{"a":"2"}}"#,
                BadLabels,
            ),
            (
                br#"{"timestamp":1,"metric":"m","value":1,"":"2"}"#,
                BadLabels,
            ),
            (
                br#"{"timestamp":1,"metric":"m","value":1,"labels":{"__name__":"n"}}"#,
                BadLabels,
            ),
        ] {
            let good = br#"{"timestamp":1,"metric":"m","value":1}"#;
            let batch = decode(&[good, &b"\n"[..], object, b"\n\n", good].concat(), None);
            let text = String::from_utf8_lossy(object);
            assert_eq!(batch.sample_count(), 2, "{text}");
            let reject = batch.rejects.samples.get(&reason);
            assert!(
                reject.is_some_and(
                    |reject| reject.count == 1 && reject.example.starts_with("sample 2: ")
                ),
                "{text}: {:?}",
                batch.rejects
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_objects_never_panic(
            text in r#"(\{("(metric|value|timestamp|labels|a)":("m"|1|null|\[\]|\{"a":\{\}\}),?){0,5}\}\n?){0,4}"#,
            bytes: Vec<u8>,
        ) {
            decode(text.as_bytes(), None);
            decode(&bytes, Some(Timestamp::from_seconds(0)));
        }
    }
}
