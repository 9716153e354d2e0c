//! A reader of protobuf fields that borrows from the message and trusts no length.

use std::ops::Range;

use super::{DecodeError, Fault, Refusal};
use crate::event::RejectReason;

/// How deep messages may be nested.
const DEPTH_MAX: u8 = 64;

/// Reads the fields of one message in the order in which they stand.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    place: Place,
}

/// Where a message stands, for errors.
#[derive(Clone, Copy, Debug)]
struct Place {
    format: &'static str,
    /// Offset of the message in the request.
    base: usize,
    depth: u8,
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Its number in the schema.
    pub number: u32,
    content: Content<'a>,
    /// Place of its content.
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Content<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// Read only to be passed over: none of our schemas keeps one.
    Fixed32,
}

impl<'a> Reader<'a> {
    /// Starts at the outermost message; `format` names it in errors.
    pub fn new(format: &'static str, bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            position: 0,
            place: Place {
                format,
                base: 0,
                depth: 0,
            },
        }
    }

    /// The next field, or `None` at the end of the message.
    ///
    /// # Errors
    /// The bytes are cut off or no protobuf; groups, which proto3 does not have.
    #[inline]
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator of results cannot end on `?`"
    )]
    pub fn next(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        if self.position == self.bytes.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let Some(number) = u32::try_from(key >> 3)
            .ok()
            .filter(|number| (1..1 << 29).contains(number))
        else {
            return Err(self.error("a field number out of range"));
        };
        let mut start = self.position;
        let content = match key & 7 {
            0 => Content::Varint(self.varint()?),
            1 => Content::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.varint()?;
                start = self.position;
                Content::Bytes(self.take(len)?)
            }
            5 => {
                self.array::<4>()?;
                Content::Fixed32
            }
            3 | 4 => return Err(self.error("a group, which proto3 does not have")),
            other => return Err(self.error(&format!("wire type {other}, which does not exist"))),
        };
        let place = Place {
            base: self.place.base + start,
            ..self.place
        };
        Ok(Some(Field {
            number,
            content,
            place,
        }))
    }

    /// Calls `each` with every field of the message.
    ///
    /// # Errors
    /// The message is damaged, or `each` failed.
    pub fn for_each<E: From<DecodeError>>(
        mut self,
        mut each: impl FnMut(Field<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(field) = self.next()? {
            each(field)?;
        }
        Ok(())
    }

    /// The fields from here up to where another reader of the same message stands.
    pub(super) fn until(self, other: Self) -> Self {
        Self {
            bytes: &self.bytes[..other.position],
            ..self
        }
    }

    /// Passes over the next field if it is of bytes, has this key, and a length of at most two bytes, as
    /// nearly all have that repeat; gives where its content stands in the message. Else nothing is read.
    #[inline]
    pub(super) fn pass_short(&mut self, key: u8) -> Option<Range<usize>> {
        if *self.bytes.get(self.position)? != key {
            return None;
        }
        let (start, len) = short_length(self.bytes, self.position + 1, self.bytes.len())?;
        self.position = start + len;
        Some(start..start + len)
    }

    /// How many bytes the message has.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Where the next field starts, in bytes from the start of the request.
    pub(super) fn offset(&self) -> usize {
        self.place.base + self.position
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, DecodeError> {
        // Most are keys and lengths of one byte.
        if let Some(&byte) = self.bytes.get(self.position)
            && byte < 0x80
        {
            self.position += 1;
            return Ok(u64::from(byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let Some(&byte) = self.bytes.get(self.position) else {
                return Err(self.error("cut off within a varint"));
            };
            self.position += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("a varint over 64 bits"))
    }

    #[inline]
    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.position..];
        match usize::try_from(len).ok().and_then(|len| rest.get(..len)) {
            Some(taken) => {
                self.position += taken.len();
                Ok(taken)
            }
            None => Err(self.error(&format!("{len} bytes claimed, {} left", rest.len()))),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.bytes[self.position..].first_chunk::<N>() {
            Some(chunk) => {
                self.position += N;
                Ok(*chunk)
            }
            None => Err(self.error("cut off within a number")),
        }
    }

    fn error(&self, detail: &str) -> DecodeError {
        Place {
            base: self.place.base + self.position,
            ..self.place
        }
        .error(detail)
    }
}

impl Place {
    fn error(self, detail: &str) -> DecodeError {
        DecodeError::Malformed {
            format: self.format,
            offset: self.base,
            detail: detail.to_owned(),
        }
    }
}

impl<'a> Field<'a> {
    /// The content as a nested message.
    ///
    /// # Errors
    /// Another wire type, or nested too deep.
    pub fn message(&self) -> Result<Reader<'a>, DecodeError> {
        let bytes = self.bytes()?;
        if self.place.depth == DEPTH_MAX {
            return Err(self
                .place
                .error(&format!("messages nested over {DEPTH_MAX} deep")));
        }
        let place = Place {
            depth: self.place.depth + 1,
            ..self.place
        };
        Ok(Reader {
            bytes,
            position: 0,
            place,
        })
    }

    /// Where the content stands, in bytes from the start of the request.
    pub(super) fn range(&self) -> Result<Range<usize>, DecodeError> {
        let start = self.place.base;
        Ok(start..start + self.bytes()?.len())
    }

    /// The content as bytes.
    ///
    /// # Errors
    /// Another wire type.
    pub fn bytes(&self) -> Result<&'a [u8], DecodeError> {
        match self.content {
            Content::Bytes(bytes) => Ok(bytes),
            Content::Varint(_) | Content::Fixed64(_) | Content::Fixed32 => Err(self.wrong()),
        }
    }

    /// The content as `uint64`, `uint32` or an enum.
    ///
    /// # Errors
    /// Another wire type.
    pub fn varint(&self) -> Result<u64, DecodeError> {
        match self.content {
            Content::Varint(value) => Ok(value),
            Content::Bytes(_) | Content::Fixed64(_) | Content::Fixed32 => Err(self.wrong()),
        }
    }

    /// The content as `int64`, or as `int32` or an enum in 64 bits.
    ///
    /// # Errors
    /// Another wire type.
    pub fn int64(&self) -> Result<i64, DecodeError> {
        self.varint().map(u64::cast_signed)
    }

    /// The content as `bool`.
    ///
    /// # Errors
    /// Another wire type.
    pub fn boolean(&self) -> Result<bool, DecodeError> {
        self.varint().map(|value| value != 0)
    }

    /// The content as `sint32`.
    ///
    /// # Errors
    /// Another wire type.
    pub fn sint32(&self) -> Result<i32, DecodeError> {
        self.varint().map(|value| {
            let value = value as u32;
            (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
        })
    }

    /// The content as `fixed64`.
    ///
    /// # Errors
    /// Another wire type.
    pub fn fixed64(&self) -> Result<u64, DecodeError> {
        match self.content {
            Content::Fixed64(value) => Ok(value),
            Content::Bytes(_) | Content::Varint(_) | Content::Fixed32 => Err(self.wrong()),
        }
    }

    /// The content as `double`.
    ///
    /// # Errors
    /// Another wire type.
    pub fn double(&self) -> Result<f64, DecodeError> {
        self.fixed64().map(f64::from_bits)
    }

    /// Calls `each` with the elements of a repeated `fixed64` or `double`, packed or not.
    ///
    /// # Errors
    /// Another wire type, or bytes that are no whole number of elements.
    pub fn each_fixed64(&self, mut each: impl FnMut(u64)) -> Result<(), DecodeError> {
        if let Content::Fixed64(value) = self.content {
            each(value);
            return Ok(());
        }
        let (chunks, rest) = self.bytes()?.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(self.place.error("a packed list of doubles cut off"));
        }
        for chunk in chunks {
            each(u64::from_le_bytes(*chunk));
        }
        Ok(())
    }

    /// Calls `each` with the elements of a repeated varint, packed or not.
    ///
    /// # Errors
    /// Another wire type, or bytes that end within a varint.
    pub fn each_varint(&self, mut each: impl FnMut(u64)) -> Result<(), DecodeError> {
        if let Content::Varint(value) = self.content {
            each(value);
            return Ok(());
        }
        let bytes = self.bytes()?;
        let mut reader = Reader {
            bytes,
            position: 0,
            place: self.place,
        };
        while reader.position < reader.bytes.len() {
            each(reader.varint()?);
        }
        Ok(())
    }

    /// The content as text. Text that is not UTF-8 refuses only the part that it belongs to.
    pub(super) fn text(&self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.bytes()?).map_err(|error| {
            let offset = self.place.base + error.valid_up_to();
            Refusal::new(
                RejectReason::NotUtf8,
                format!("text at byte {offset} is not utf-8"),
            )
            .into()
        })
    }

    fn wrong(&self) -> DecodeError {
        self.place
            .error(&format!("field {} has the wrong wire type", self.number))
    }
}

