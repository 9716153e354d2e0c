//! Recordings in CSV: a row is a sample, and every column but time and value is a label.
//!
//! The header names the columns; `timestamp`, `metric` and `value` must be among them, in any order.
//! A field may stand in double quotes, in which `""` is a quote; it may not go over the end of its
//! line, so that one stray quote costs one row and not the rest of the file.

use std::io::Read;

use super::{
    DecodeError, Refusal,
    batches::SeriesTable,
    lines::{LINE_BYTES_MAX, LineReader},
};
use crate::event::{
    Batch, Labels, METRIC_NAME, Point, RejectReason, Rejects, SeriesMeta, Timestamp, Value,
};

const TIMESTAMP: &str = "timestamp";
const METRIC: &str = "metric";
const VALUE: &str = "value";

/// Reads a recording row by row.
#[derive(Debug)]
pub struct CsvReader<R> {
    lines: LineReader<R>,
    columns: Columns,
    series: SeriesTable,
    rejects: Rejects,
    fields: Fields,
    key: Vec<u8>,
    last_time: (Vec<u8>, Timestamp),
}

/// One row that holds a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// When it was measured.
    pub at: Timestamp,
    /// Metric name and labels; shared by all rows that have the same.
    pub labels: Labels,
    /// Its value; may be NaN or infinite, as it stood there.
    pub value: f64,
}

/// What the header says: names of the labels by column, and which columns are none.
#[derive(Debug)]
struct Columns {
    names: Vec<String>,
    timestamp: usize,
    value: usize,
}

/// The fields of a line: their text without quotes, one after the other, and where each ends.
#[derive(Debug, Default)]
struct Fields {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl<R: Read> CsvReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// A column is missing, has no name, or stands twice; the reader failed.
    pub fn new(reader: R) -> Result<Self, DecodeError> {
        let mut lines = LineReader::new(reader, LINE_BYTES_MAX);
        let mut fields = Fields::default();
        let columns = match lines.next_line()? {
            Some(line) => Columns::read(line.bytes.unwrap_or_default(), &mut fields)?,
            // A file of nothing has no rows.
            None => Columns {
                names: Vec::new(),
                timestamp: 0,
                value: 0,
            },
        };
        Ok(Self {
            lines,
            columns,
            series: SeriesTable::default(),
            rejects: Rejects::default(),
            fields,
            key: Vec::new(),
            last_time: (Vec::new(), Timestamp::default()),
        })
    }

    /// The next row that holds a sample, or `None` at the end. Rows that hold none are passed over;
    /// bad ones are counted, see [`take_rejects`](Self::take_rejects).
    ///
    /// # Errors
    /// The reader failed.
    pub fn row(&mut self) -> Result<Option<Row>, DecodeError> {
        while let Some(read) = self.next_line()? {
            if let Some((id, at, value)) = read {
                return Ok(Some(Row {
                    at,
                    labels: self.series.labels(id).clone(),
                    value,
                }));
            }
        }
        Ok(None)
    }

    /// What was refused since this was called last.
    pub fn take_rejects(&mut self) -> Rejects {
        std::mem::take(&mut self.rejects)
    }

    /// The samples and rejects of the next `lines_max` lines, grouped by series; `None` at the end.
    ///
    /// # Errors
    /// The reader failed.
    pub fn batch(&mut self, lines_max: usize) -> Result<Option<Batch>, DecodeError> {
        let mut batch = Batch::default();
        self.series.start_batch();
        for line in 0..lines_max {
            let Some(read) = self.next_line()? else {
                if line == 0 && self.rejects.is_empty() {
                    return Ok(None);
                }
                break;
            };
            if let Some((id, at, value)) = read {
                let point = Point {
                    at,
                    start: None,
                    value: Value::Number(value),
                };
                self.series.append(&mut batch, id, point);
            }
        }
        batch.rejects = self.take_rejects();
        Ok(Some(batch))
    }

