//! Keys of OTLP series: what the metric and its scope say, the attributes of the resource, those of the point.

use std::borrow::Cow;

use super::{
    super::{
        Fault, check_label_sizes, excerpt,
        protobuf::{Field, Reader},
    },
    METRICS, Scope,
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
    pub(super) scope: Scope<'a>,
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
        let Scope { name, version } = self.scope;
        for len in [resource_len, name_len, name.len(), version.len()] {
            out.extend(&(len as u32).to_le_bytes());
        }
        for text in [self.name, self.suffix, name, version] {
            out.extend(text.as_bytes());
        }
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
            Some(Told { name, .. }) => format!("metric {:?}: {}", excerpt(name), bad.detail),
            None => bad.detail,
        },
        ..bad
    })
}

/// As [`read_labels`], without the name of the metric in front of what is wrong.
pub(super) fn read_unnamed([head, resource, point]: [&[u8]; 3]) -> Result<Labels, BadLabels> {
    let told = read_head(head).ok_or_else(|| BadLabels {
        reason: RejectReason::NotUtf8,
        detail: "the name of a metric is not utf-8".to_owned(),
    })?;
    Ok(read(told, resource, point)?)
}

fn read(told: Told<'_>, resource: &[u8], point: &[u8]) -> Result<Labels, Fault> {
    let point = attributes(point)?;
    let resource = attributes(resource)?;
    check_attributes(&point)?;
    check_attributes(&resource)?;
    let quantile = told.quantile.map(|quantile| quantile.to_string());
    let own = (told.name, told.scope, quantile.as_deref());
    Ok(labels(own, &point, &resource))
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

/// What a head tells of labels.
struct Told<'a> {
    name: &'a str,
    scope: Scope<'a>,
    quantile: Option<f64>,
}

fn read_head(head: &[u8]) -> Option<Told<'_>> {
    let (lens, mut rest) = head.get(8..)?.split_first_chunk::<12>()?;
    let mut text = |index: usize| {
        let len = u32::from_le_bytes(*lens.as_chunks().0.get(index)?);
        let (text, behind) = rest.split_at_checked(len as usize)?;
        rest = behind;
        std::str::from_utf8(text).ok()
    };
    let name = text(0)?;
    let scope = Scope {
        name: text(1)?,
        version: text(2)?,
    };
    let quantile = rest
        .first_chunk::<8>()
        .map(|bits| f64::from_bits(u64::from_le_bytes(*bits)));
    Some(Told {
        name,
        scope,
        quantile,
    })
}