/// Reads a length of at most two bytes; gives where its content starts and how long it is, if that
/// ends by `end`.
#[inline]
pub(super) fn short_length(bytes: &[u8], position: usize, end: usize) -> Option<(usize, usize)> {
    let first = *bytes.get(position)?;
    let (len, start) = if first < 0x80 {
        (usize::from(first), position + 1)
    } else {
        let second = *bytes.get(position + 1)?;
        if second >= 0x80 {
            return None;
        }
        let len = usize::from(first & 0x7f) | usize::from(second) << 7;
        (len, position + 2)
    };
    (start + len <= end).then_some((start, len))
}

/// The signed number that zigzag coding stands for (`sint64`).
pub fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(bytes: &[u8]) -> Result<Vec<u32>, DecodeError> {
        let mut numbers = vec![];
        Reader::new("test", bytes).for_each(|field| {
            numbers.push(field.number);
            Ok::<_, DecodeError>(())
        })?;
        Ok(numbers)
    }

    #[test]
    fn every_wire_type_is_read_and_unknown_fields_are_passed_over() {
        let bytes = [
            &[0x08, 0xac, 0x02][..],
            &[0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
            &[0x1a, 2, b'h', b'i'],
            &[0x25, 1, 0, 0, 0],
        ]
        .concat();
        assert_eq!(numbers(&bytes), Ok(vec![1, 2, 3, 4]));
        let mut reader = Reader::new("test", &bytes);
        assert_eq!(reader.next().unwrap().unwrap().varint(), Ok(300));
        assert_eq!(reader.next().unwrap().unwrap().double(), Ok(1.0));
        assert_eq!(reader.next().unwrap().unwrap().text(), Ok("hi"));
        assert!(reader.next().unwrap().unwrap().varint().is_err());
    }

    #[test]
    fn damage_is_told_with_its_place() {
        for (bytes, offset, word) in [
            (&[0x0a, 0x05, 1, 2][..], 2, "5 bytes claimed, 2 left"),
            (&[0x0b], 1, "group"),
            (&[0x0f], 1, "wire type 7"),
            (&[0x00, 0x00], 1, "field number"),
            (&[0x09, 1], 1, "number"),
            (&[0x08, 0x80], 2, "varint"),
            (
                &[
                    0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
                ],
                11,
                "64 bits",
            ),
        ] {
            match numbers(bytes) {
                Err(DecodeError::Malformed {
                    format: "test",
                    offset: at,
                    detail,
                }) => {
                    assert_eq!(at, offset, "{detail}");
                    assert!(detail.contains(word), "{detail}");
                }
                other => panic!("{bytes:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn nesting_is_bounded() {
        fn descend(reader: Reader<'_>) -> Result<u32, DecodeError> {
            let mut depth = 0;
            reader.for_each(|field| {
                depth = 1 + descend(field.message()?)?;
                Ok::<_, DecodeError>(())
            })?;
            Ok(depth)
        }
        for (levels, fine) in [
            (usize::from(DEPTH_MAX), true),
            (usize::from(DEPTH_MAX) + 1, false),
        ] {
            let mut bytes = vec![];
            for _ in 0..levels {
                let mut outer = vec![0x0a];
                prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
                outer.append(&mut bytes);
                bytes = outer;
            }
            assert_eq!(
                descend(Reader::new("test", &bytes)).is_ok(),
                fine,
                "{levels}"
            );
        }
    }

    proptest! {
        #[test]
        fn varints_and_zigzag_agree_with_prost(value: u64, small: i32) {
            let mut bytes = vec![];
            prost::encoding::uint64::encode(1, &value, &mut bytes);
            prost::encoding::sint64::encode(2, &value.cast_signed(), &mut bytes);
            prost::encoding::sint32::encode(3, &small, &mut bytes);
            let mut reader = Reader::new("test", &bytes);
            prop_assert_eq!(reader.next().unwrap().unwrap().varint(), Ok(value));
            let field = reader.next().unwrap().unwrap();
            prop_assert_eq!(zigzag(field.varint().unwrap()), value.cast_signed());
            prop_assert_eq!(reader.next().unwrap().unwrap().sint32(), Ok(small));
            prop_assert!(reader.next().unwrap().is_none());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new("test", &bytes);
            while let Ok(Some(field)) = reader.next() {
                assert!(field.place.base <= bytes.len());
                field.each_varint(|_| ()).ok();
                field.each_fixed64(|_| ()).ok();
                field.message().ok();
                field.text().ok();
            }
        }
    }
}
