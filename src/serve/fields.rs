//! Reads the JSON of a deployer field by field, so that an error names its field.

use serde_json::{Map, Value};

use super::requests::FieldError;
use crate::event::{Begin, Bypass, Hotfix, Step, StepOutcome, Timestamp, read_share};

/// The fields of an object that were not read yet.
struct Fields {
    /// Path of the object, with a dot behind it; empty for the whole body.
    path: &'static str,
    map: Map<String, Value>,
}

/// Reads the body of `POST /api/v1/deployments`.
///
/// # Errors
/// A field is missing, unknown or of a wrong type.
pub(super) fn begin(body: &[u8]) -> Result<Begin, FieldError> {
    let mut fields = Fields::read(body)?;
    let begin = Begin {
        at: Timestamp::MIN,
        deployment: fields.text("deployment")?.unwrap_or_default(),
        service: fields.required("service")?,
        stage: fields.required("stage")?,
        region: fields.text("region")?.filter(|region| !region.is_empty()),
        version: fields.required("version")?,
        one_box: fields.texts("one_box")?,
        fleet: fields.texts("fleet")?,
        weight: fields.share("weight")?.unwrap_or(1.0),
        hotfix: fields.hotfix()?,
    };
    fields.finish()?;
    Ok(begin)
}

/// Reads the body of `POST /api/v1/deployments/{id}/steps`.
///
/// # Errors
/// A field is missing, unknown or of a wrong type.
pub(super) fn step(body: &[u8], deployment: String) -> Result<Step, FieldError> {
    let mut fields = Fields::read(body)?;
    let step = fields.required("step")?;
    let outcome = fields.required("outcome")?;
    let outcome = match outcome.as_str() {
        "passed" => StepOutcome::Passed,
        "failed" => StepOutcome::Failed,
        _ => {
            let problem = format!("is {outcome:?}: it must be \"passed\" or \"failed\"");
            return Err(FieldError::new("outcome", problem));
        }
    };
    fields.finish()?;
    Ok(Step {
        at: Timestamp::MIN,
        deployment,
        step,
        outcome,
    })
}

/// Reads the body of `POST /api/v1/deployments/{id}/bypass`.
///
/// # Errors
/// A field is missing, unknown or of a wrong type.
pub(super) fn bypass(body: &[u8], deployment: String) -> Result<Bypass, FieldError> {
    let mut fields = Fields::read(body)?;
    let bypass = Bypass {
        at: Timestamp::MIN,
        deployment,
        by: fields.required("by")?,
        reason: fields.required("reason")?,
        ticket: fields.required("ticket")?,
    };
    fields.finish()?;
    Ok(bypass)
}

/// Reads a body that may be empty, but holds no fields.
///
/// # Errors
/// It holds something.
pub(super) fn nothing(body: &[u8]) -> Result<(), FieldError> {
    if body.trim_ascii().is_empty() {
        Ok(())
    } else {
        Fields::read(body)?.finish()
    }
}

