//! Where the data of a metric stands, which need not be in one place.

use super::{
    super::protobuf::{Field, Reader},
    DecodeError,
    points::Data,
};

/// The data of a metric. It may stand in several fields, which are one in pieces; a kind of data that
/// comes later takes the place of an earlier one.
#[derive(Clone, Copy)]
pub(super) struct DataRun<'a> {
    pub(super) number: u32,
    /// Where the first of its fields starts.
    pub(super) first: usize,
    /// The metric.
    pub(super) message: Reader<'a>,
}

impl<'a> DataRun<'a> {
    /// Calls `each` with the fields of the data.
    pub(super) fn each_field(
        self,
        mut each: impl FnMut(Field<'a>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut message = self.message;
        loop {
            let from = message.offset();
            match message.next()? {
                Some(field) if field.number == self.number && self.first <= from => {
                    field.message()?.for_each(&mut each)?;
                }
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }

    /// Reads temporality and monotony, which may stand behind the points.
    pub(super) fn read(self) -> Result<Data, DecodeError> {
        let number = self.number;
        let (mut temporality, mut monotonic) = (0, false);
        if let 7 | 9 | 10 = number {
            self.each_field(|field| {
                match field.number {
                    2 => temporality = field.int64()?,
                    3 if number == 7 => monotonic = field.boolean()?,
                    _ => {}
                }
                Ok(())
            })?;
        }
        Ok(match number {
            7 => Data::Sum {
                monotonic,
                temporality,
            },
            9 => Data::Histogram { temporality },
            10 => Data::Exponential { temporality },
            11 => Data::Summary,
            _ => Data::Gauge,
        })
    }
}