    /// Reads a line: `None` at the end, `Some(None)` if it holds no sample.
    #[expect(
        clippy::type_complexity,
        reason = "the end of the file and an empty row are different"
    )]
    fn next_line(
        &mut self,
    ) -> Result<Option<Option<(super::batches::Id, Timestamp, f64)>>, DecodeError> {
        let Some(line) = self.lines.next_line()? else {
            return Ok(None);
        };
        let read = match line.bytes {
            Some([]) => return Ok(Some(None)),
            Some(bytes) => parse_row(
                bytes,
                &self.columns,
                &mut self.fields,
                &mut self.key,
                &mut self.last_time,
                &mut self.series,
            ),
            None => Err(Refusal::new(
                RejectReason::OverLimit,
                "over the limit on its length",
            )),
        };
        match read {
            Ok(row) => Ok(Some(row)),
            Err(refusal) => {
                self.rejects.sample(refusal.reason, || {
                    format!("line {}: {}", line.number, refusal.detail)
                });
                Ok(Some(None))
            }
        }
    }
}

fn parse_row(
    bytes: &[u8],
    columns: &Columns,
    fields: &mut Fields,
    key: &mut Vec<u8>,
    last_time: &mut (Vec<u8>, Timestamp),
    series: &mut SeriesTable,
) -> Result<Option<(super::batches::Id, Timestamp, f64)>, Refusal> {
    fields.split(bytes)?;
    if fields.ends.len() != columns.names.len() {
        let (found, expected) = (fields.ends.len(), columns.names.len());
        let detail = format!("{found} fields under a header of {expected}");
        return Err(Refusal::new(RejectReason::Malformed, detail));
    }
    let value = fields.get(columns.value).trim_ascii();
    if value.is_empty() {
        return Ok(None);
    }
    let value = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse::<f64>().ok())
        .ok_or_else(|| {
            let detail = format!("value {:?} is no number", shown(value));
            Refusal::new(RejectReason::NoValue, detail)
        })?;
    let at = timestamp(fields.get(columns.timestamp), last_time)?;
    key.clear();
    for index in 0..columns.names.len() {
        if index != columns.value && index != columns.timestamp {
            key.extend_from_slice(fields.get(index));
            // Never within UTF-8, and text that is not UTF-8 is never stored as a key.
            key.push(0xff);
        }
    }
    let id = series.find(key, || columns.labels(fields))?;
    Ok(Some((id, at, value)))
}

/// Many rows in a row have the same time, and reading it is the dearest part of a row.
fn timestamp(bytes: &[u8], last: &mut (Vec<u8>, Timestamp)) -> Result<Timestamp, Refusal> {
    if !bytes.is_empty() && bytes == last.0 {
        return Ok(last.1);
    }
    let refused = |detail: String| Refusal::new(RejectReason::NoTimestamp, detail);
    let text = std::str::from_utf8(bytes).map_err(|_| refused(shown(bytes)))?;
    if text.trim().is_empty() {
        return Err(refused("the timestamp is empty".to_owned()));
    }
    let at = text.parse().map_err(|error| refused(format!("{error}")))?;
    last.0.clear();
    last.0.extend_from_slice(bytes);
    last.1 = at;
    Ok(at)
}

impl Columns {
    fn read(bytes: &[u8], fields: &mut Fields) -> Result<Self, DecodeError> {
        let bad = |detail: String| DecodeError::BadLine {
            format: "csv",
            line: 1,
            detail,
        };
        fields.split(bytes).map_err(|refusal| bad(refusal.detail))?;
        let names: Vec<String> = (0..fields.ends.len())
            .map(|index| String::from_utf8(fields.get(index).trim_ascii().to_vec()))
            .collect::<Result<_, _>>()
            .map_err(|_| bad("the header is not utf-8".to_owned()))?;
        let position = |column| {
            names
                .iter()
                .position(|name| name == column)
                .ok_or_else(|| DecodeError::MissingColumn {
                    column,
                    found: format!("{:?}", shown(bytes)),
                })
        };
        let (timestamp, value) = (position(TIMESTAMP)?, position(VALUE)?);
        position(METRIC)?;
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() {
                return Err(bad(format!(
                    "column {} has no name: name it or drop it",
                    index + 1
                )));
            }
            if name == METRIC_NAME || names[..index].contains(name) {
                return Err(bad(format!(
                    "column {name:?} stands twice: rename or drop one"
                )));
            }
        }
        Ok(Self {
            names,
            timestamp,
            value,
        })
    }

    fn labels(&self, fields: &Fields) -> Result<(Labels, SeriesMeta), Refusal> {
        let mut pairs = Vec::with_capacity(self.names.len());
        for (index, name) in self.names.iter().enumerate() {
            if index == self.value || index == self.timestamp {
                continue;
            }
            // As in the header, and around times and values: what stands behind a comma and a space is meant.
            let text = std::str::from_utf8(fields.get(index).trim_ascii()).map_err(|_| {
                let detail = format!("column {name:?} is not utf-8");
                Refusal::new(RejectReason::NotUtf8, detail)
            })?;
            pairs.push((if name == METRIC { METRIC_NAME } else { name }, text));
        }
        let labels = Labels::new(pairs);
        if labels.metric().is_empty() {
            return Err(Refusal::new(
                RejectReason::NoMetricName,
                "the metric is empty",
            ));
        }
        Ok((labels, SeriesMeta::default()))
    }
}