impl Fields {
    fn read(body: &[u8]) -> Result<Self, FieldError> {
        let error = |problem: String| FieldError::new("body", problem);
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self { path: "", map }),
            Ok(other) => Err(error(format!("is {}: it must be an object", kind(&other)))),
            Err(fault) => Err(error(format!("is no JSON: {fault}"))),
        }
    }

    fn error(&self, field: &str, problem: impl Into<String>) -> FieldError {
        FieldError::new(format!("{}{field}", self.path), problem)
    }

    fn wrong(&self, field: &str, given: &Value, right: &str) -> FieldError {
        self.error(field, format!("is {}: it must be {right}", kind(given)))
    }

    /// A field; `null` counts as missing.
    fn take(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field).filter(|value| !value.is_null())
    }

    fn text(&mut self, field: &str) -> Result<Option<String>, FieldError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(field, &other, "a string")),
        }
    }

    fn required(&mut self, field: &str) -> Result<String, FieldError> {
        match self.text(field)? {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) | None => Err(self.error(field, "is missing: it must not be empty")),
        }
    }

    fn texts(&mut self, field: &str) -> Result<Vec<String>, FieldError> {
        let items = match self.take(field) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(self.wrong(field, &other, "an array of strings")),
        };
        let texts = items
            .into_iter()
            .enumerate()
            .map(|(index, item)| match item {
                Value::String(text) => Ok(text),
                other => Err(self.wrong(&format!("{field}[{index}]"), &other, "a string")),
            });
        texts.collect()
    }

    fn share(&mut self, field: &str) -> Result<Option<f64>, FieldError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(Value::String(text)) => {
                let share = read_share(&text);
                let share =
                    share.map_err(|right| self.error(field, format!("is {text:?}: {right}")));
                share.map(Some)
            }
            Some(other) => Err(self.wrong(field, &other, "a ratio such as 10% or 0.1")),
        }
    }

    fn hotfix(&mut self) -> Result<Option<Hotfix>, FieldError> {
        let map = match self.take("hotfix") {
            None => return Ok(None),
            Some(Value::Object(map)) => map,
            Some(other) => return Err(self.wrong("hotfix", &other, "an object")),
        };
        let mut fields = Self {
            path: "hotfix.",
            map,
        };
        let expires = fields.take("expires").unwrap_or_default();
        let expires = serde_json::from_value(expires)
            .map_err(|fault| fields.error("expires", format!("is no time: {fault}")))?;
        let hotfix = Hotfix {
            by: fields.required("by")?,
            reason: fields.required("reason")?,
            ticket: fields.required("ticket")?,
            expires,
        };
        fields.finish()?;
        Ok(Some(hotfix))
    }

    fn finish(self) -> Result<(), FieldError> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(field) => Err(self.error(field, "is not known here: remove it")),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    #[test]
    fn an_error_names_its_field_and_says_what_would_be_right() {
        for (body, error) in [
            (
                "",
                "body is no JSON: EOF while parsing a value at line 1 column 0",
            ),
            ("[]", "body is an array: it must be an object"),
            (
                r#"{"service": 3}"#,
                "service is a number: it must be a string",
            ),
            (
                r#"{"service": "a", "version": "1"}"#,
                "stage is missing: it must not be empty",
            ),
            (
                r#"{"service": "a", "stage": "b", "version": "1", "one_box": ["h", 2]}"#,
                "one_box[1] is a number: it must be a string",
            ),
            (
                r#"{"service": "a", "stage": "b", "version": "1", "weight": "much"}"#,
                "weight is \"much\": it must be a ratio above 0, such as 10% or 0.1",
            ),
            (
                r#"{"service": "a", "stage": "b", "version": "1", "weight": true}"#,
                "weight is a boolean: it must be a ratio such as 10% or 0.1",
            ),
            (
                r#"{"service": "a", "stage": "b", "version": "1", "at": "2026-03-01T10:00:00Z"}"#,
                "at is not known here: remove it",
            ),
            (
                r#"{"service": "a", "stage": "b", "version": "1",
                    "hotfix": {"by": "ana", "reason": "r", "ticket": "t", "expires": "soon"}}"#,
                "hotfix.expires is no time: \"soon\" is no timestamp: use RFC 3339 (2026-03-01T10:00:00Z) or Unix seconds (1772359200.5)",
            ),
            (
                r#"{"service": "a", "stage": "b", "version": "1", "hotfix": {"expires": 1}}"#,
                "hotfix.by is missing: it must not be empty",
            ),
        ] {
            assert_eq!(
                begin(body.as_bytes()).unwrap_err().to_string(),
                error,
                "{body}"
            );
        }
        for (body, error) in [
            (
                r#"{"step": "smoke"}"#,
                "outcome is missing: it must not be empty",
            ),
            (
                r#"{"step": "smoke", "outcome": "ok"}"#,
                "outcome is \"ok\": it must be \"passed\" or \"failed\"",
            ),
        ] {
            let given = step(body.as_bytes(), "d".to_owned());
            assert_eq!(given.unwrap_err().to_string(), error, "{body}");
        }
        for (body, error) in [
            (
                r#"{"by": "ana", "reason": "r"}"#,
                "ticket is missing: it must not be empty",
            ),
            (
                r#"{"by": "", "reason": "r", "ticket": "t"}"#,
                "by is missing: it must not be empty",
            ),
            (
                r#"{"by": "ana", "reason": "r", "ticket": "t", "at": 1}"#,
                "at is not known here: remove it",
            ),
        ] {
            let given = bypass(body.as_bytes(), "d".to_owned());
            assert_eq!(given.unwrap_err().to_string(), error, "{body}");
        }
        assert!(nothing(b" ").is_ok() && nothing(b"{}").is_ok());
        assert!(nothing(br#"{"a": 1}"#).is_err());
    }

    #[test]
    fn all_fields_of_a_deployment_are_read() {
        let body = r#"{"deployment": "d1", "service": "checkout", "stage": "onebox",
            "region": "eu", "version": "v42", "one_box": ["h1"], "fleet": ["h2"], "weight": 0.5,
            "hotfix": {"by": "ana", "reason": "down", "ticket": "OPS-1", "expires": 1772359200}}"#;
        let expected = Begin {
            at: Timestamp::MIN,
            deployment: "d1".to_owned(),
            service: "checkout".to_owned(),
            stage: "onebox".to_owned(),
            region: Some("eu".to_owned()),
            version: "v42".to_owned(),
            one_box: vec!["h1".to_owned()],
            fleet: vec!["h2".to_owned()],
            weight: 0.5,
            hotfix: Some(Hotfix {
                by: "ana".to_owned(),
                reason: "down".to_owned(),
                ticket: "OPS-1".to_owned(),
                expires: Timestamp::from_seconds(1_772_359_200),
            }),
        };
        for weight in ["0.5", "\"0.5\"", "\"50%\""] {
            let body = body.replace("0.5", weight);
            assert_eq!(begin(body.as_bytes()), Ok(expected.clone()), "{body}");
        }
    }
}
