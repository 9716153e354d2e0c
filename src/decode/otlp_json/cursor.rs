//! A walk through a JSON value that knows its path in the document, so that errors can tell it.

use std::borrow::Cow;

use serde_json::Value;

use super::super::{Refusal, json_text::Path};
use crate::event::RejectReason;

/// A place in a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'v, 'p> {
    pub(super) value: &'v Value,
    path: Path<'p>,
}

impl<'v, 'p> Cursor<'v, 'p> {
    pub(super) fn new(value: &'v Value, path: Path<'p>) -> Self {
        Self { value, path }
    }

    /// The field of an object; absent if it is null, as in proto3 JSON.
    pub(super) fn field(&'p self, key: &'static str) -> Result<Option<Cursor<'v, 'p>>, Refusal> {
        let object = self
            .value
            .as_object()
            .ok_or_else(|| self.wrong("an object"))?;
        let value = object.get(key).filter(|value| !value.is_null());
        Ok(value.map(|value| Cursor {
            value,
            path: self.path.key(key),
        }))
    }

    /// The elements of an array.
    pub(super) fn items(&'p self) -> Result<impl Iterator<Item = Cursor<'v, 'p>>, Refusal> {
        let items = self
            .value
            .as_array()
            .ok_or_else(|| self.wrong("an array"))?;
        Ok(items.iter().enumerate().map(|(index, value)| Cursor {
            value,
            path: self.path.index(index),
        }))
    }

    /// Whether the field is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.value.get(key).is_some_and(|value| !value.is_null())
    }

    /// The text of a field; empty if it is absent.
    pub(super) fn text_field(&self, key: &'static str) -> Result<Cow<'v, str>, Refusal> {
        match self.field(key)? {
            Some(field) => field.text(),
            None => Ok(Cow::Borrowed("")),
        }
    }

    /// The unsigned number of a field; 0 if it is absent.
    pub(super) fn u64_field(&self, key: &'static str) -> Result<u64, Refusal> {
        self.field(key)?.map_or(Ok(0), |field| field.u64())
    }

    /// The double of a field, if it is there.
    pub(super) fn double_field(&self, key: &'static str) -> Result<Option<f64>, Refusal> {
        self.field(key)?.map(|field| field.double()).transpose()
    }

    /// The 32-bit number of a field; 0 if it is absent.
    pub(super) fn i32_field(&self, key: &'static str) -> Result<i32, Refusal> {
        let Some(field) = self.field(key)? else {
            return Ok(0);
        };
        i32::try_from(field.i64()?).map_err(|_| field.wrong("a 32-bit integer"))
    }

    /// The number of an enum's field; 0 if it is absent.
    pub(super) fn enum_field(&self, key: &'static str) -> Result<i64, Refusal> {
        self.field(key)?
            .map_or(Ok(0), |field| field.enumeration(&[]))
    }

    /// The number of an enum, given as number or as one of the names.
    pub(super) fn enumeration(&self, names: &[(&str, i64)]) -> Result<i64, Refusal> {
        if let Value::String(name) = self.value
            && let Some((_, number)) = names.iter().find(|(candidate, _)| candidate == name)
        {
            return Ok(*number);
        }
        self.i64().map_err(|_| self.wrong("the number of an enum"))
    }

    /// Reads a list field with `read` for each element; empty if it is absent.
    pub(super) fn list_field<T>(
        &self,
        key: &'static str,
        read: impl for<'q> Fn(&'q Cursor<'v, 'q>) -> Result<T, Refusal>,
    ) -> Result<Vec<T>, Refusal> {
        let Some(field) = self.field(key)? else {
            return Ok(Vec::new());
        };
        field.items()?.map(|item| read(&item)).collect()
    }

    pub(super) fn text(&self) -> Result<Cow<'v, str>, Refusal> {
        self.value
            .as_str()
            .map(Cow::Borrowed)
            .ok_or_else(|| self.wrong("a string"))
    }

    pub(super) fn boolean(&self) -> Result<bool, Refusal> {
        self.value
            .as_bool()
            .ok_or_else(|| self.wrong("true or false"))
    }

    /// A 64-bit integer, which proto3 JSON writes as a string and most senders as a number.
    pub(super) fn u64(&self) -> Result<u64, Refusal> {
        let read = match self.value {
            Value::String(text) => text.parse().ok().or_else(|| whole(text.parse().ok()?)),
            Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        read.ok_or_else(|| self.wrong("an unsigned integer"))
    }

    pub(super) fn i64(&self) -> Result<i64, Refusal> {
        let read = match self.value {
            Value::String(text) => text.parse().ok().or_else(|| whole(text.parse().ok()?)),
            Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        read.ok_or_else(|| self.wrong("an integer"))
    }

    /// A double; proto3 JSON writes what is no number as `"NaN"`, `"Infinity"`, `"-Infinity"`.
    pub(super) fn double(&self) -> Result<f64, Refusal> {
        let read = match self.value {
            Value::String(text) => match &**text {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                text => text.parse().ok().filter(|value: &f64| value.is_finite()),
            },
            Value::Number(number) => number.as_f64(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        read.ok_or_else(|| self.wrong("a number"))
    }

    /// The refusal of a value that is not what it should be.
    pub(super) fn wrong(&self, expected: &str) -> Refusal {
        let found = match self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) | Value::Number(_) => self.value.to_string(),
            Value::String(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
            Value::Array(_) => "an array".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        Refusal::new(
            RejectReason::Malformed,
            format!("{} must be {expected}, found {found}", self.path),
        )
    }
}

/// An integer that is written with a fraction or an exponent, as proto3 JSON allows: `1.0`, `1e2`.
fn whole<T: TryFrom<i128>>(value: f64) -> Option<T> {
    let is_whole = value.fract() == 0.0;
    is_whole.then(|| T::try_from(value as i128).ok()).flatten()
}
