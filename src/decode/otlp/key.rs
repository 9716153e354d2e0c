//! Keys of OTLP series: what the metric says, the attributes of the resource, those of the point.

use std::borrow::Cow;

use super::{
    super::{
        Fault, check_label_sizes, excerpt,
        protobuf::{Field, Reader},
    },
    METRICS,
    points::{Attributes, check_attributes, labels},
    value::WirePair,
};
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::event::{BadLabels, Labels, RejectReason, SeriesMeta, Written};

/// First byte of what a metric says: no other key begins with it.
const MARK: u8 = 0xff;

/// What a metric says of a series.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) name: &'a str,
    /// Follows the name.
    pub(super) suffix: &'static str,
    /// The quantile that the series stands for.
    pub(super) quantile: Option<f64>,
    pub(super) meta: SeriesMeta,
}

impl Head<'_> {
    /// Writes the head. The length of the resource's attributes is in it, so that where they end
    /// belongs to the key.
    pub(super) fn write(&self, resource_len: usize, out: &mut Written) {
        let SeriesMeta {
            kind,
            temporality,
            unit,
        } = self.meta;
        let name_len = self.name.len() + self.suffix.len();
        out.extend(&[MARK, kind as u8, temporality as u8, unit as u8]);
        out.extend(&(resource_len as u32).to_le_bytes());
        out.extend(&(name_len as u32).to_le_bytes());
        out.extend(self.name.as_bytes());
        out.extend(self.suffix.as_bytes());
        if let Some(quantile) = self.quantile {
            out.extend(&quantile.to_bits().to_le_bytes());
        }
    }
}

/// Writes attributes as protobuf has them: fields of pairs, one behind the other.
pub(super) fn write_attributes(attributes: &Attributes<'_>, out: &mut Written) {
    for (name, value) in attributes {
        let field = |content: usize| 1 + encoded_len_varint(content as u64) + content;
        let text = field(value.len());
        for (key, len, content) in [
            (0x0a, field(name.len()) + field(text), ""),
            (0x0a, name.len(), name),
            (0x12, text, ""),
            (0x0a, value.len(), value),
        ] {
            let mut head = [key; 11];
            encode_varint(len as u64, &mut &mut head[1..]);
            out.extend(&head[..=encoded_len_varint(len as u64)]);
            out.extend(content.as_bytes());
        }
    }
}

/// Reads the labels that a key stands for.
pub(super) fn read_labels(key: [&[u8]; 3]) -> Result<Labels, BadLabels> {
    read_unnamed(key).map_err(|bad| BadLabels {
        detail: match read_head(key[0]) {
            Some((name, _)) => format!("metric {:?}: {}", excerpt(name), bad.detail),
            None => bad.detail,
        },
        ..bad
    })
}

/// As [`read_labels`], without the name of the metric in front of what is wrong.
pub(super) fn read_unnamed([head, resource, point]: [&[u8]; 3]) -> Result<Labels, BadLabels> {
    let (name, quantile) = read_head(head).ok_or_else(|| BadLabels {
        reason: RejectReason::NotUtf8,
        detail: "the name of a metric is not utf-8".to_owned(),
    })?;
    Ok(read(name, quantile, resource, point)?)
}

fn read(name: &str, quantile: Option<f64>, resource: &[u8], point: &[u8]) -> Result<Labels, Fault> {
    let point = attributes(point)?;
    let resource = attributes(resource)?;
    check_attributes(&point)?;
    check_attributes(&resource)?;
    let quantile = quantile.map(|quantile| quantile.to_string());
    Ok(labels(name, quantile.as_deref(), &point, &resource))
}

/// Reads attributes whose fields stand one behind the other, whatever their number.
fn attributes(bytes: &[u8]) -> Result<Attributes<'_>, Fault> {
    check_label_sizes(0, bytes.len())?;
    let mut attributes = Vec::new();
    Reader::new(METRICS, bytes).for_each(|field: Field<'_>| {
        check_label_sizes(attributes.len() + 1, 0)?;
        let pair = WirePair::read(field.message()?)?;
        let value = if let Some(text) = pair.value.plain_text()? {
            Cow::Borrowed(text.text()?)
        } else {
            let mut text = String::new();
            pair.value.write_text(&mut text)?;
            Cow::Owned(text)
        };
        attributes.push((Cow::Borrowed(pair.key()?), value));
        Ok::<_, Fault>(())
    })?;
    Ok(attributes)
}

/// The name and the quantile of a head.
fn read_head(head: &[u8]) -> Option<(&str, Option<f64>)> {
    let (len, rest) = head.get(8..)?.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let quantile = rest
        .first_chunk::<8>()
        .map(|bits| f64::from_bits(u64::from_le_bytes(*bits)));
    Some((std::str::from_utf8(name).ok()?, quantile))
}