impl Fields {
    fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    fn split(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.text.clear();
        self.ends.clear();
        if !line.contains(&b'"') {
            for field in line.split(|byte| *byte == b',') {
                self.text.extend_from_slice(field);
                self.ends.push(self.text.len());
            }
            return Ok(());
        }
        let mut rest = line;
        loop {
            let after = if let Some(quoted) = rest.strip_prefix(b"\"") {
                self.quoted(quoted)?
            } else {
                let end = rest
                    .iter()
                    .position(|byte| *byte == b',')
                    .unwrap_or(rest.len());
                self.text.extend_from_slice(&rest[..end]);
                &rest[end..]
            };
            self.ends.push(self.text.len());
            match after {
                [] => return Ok(()),
                [b',', next @ ..] => rest = next,
                _ => {
                    let detail =
                        "text behind the closing quote of a field: double the quotes in it";
                    return Err(Refusal::new(RejectReason::Malformed, detail));
                }
            }
        }
    }

    /// Takes a field up to its closing quote, and gives what stands behind that.
    fn quoted<'a>(&mut self, mut rest: &'a [u8]) -> Result<&'a [u8], Refusal> {
        while let Some(end) = rest.iter().position(|byte| *byte == b'"') {
            self.text.extend_from_slice(&rest[..end]);
            match &rest[end + 1..] {
                [b'"', after @ ..] => {
                    self.text.push(b'"');
                    rest = after;
                }
                after => return Ok(after),
            }
        }
        let detail = "a quoted field does not end on its line: close the quote, and write no line \
                      ends in fields";
        Err(Refusal::new(RejectReason::Malformed, detail))
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(text: &str) -> (Vec<(i64, String, f64)>, Rejects) {
        let mut reader = CsvReader::new(text.as_bytes()).unwrap();
        let mut rows = vec![];
        while let Some(row) = reader.row().unwrap() {
            rows.push((row.at.millis(), row.labels.to_string(), row.value));
        }
        (rows, reader.take_rejects())
    }

    #[test]
    fn every_column_but_time_and_value_is_a_label() {
        let (rows, rejects) = rows(
            "\u{feff}value,timestamp, host ,metric,zone\r\n\
             1.5,2026-03-01T10:00:00Z,h1,cpu,\r\n\
             ,1772359200,h1,cpu,\r\n\
             -2e3,1772359200.5,\"h,\"\"2\"\"\",cpu,a\n\n",
        );
        assert!(rejects.is_empty(), "{rejects}");
        assert_eq!(
            rows,
            [
                (1_772_359_200_000, r#"cpu{host="h1"}"#.to_owned(), 1.5),
                (
                    1_772_359_200_500,
                    r#"cpu{host="h,\"2\"",zone="a"}"#.to_owned(),
                    -2e3
                ),
            ]
        );
    }

    #[test]
    fn a_bad_row_is_a_reject_with_its_line_and_the_others_stand() {
        use RejectReason::{Malformed, NoMetricName, NoTimestamp, NoValue};
        for (line, reason) in [
            ("1,cpu", Malformed),
            ("1,cpu,2,3", Malformed),
            ("1,\"cpu,2", Malformed),
            ("1,\"cpu\"x,2", Malformed),
            ("yesterday,cpu,2", NoTimestamp),
            (",cpu,2", NoTimestamp),
            ("1,cpu,two", NoValue),
            ("1,,2", NoMetricName),
        ] {
            let (rows, rejects) = rows(&format!("timestamp,metric,value\n{line}\n3,cpu,4\n"));
            assert_eq!(rows, [(3_000, "cpu".to_owned(), 4.0)], "{line}");
            let reject = &rejects.samples[&reason];
            assert!(
                reject.count == 1 && reject.example.starts_with("line 2: "),
                "{line}"
            );
        }
    }

    #[test]
    fn labels_that_are_not_utf_8_and_lines_over_the_limit_are_rejects() {
        let mut text = b"timestamp,metric,value\n1,c\xff,2\n".to_vec();
        text.extend(vec![b'x'; LINE_BYTES_MAX + 1]);
        text.extend(b"\n3,cpu,4");
        let mut reader = CsvReader::new(&text[..]).unwrap();
        let batch = reader.batch(100).unwrap().unwrap();
        assert_eq!(batch.sample_count(), 1);
        let reasons: Vec<_> = batch.rejects.samples.keys().copied().collect();
        assert_eq!(reasons, [RejectReason::NotUtf8, RejectReason::OverLimit]);
    }

    #[test]
    fn values_that_are_no_numbers_in_arithmetic_are_kept() {
        let (rows, _) = rows("timestamp,metric,value\n1,a,NaN\n1,a,+Inf\n1,a,-inf\n");
        assert!(rows[0].2.is_nan());
        assert_eq!((rows[1].2, rows[2].2), (f64::INFINITY, f64::NEG_INFINITY));
    }

    #[test]
    fn a_file_of_nothing_has_no_rows() {
        let mut rows = CsvReader::new(&b""[..]).unwrap();
        assert_eq!(rows.batch(8), Ok(None));
        assert!(rows.take_rejects().is_empty());
    }

    #[test]
    fn a_header_without_its_columns_is_an_error_that_names_them() {
        for (header, column) in [
            ("up,1", "timestamp"),
            ("timestamp,metric", "value"),
            ("timestamp,name,value", "metric"),
        ] {
            match CsvReader::new(header.as_bytes()).map(|_| ()) {
                Err(DecodeError::MissingColumn {
                    column: missing,
                    found,
                }) => {
                    assert_eq!((missing, found), (column, format!("{header:?}")));
                }
                other => panic!("{header}: {other:?}"),
            }
        }
        for header in [
            "timestamp,metric,value,",
            "timestamp,metric,value,a,a",
            "timestamp,metric,value,__name__",
        ] {
            let error = CsvReader::new(header.as_bytes()).map(|_| ()).unwrap_err();
            assert!(
                matches!(error, DecodeError::BadLine { line: 1, .. }),
                "{header}: {error}"
            );
        }
    }

    #[test]
    fn a_batch_holds_one_block_for_each_series_and_equal_labels_are_shared() {
        let text = "timestamp,metric,value\n1,a,1\n1,b,2\n2,a,3\n2,b,4\n3,a,5\n";
        let mut reader = CsvReader::new(text.as_bytes()).unwrap();
        let first = reader.batch(4).unwrap().unwrap();
        let blocks: Vec<_> = first
            .series
            .iter()
            .map(|block| (block.labels.metric(), block.points.len()))
            .collect();
        assert_eq!(blocks, [("a", 2), ("b", 2)]);
        let second = reader.batch(4).unwrap().unwrap();
        let name = |batch: &Batch| batch.series[0].labels.metric().as_ptr();
        assert_eq!((second.sample_count(), name(&second)), (1, name(&first)));
        assert!(reader.batch(4).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in r#"[0-9a-c,"\n.é-]{0,80}"#, bytes: Vec<u8>) {
            for body in [text.as_bytes(), &bytes] {
                CsvReader::new(body).ok();
                let bytes = [b"timestamp,metric,value,x\n", body].concat();
                let mut reader = CsvReader::new(&bytes[..]).unwrap();
                while reader.batch(3).unwrap().is_some() {}
            }
        }

        #[test]
        fn what_is_written_is_read(values in prop::collection::vec((any::<i32>(), "[a-z,\"]{1,3}", any::<f64>()), 0..20)) {
            let rows = values.iter().map(|(at, metric, value)| {
                format!("{at},\"{}\",{value}\n", metric.replace('"', "\"\""))
            });
            let text = "timestamp,metric,value\n".to_owned() + &rows.collect::<String>();
            let mut reader = CsvReader::new(text.as_bytes()).unwrap();
            for (at, metric, value) in &values {
                let row = reader.row().unwrap().unwrap();
                prop_assert_eq!(row.at, Timestamp::from_seconds(i64::from(*at)));
                prop_assert_eq!(row.labels.metric(), metric);
                prop_assert_eq!(row.value, *value);
            }
            prop_assert!(reader.row().unwrap().is_none());
        }
    }
}
