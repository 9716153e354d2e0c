//! Loki's push in protobuf, compared with what the same bytes mean when prost decodes them.

use prost::Message;

use crate::{
    common,
    decode::{Encoding, Format, loki},
    event::{Labels, LogRecord, Severity, Timestamp},
    wire,
};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let read = common::read(Format::LokiPush, Encoding::Identity, bytes);
    common::read(Format::LokiPush, Encoding::Snappy, bytes).ok();
    // Text that is not UTF-8 refuses everything with prost and only its stream here: then there is
    // nothing to compare.
    let Ok(wire) = wire::PushRequest::decode(bytes) else {
        return;
    };
    match read {
        Ok(_) => compare(bytes, &wire),
        Err(error) => assert!(common::is_odd(&error), "{error}"),
    }
    // The same once more in the order and the forms that prost writes.
    compare(&wire.encode_to_vec(), &wire);
}

/// Compares times, severities, lines, attributes and the number of refusals.
fn compare(bytes: &[u8], wire: &wire::PushRequest) {
    let batch = loki::decode(bytes).expect("what prost reads");
    let (mut expected, mut refused) = (Vec::new(), 0);
    for stream in &wire.streams {
        let labels = selector(&stream.labels);
        for entry in &stream.entries {
            match labels.as_ref().and_then(|labels| record(labels, entry)) {
                Some(record) => expected.push(record),
                None => refused += 1,
            }
        }
    }
    if common::are_odd(&batch.rejects) {
        return;
    }
    assert_eq!(batch.rejects.log_count(), refused, "{}", batch.rejects);
    assert_eq!(batch.logs, expected);
}

type Pairs = Vec<(String, String)>;

fn record(labels: &Pairs, entry: &wire::Entry) -> Option<LogRecord> {
    let at = entry.timestamp.unwrap_or_default();
    let nanos = i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    let seconds = at.seconds.checked_mul(1_000_000_000);
    if (at.seconds, at.nanos) == (0, 0) || seconds.is_none() {
        return None;
    }
    let metadata = entry.metadata.iter();
    let own: Pairs = metadata
        .map(|pair| (pair.name.clone(), pair.value.clone()))
        .collect();
    let told = |pairs: &Pairs, names: &[&str]| {
        pairs.iter().find_map(|(name, value)| {
            let is_meant = names.iter().any(|known| name.eq_ignore_ascii_case(known));
            let severity = Severity::from_name(value);
            (is_meant && severity != Severity::UNKNOWN).then_some(severity)
        })
    };
    let names = ["level", "severity"];
    let severity = told(&own, &names)
        .or_else(|| told(labels, &names))
        .or_else(|| told(&own, &["detected_level"]))
        .or_else(|| told(labels, &["detected_level"]));
    let all = own
        .iter()
        .chain(labels)
        .filter(|(name, _)| !name.is_empty());
    Some(LogRecord {
        at: Timestamp::from_nanos(i64::try_from(nanos).ok()?),
        severity: severity.unwrap_or_default(),
        body: entry.line.clone(),
        attributes: Labels::new(all.map(|(name, value)| (name, value))),
        count: 1,
    })
}

/// Reads `{name="value", …}` character by character; `None` where it cannot be read.
fn selector(text: &str) -> Option<Pairs> {
    let text: Vec<char> = text.trim().chars().collect();
    let Some((first, mut rest)) = text.split_first() else {
        return Some(Pairs::new());
    };
    let mut pairs = Pairs::new();
    if *first != '{' {
        return None;
    }
    loop {
        skip_space(&mut rest);
        if let ['}', after @ ..] = rest {
            return after.is_empty().then_some(pairs);
        }
        let name = match rest {
            ['"', ..] => quoted(&mut rest, false)?,
            _ => {
                let ends = |c: &char| c.is_whitespace() || "={}\",".contains(*c);
                let len = rest.iter().position(ends).unwrap_or(rest.len());
                let (name, after) = rest.split_at(len);
                rest = after;
                if len == 0 {
                    return None;
                }
                String::from_iter(name)
            }
        };
        skip_space(&mut rest);
        rest = rest.strip_prefix(&['='])?;
        skip_space(&mut rest);
        pairs.push((name, quoted(&mut rest, true)?));
        skip_space(&mut rest);
        match rest {
            [',', after @ ..] => rest = after,
            ['}', ..] => {}
            _ => return None,
        }
    }
}

fn skip_space(rest: &mut &[char]) {
    while let [first, after @ ..] = rest
        && first.is_whitespace()
    {
        *rest = after;
    }
}

fn quoted(rest: &mut &[char], may_escape: bool) -> Option<String> {
    let (quote, mut text) = rest.split_first()?;
    let mut bytes = Vec::new();
    match quote {
        '`' => {
            let end = text.iter().position(|c| *c == '`')?;
            *rest = &text[end + 1..];
            return Some(String::from_iter(&text[..end]));
        }
        '"' => {}
        _ => return None,
    }
    loop {
        match text {
            [] => return None,
            ['"', after @ ..] => {
                *rest = after;
                return String::from_utf8(bytes).ok();
            }
            ['\\', ..] if !may_escape => return None,
            ['\\', kind, after @ ..] => {
                text = after;
                let digits = match kind {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    '0'..='7' => {
                        let octal = [*kind, *text.first()?, *text.get(1)?];
                        let octal = String::from_iter(octal);
                        text = &text[2..];
                        let is_octal = octal.chars().all(|c| ('0'..='7').contains(&c));
                        bytes.push(u8::from_str_radix(&octal, 8).ok().filter(|_| is_octal)?);
                        continue;
                    }
                    _ => {
                        let plain = [
                            ('a', '\x07'),
                            ('b', '\x08'),
                            ('f', '\x0c'),
                            ('n', '\n'),
                            ('r', '\r'),
                            ('t', '\t'),
                            ('v', '\x0b'),
                            ('\\', '\\'),
                            ('\'', '\''),
                            ('"', '"'),
                        ];
                        put(
                            &mut bytes,
                            plain.into_iter().find(|(known, _)| known == kind)?.1,
                        );
                        continue;
                    }
                };
                let (number, after) = text.split_at_checked(digits)?;
                text = after;
                let is_number = number.iter().all(char::is_ascii_hexdigit);
                let number = u32::from_str_radix(&String::from_iter(number), 16).ok();
                let number = number.filter(|_| is_number)?;
                if *kind == 'x' {
                    bytes.push(number as u8);
                } else {
                    put(&mut bytes, char::from_u32(number)?);
                }
            }
            [plain, after @ ..] => {
                put(&mut bytes, *plain);
                text = after;
            }
        }
    }
}

fn put(bytes: &mut Vec<u8>, c: char) {
    bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
}
