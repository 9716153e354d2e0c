//! Messages of flat log records: `{"timestamp", "severity", "body", …attributes}`, one or several a
//! message.
//!
//! An object is read as a line of a `*.log.jsonl` file is ([`super::log_lines`]).

use super::{
    json_messages::objects,
    log_lines::{record, take_record},
};
use crate::event::{Batch, Timestamp};

/// Reads one message. A record without a time was written when the message was, where that is known.
pub fn decode(bytes: &[u8], written_at: Option<Timestamp>) -> Batch {
    let mut batch = Batch::default();
    let mut number = 0u64;
    objects(bytes, &mut |object| {
        number += 1;
        let read = object.map_err(Into::into);
        let read = read.and_then(|text| record(text.as_bytes(), written_at));
        take_record(read, &mut batch, || format!("record {number}"));
    });
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{RejectReason, Severity};

    #[test]
    fn records_come_alone_in_arrays_and_with_a_line_end() {
        for text in [
            "{\"timestamp\":1.5,\"severity\":\"err\",\"body\":\"no\",\"host\":\"h1\"}\n",
            r#"[{"timestamp":1.5,"severity":"err","body":"no","host":"h1"}]"#,
        ] {
            let batch = decode(text.as_bytes(), None);
            assert!(batch.rejects.is_empty(), "{}", batch.rejects);
            let [record] = &batch.logs[..] else {
                panic!("{batch:?}")
            };
            assert_eq!(
                (record.at, record.severity, record.body.as_str()),
                (Timestamp::from_millis(1_500), Severity::ERROR, "no")
            );
            assert_eq!(record.attributes.get("host"), Some("h1"));
        }
    }

    #[test]
    fn a_record_without_a_time_takes_that_of_its_message() {
        let text =
            br#"{"body":"a"} {"timestamp":"noon","body":"b"} {"timestamp":2,"body":"c","count":3}"#;
        let at = Timestamp::from_seconds(7);
        let batch = decode(text, Some(at));
        let times: Vec<_> = batch.logs.iter().map(|record| record.at).collect();
        assert_eq!(times, [at, Timestamp::from_seconds(2)]);
        assert_eq!((batch.log_count(), batch.rejects.log_count()), (4, 1));
        let reject = &batch.rejects.logs[&RejectReason::NoTimestamp];
        assert!(reject.example.starts_with("record 2: "), "{reject:?}");
        assert_eq!(decode(text, None).rejects.log_count(), 2);
    }
}
