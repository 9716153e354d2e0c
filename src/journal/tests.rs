//! What is written is read back; what is broken is told.

use std::{
    error::Error,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Access, Body, DataDir, Disk, Encoding, Entry, Format, HEADER_BYTES, JournalError, Limits,
    MAGIC, OffsetRange, PlanChange, Position, Reader, Reload, SNAPSHOT_FORMAT, SnapshotHead,
    Snapshots, Storage, Writer,
    model::{Effect, Fault, Model, Operation},
    one_file, recorded, segment_name,
    storage::Bounded,
};
use crate::event::{Begin, DeploymentEvent, End, Signal, Span, Timestamp};

fn range(from: i64, until: i64) -> OffsetRange {
    OffsetRange {
        topic: "metrics".to_owned(),
        partition: 3,
        from,
        until,
    }
}

fn batch(bytes: &'static [u8]) -> Entry {
    Entry::Batch(Body {
        format: Format::OtlpLogsJson,
        encoding: Encoding::Gzip,
        bytes: Bytes::from_static(bytes),
    })
}

fn tick(second: i64) -> Entry {
    Entry::Tick(Timestamp::from_seconds(second))
}

fn begin() -> Begin {
    Begin {
        at: Timestamp::from_nanos(1_772_359_200_123_456_789),
        deployment: "d1".to_owned(),
        service: "checkout".to_owned(),
        stage: "onebox".to_owned(),
        region: Some("eu".to_owned()),
        version: "v42".to_owned(),
        one_box: vec!["h1".to_owned()],
        fleet: Vec::new(),
        weight: 0.25,
        hotfix: None,
    }
}

fn change() -> PlanChange {
    PlanChange {
        from_digest: "0a".to_owned(),
        from: "{\"checks\":{}}".to_owned(),
        to_digest: "0b".to_owned(),
        to: "{\"resolution\":\"10s\"}".to_owned(),
        reload: Some(Reload {
            at: begin().at,
            by: "token /etc/sluice/admin".to_owned(),
        }),
    }
}

fn entries() -> Vec<Entry> {
    let at = begin().at;
    vec![
        Entry::Tick(at),
        batch(b"any bytes at all"),
        batch(b""),
        Entry::Deployment(DeploymentEvent::Begin(begin())),
        Entry::Consumed(range(5, 9)),
        Entry::Lost(range(9, 11)),
        Entry::Plan(change()),
        Entry::Start(change()),
        Entry::OverLimit(Signal::Metrics),
        Entry::OverLimit(Signal::Logs),
        Entry::Deployment(DeploymentEvent::End(End {
            at,
            deployment: "d1".to_owned(),
        })),
        Entry::Tick(Timestamp::MIN),
    ]
}

fn directory() -> &'static Path {
    Path::new("data/journal")
}

fn segment(number: u64) -> PathBuf {
    directory().join(segment_name(number))
}

fn open(model: &Model) -> Writer {
    let limits = Limits::default();
    Writer::open(&storage(model), directory(), limits)
        .unwrap()
        .0
}

fn storage(model: &Model) -> Arc<dyn Storage> {
    Arc::new(model.clone())
}

/// A journal of one segment, with a group for each entry.
fn journal(entries: &[Entry]) -> (Model, Vec<Position>) {
    let model = Model::new(1);
    let mut writer = open(&model);
    let mut positions = Vec::new();
    for entry in entries {
        positions.extend(writer.commit(std::slice::from_ref(entry)).unwrap());
    }
    positions.push(writer.end());
    (model, positions)
}

fn bytes(model: &Model, path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = model.open(path, Access::Read).unwrap();
    Bounded::new(file, 0)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// What can be read of a journal, where the tail was torn, and the error if there was one.
fn read_all(reader: Result<Reader, JournalError>) -> (Vec<Entry>, Option<u64>, Option<String>) {
    let mut reader = match reader {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), None, Some(error.to_string())),
    };
    let mut entries = Vec::new();
    let mut failure = None;
    for entry in reader.by_ref() {
        match entry {
            Ok((_, entry)) => entries.push(entry),
            Err(error) => failure = Some(error.to_string()),
        }
    }
    let torn = reader.torn_tail().map(|tail| tail.position.offset);
    (entries, torn, failure)
}

fn read(model: &Model) -> (Vec<Entry>, Option<u64>, Option<String>) {
    read_all(Reader::from(&storage(model), directory(), None))
}

/// Reads a journal of one file.
fn read_file(bytes: &[u8]) -> (Vec<Entry>, Option<u64>, Option<String>) {
    let bytes = bytes.to_vec();
    let open = move |_: &Path| -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(io::Cursor::new(bytes.clone())))
    };
    read_all(Reader::of_files(&["a.journal".into()], open))
}

#[test]
fn what_is_written_is_read_back_in_order() {
    let one_by_one = journal(&entries()).0;
    assert_eq!(read(&one_by_one), (entries(), None, None));
    let model = Model::new(1);
    let positions = open(&model).commit(&entries()).unwrap();
    assert_eq!(read(&model), (entries(), None, None));
    for (number, position) in positions.into_iter().enumerate() {
        let reader = Reader::from(&storage(&model), directory(), Some(position));
        assert_eq!(read_all(reader).0, entries()[number..]);
    }
    assert_eq!(read_file(&one_file(&entries()).unwrap()).0, entries());
    assert_eq!(read(&Model::new(1)), (Vec::new(), None, None));
}

#[test]
fn a_disk_keeps_what_a_model_keeps() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        segment_bytes: 300,
        ..Limits::default()
    };
    for run in 0..3 {
        let data = DataDir::open(directory.path()).unwrap();
        let (mut writer, torn) = data.writer(limits).unwrap();
        assert_eq!(torn, None);
        let locked = DataDir::open(directory.path()).unwrap_err();
        assert!(locked.to_string().contains("--data-dir"), "{locked}");
        drop(data);
        let locked = DataDir::open(directory.path());
        assert!(
            matches!(locked, Err(JournalError::Locked { .. })),
            "the writer holds the lock"
        );
        for entry in entries() {
            writer.commit(&[entry, tick(run)]).unwrap();
        }
    }
    let journal = directory.path().join(DataDir::JOURNAL);
    let (read, torn, failure) = read_all(Reader::open(&journal));
    assert_eq!((torn, failure), (None, None));
    let run = |run| {
        entries()
            .into_iter()
            .flat_map(move |entry| [entry, tick(run)])
    };
    assert_eq!(read, (0..3).flat_map(run).collect::<Vec<_>>());
    let names = Disk.list(&journal).unwrap().len();
    assert!(names >= 6, "only {names} segments");
}

#[test]
fn a_journal_that_is_cut_off_anywhere_ends_after_its_last_whole_entry() {
    let (model, positions) = journal(&entries());
    let len = bytes(&model, &segment(1)).len();
    // A mark stands before every entry but the first, and belongs to no entry.
    let mark = 8 + HEADER_BYTES;
    let ends: Vec<usize> = (1..positions.len())
        .map(|number| {
            let is_last = number + 1 == positions.len();
            positions[number].offset as usize - if is_last { 0 } else { mark }
        })
        .collect();
    for len in 0..len {
        let (model, _) = journal(&entries());
        model.change(&segment(1), |bytes| bytes.truncate(len));
        let count = ends.iter().filter(|end| **end <= len).count();
        let (read, _, failure) = read(&model);
        assert_eq!((&read[..], failure), (&entries()[..count], None), "{len}");
        // Opened, it goes on there.
        open(&model).commit(&[tick(7)]).unwrap();
        let expected = [&entries()[..count], &[tick(7)]].concat();
        assert_eq!(self::read(&model), (expected, None, None), "{len}");
    }
}

#[test]
fn a_file_of_an_earlier_version_that_is_cut_off_ends_after_its_last_whole_entry() {
    let whole = one_file(&entries()).unwrap();
    let ends: Vec<usize> = (0..=entries().len())
        .map(|count| one_file(&entries()[..count]).unwrap().len())
        .collect();
    for len in 0..whole.len() {
        let count = ends.iter().filter(|end| **end <= len).count();
        let (read, torn, failure) = read_file(&whole[..len]);
        assert_eq!(
            (&read[..], failure),
            (&entries()[..count.saturating_sub(1)], None),
            "{len}"
        );
        let start = if count == 0 { 0 } else { ends[count - 1] };
        assert_eq!(
            torn,
            (!ends.contains(&len)).then_some(start as u64),
            "{len}"
        );
    }
}

#[test]
fn a_tail_of_zeros_is_a_torn_write() {
    let mut file = one_file(&entries()).unwrap();
    let end = file.len() as u64;
    file.extend([0; 4096]);
    assert_eq!(read_file(&file), (entries(), Some(end), None));
    let (model, positions) = journal(&entries());
    model.change(&segment(1), |bytes| bytes.extend([0; 4096]));
    let end = positions.last().unwrap().offset;
    assert_eq!(read(&model), (entries(), Some(end), None));
}

#[test]
fn a_last_group_that_came_to_the_disk_in_another_order_is_a_torn_write() {
    let model = Model::new(1);
    let mut writer = open(&model);
    writer.commit(&[tick(1)]).unwrap();
    let end = writer.end().offset;
    let positions = writer.commit(&entries()).unwrap();
    drop(writer);
    model.spoil(&segment(1), positions[1].offset as usize + 20);
    let (found, torn, failure) = read(&model);
    assert_eq!(found, [tick(1), entries().remove(0)]);
    assert_eq!((torn, failure), (Some(positions[1].offset), None));
    let (_, torn) = Writer::open(&storage(&model), directory(), Limits::default()).unwrap();
    assert_eq!(torn.unwrap().entries_behind, entries().len() as u64 - 2);
    assert!(end < positions[1].offset);
    assert_eq!(read(&model).1, None, "what was torn was cut off");
}

#[test]
fn damage_in_the_middle_is_an_error_that_names_file_and_offset() {
    let (model, positions) = journal(&entries());
    let last = positions[entries().len() - 1].offset as usize - HEADER_BYTES - 8;
    for position in 0..last {
        model.spoil(&segment(1), position);
        let (read, _, failure) = read(&model);
        model.spoil(&segment(1), position);
        let failure = failure.unwrap_or_else(|| panic!("{position} is not noticed"));
        let start = format!("{} is damaged at byte ", segment(1).display());
        assert!(failure.starts_with(&start), "{failure}");
        assert!(failure.contains("sluice journal truncate"), "{failure}");
        assert_eq!(read, entries()[..read.len()], "{position}");
    }
    let file = one_file(&entries()).unwrap();
    let last = one_file(&entries()[..entries().len() - 1]).unwrap().len();
    for position in MAGIC.len()..last {
        let mut damaged = file.clone();
        damaged[position] ^= 0x10;
        let (_, _, failure) = read_file(&damaged);
        let failure = failure.unwrap_or_else(|| panic!("{position} is not noticed"));
        assert!(
            failure.starts_with("a.journal is damaged at byte "),
            "{failure}"
        );
    }
}

#[test]
fn damage_anywhere_before_the_last_segment_is_an_error() {
    let (model, positions) = journal(&entries());
    open(&model).commit(&[tick(1)]).unwrap();
    for position in 0..positions.last().unwrap().offset as usize {
        model.spoil(&segment(1), position);
        let failure = read(&model).2;
        model.spoil(&segment(1), position);
        assert!(failure.is_some(), "{position} is not noticed");
    }
    model.change(&segment(1), |bytes| bytes.truncate(bytes.len() - 1));
    assert!(read(&model).2.is_some());
}

#[test]
fn whatever_is_broken_or_missing_in_a_finished_journal_is_an_error_or_costs_nothing() {
    let finished = || {
        let model = Model::new(1);
        let mut writer = open(&model);
        // As a recording is made: all of it is the last group, whose damage would look like a torn write.
        writer.commit(&entries()).unwrap();
        let len = writer.end().offset as usize;
        writer.finish().unwrap();
        (model, len)
    };
    let (model, len) = finished();
    assert_eq!(read(&model), (entries(), None, None));
    for position in 0..len {
        model.spoil(&segment(1), position);
        assert!(read(&model).2.is_some(), "{position} is not noticed");
        model.spoil(&segment(1), position);
        let (model, _) = finished();
        model.change(&segment(1), |bytes| bytes.truncate(position));
        assert!(read(&model).2.is_some(), "{position} is not noticed");
    }
    let end = bytes(&model, &segment(2)).len();
    for position in 0..end {
        model.spoil(&segment(2), position);
        let (found, _, failure) = read(&model);
        model.spoil(&segment(2), position);
        assert!(found == entries() || failure.is_some(), "{position}");
        let (model, _) = finished();
        model.change(&segment(2), |bytes| bytes.truncate(position));
        let (found, _, failure) = read(&model);
        assert!(found == entries() || failure.is_some(), "{position}");
    }
}

#[test]
fn a_missing_segment_is_named() {
    let model = Model::new(1);
    for second in 1..=4 {
        open(&model).commit(&[tick(second)]).unwrap();
    }
    model.remove(&segment(1)).unwrap();
    assert_eq!(read(&model), ([2, 3, 4].map(tick).to_vec(), None, None));
    model.remove(&segment(3)).unwrap();
    let failure = read(&model).2.unwrap();
    let start = format!("{} is missing", segment(3).display());
    assert!(failure.starts_with(&start), "{failure}");
}

#[test]
fn a_place_that_is_not_there_is_an_error() {
    let (model, positions) = journal(&entries());
    let end = *positions.last().unwrap();
    let from = |position| Reader::from(&storage(&model), directory(), Some(position));
    assert_eq!(read_all(from(end)).0, []);
    assert_eq!(read_all(from(Position::START)).0, entries());
    for (segment, offset) in [(2, 8), (1, end.offset + 1)] {
        let failure = read_all(from(Position { segment, offset })).2.unwrap();
        assert!(failure.contains("cannot be read from"), "{failure}");
    }
    open(&model).commit(&[tick(1)]).unwrap();
    model.remove(&segment(1)).unwrap();
    assert_eq!(read_all(from(end)).0, [tick(1)]);
    for position in [Position::START, positions[2]] {
        let failure = read_all(from(position)).2.unwrap();
        assert!(failure.contains("cannot be read from"), "{failure}");
    }
}

#[test]
fn another_file_is_not_taken_for_a_journal() {
    for bytes in [&b"timestamp,metric,value\n"[..], b"SLUICEJx", b"x"] {
        let failure = read_file(bytes).2;
        assert_eq!(
            failure.as_deref(),
            Some("a.journal is not a journal of this version")
        );
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test that changes what was written"
)]
#[test]
fn a_journal_of_another_version_is_called_so_and_not_damaged() {
    let told =
        "was written by another version of Sluice (format SLUICEJ9, this one reads SLUICEJ1)";
    let failure = read_file(b"SLUICEJ9").2.unwrap();
    assert!(failure.contains(told), "{failure}");
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(folder.path()).unwrap();
    let (mut writer, _) = data.writer(Limits::default()).unwrap();
    writer.commit(&[tick(1)]).unwrap();
    drop((writer, data));
    let journal = folder.path().join(DataDir::JOURNAL);
    let path = journal.join(segment_name(1));
    let mut written = std::fs::read(&path).unwrap();
    written[MAGIC.len() - 1] = b'9';
    std::fs::write(&path, written).unwrap();
    let failure = read_all(Reader::open(&journal)).2.unwrap();
    assert!(failure.contains(told), "{failure}");
}

#[test]
fn an_entry_of_a_later_version_is_damage_and_no_torn_write() {
    let mut file = one_file(&[tick(1)]).unwrap();
    let end = file.len();
    let payload = [7; 5];
    let header = super::frame::header(5, 77, crc32c::crc32c(&payload));
    file.extend(header);
    file.extend(payload);
    let (read, torn, failure) = read_file(&file);
    assert_eq!((read, torn), (vec![tick(1)], None));
    let failure = failure.unwrap();
    assert!(failure.contains(&format!("byte {end}: the entry has the unknown kind 77")));
}

#[test]
fn a_full_journal_refuses_until_history_may_go() {
    let model = Model::new(1);
    let limits = Limits {
        segment_bytes: 200,
        bytes_max: 1_000,
        keep: Span::from_hours(1),
    };
    let (mut writer, _) = Writer::open(&storage(&model), directory(), limits).unwrap();
    let mut written = 0;
    let failure = loop {
        match writer.commit(&[tick(written)]) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(failure, JournalError::Full { .. }), "{failure}");
    assert!(writer.bytes() <= 1_000 && 900 < writer.bytes());
    // What is not needed is kept for its hour, but makes room when there is none.
    let collected = writer
        .collect(writer.end(), Timestamp::from_nanos(0))
        .unwrap();
    assert_eq!(collected.segments, 0);
    writer.commit(&[tick(written)]).unwrap();
    let collected = writer
        .collect(writer.end(), Timestamp::from_seconds(3_600))
        .unwrap();
    assert!(collected.segments > 0 && writer.bytes() <= 200);
    let (read, ..) = read(&model);
    assert_eq!(read.last(), Some(&tick(written)));
}

#[test]
fn a_journal_that_may_have_less_than_a_segment_goes_on_as_long_as_little_is_needed() {
    let model = Model::new(1);
    let limits = Limits {
        bytes_max: 1 << 20,
        ..Limits::default()
    };
    assert!(limits.bytes_max < limits.segment_bytes);
    let (mut writer, _) = Writer::open(&storage(&model), directory(), limits).unwrap();
    let body: &[u8] = &[7; 10_000];
    for number in 0..400 {
        let before = writer.end();
        writer.commit(&[tick(number), batch(body)]).unwrap();
        assert!(writer.bytes() <= limits.bytes_max);
        // A state is saved now and then, behind which a third of the limit is needed.
        if number % 34 == 33 {
            writer.collect(before, Timestamp::MIN).unwrap();
        }
    }
    let (read, ..) = read(&model);
    assert_eq!(read.last(), Some(&batch(body)));
}

#[test]
fn an_entry_that_cannot_be_written_leaves_the_journal_as_it_was() {
    let model = Model::new(1);
    let mut writer = open(&model);
    let mut bad = begin();
    bad.weight = f64::NAN;
    let bad = Entry::Deployment(DeploymentEvent::Begin(bad));
    // A weight that is no number becomes null, which is no weight: `recorded` refuses it before.
    assert!(
        recorded(&match &bad {
            Entry::Deployment(event) => event.clone(),
            _ => panic!("it is a deployment event"),
        })
        .is_err()
    );
    writer.commit(&[tick(1)]).unwrap();
    let end = writer.end();
    model.arm(Fault {
        operation: Operation::Write,
        after: 0,
        times: 1,
        effect: Effect::NoSpace,
    });
    let error = writer.commit(&[tick(2)]).unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    assert!(error.source().is_some());
    assert_eq!((writer.end(), writer.bytes()), (end, end.offset));
    assert_eq!(read(&model), (vec![tick(1)], None, None));
}

#[test]
fn an_event_reads_the_same_however_often_it_is_recorded() {
    for weight in [0.1, 1.0 / 3.0, 5e-324, 1.797e308, 0.123_456_789_012_345_68] {
        let begin = Begin { weight, ..begin() };
        let once = recorded(&DeploymentEvent::Begin(begin.clone())).unwrap();
        let entry = Entry::Deployment(DeploymentEvent::Begin(begin));
        let file = one_file(&[entry]).unwrap();
        assert_eq!(read_file(&file).0, [Entry::Deployment(once)]);
    }
}

#[test]
fn the_journal_of_an_earlier_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = DataDir::open(directory.path()).unwrap();
    assert_eq!(data.earlier_journal(), None);
    let earlier = directory.path().join("inputs.journal");
    std::fs::write(&earlier, one_file(&entries()).unwrap()).unwrap();
    assert_eq!(data.earlier_journal(), Some(earlier));
    data.writer(Limits::default()).unwrap();
    assert_eq!(data.read(Position::START).unwrap().count(), 0);
}

fn head(segment: u64) -> SnapshotHead {
    let position = |offset| Position { segment, offset };
    SnapshotHead {
        history: Vec::new(),
        resume_from: position(100),
        taken_at: position(200),
        plan_digest: "abc".to_owned(),
        kafka: [(("metrics".to_owned(), 3), 9)].into(),
    }
}

fn snapshots(model: &Model) -> Snapshots {
    let (snapshots, ..) = Snapshots::open(&storage(model), Path::new("s")).unwrap();
    snapshots
}

#[test]
fn the_newest_whole_snapshot_is_loaded_and_the_one_before_is_kept() {
    let model = Model::new(1);
    let mut writing = snapshots(&model);
    assert_eq!(writing.needed_from(), Position::START);
    for number in 1..=3_u64 {
        let state = vec![number as u8; 1_000];
        assert!(writing.write(&head(number), &state).unwrap() < 1_000);
        let (reading, found, passed_over) =
            Snapshots::open(&storage(&model), Path::new("s")).unwrap();
        let found = found.unwrap();
        assert_eq!((found.head, found.state), (head(number), state));
        assert_eq!(found.written_by, env!("CARGO_PKG_VERSION"));
        assert_eq!(passed_over, []);
        let needed = if number == 1 {
            Position::START
        } else {
            head(number - 1).resume_from
        };
        assert_eq!(
            (writing.needed_from(), reading.needed_from()),
            (needed, needed)
        );
    }
    assert_eq!(model.list(Path::new("s")).unwrap().len(), 2);
}

#[test]
fn a_damaged_snapshot_is_passed_over_wherever_it_is_damaged() {
    let model = Model::new(1);
    let mut writing = snapshots(&model);
    writing.write(&head(1), b"first").unwrap();
    writing.write(&head(2), b"second").unwrap();
    let path = Path::new("s/snapshot-00000000000000000002.sluice");
    let whole = bytes(&model, path);
    let check = |what: &str| {
        let (reading, found, passed_over) = Snapshots::open(&storage(&model), Path::new("s"))
            .unwrap_or_else(|error| {
                panic!("{what}: {error}");
            });
        assert_eq!(
            found.map(|found| found.state).as_deref(),
            Some(&b"first"[..]),
            "{what}"
        );
        assert_eq!(passed_over[0].path, path);
        assert_eq!(reading.needed_from(), Position::START);
    };
    for offset in 0..whole.len() {
        model.spoil(path, offset);
        check(&format!("byte {offset}"));
        model.spoil(path, offset);
        model.change(path, |bytes| bytes.truncate(offset));
        check(&format!("cut off at {offset}"));
        model.change(path, |bytes| *bytes = whole.clone());
    }
    model.change(path, |bytes| bytes.push(0));
    check("something behind");
}

#[test]
fn a_snapshot_of_another_format_is_refused_and_names_its_version() {
    let model = Model::new(1);
    snapshots(&model).write(&head(1), b"state").unwrap();
    let path = Path::new("s/snapshot-00000000000000000001.sluice");
    model.change(path, |bytes| {
        bytes[8..12].copy_from_slice(&(SNAPSHOT_FORMAT + 1).to_le_bytes());
        let end = 13 + env!("CARGO_PKG_VERSION").len();
        bytes[13] = b'9';
        let crc = crc32c::crc32c(&bytes[..end]);
        bytes[end..end + 4].copy_from_slice(&crc.to_le_bytes());
    });
    let error = Snapshots::open(&storage(&model), Path::new("s")).unwrap_err();
    assert!(
        error.to_string().contains("was written by sluice 9."),
        "{error}"
    );
    assert!(
        error.to_string().contains("move the snapshots away"),
        "{error}"
    );
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_the_one_before() {
    for operation in [
        Operation::Create,
        Operation::Write,
        Operation::Sync,
        Operation::Rename,
        Operation::SyncDirectory,
    ] {
        let model = Model::new(1);
        let mut writing = snapshots(&model);
        writing.write(&head(1), b"first").unwrap();
        model.arm(Fault {
            operation,
            after: 0,
            times: 1,
            effect: Effect::NoSpace,
        });
        let error = writing.write(&head(2), b"second").unwrap_err();
        assert!(matches!(error, JournalError::Io { .. }), "{error}");
        writing.write(&head(3), b"third").unwrap();
        let (_, found, passed_over) = Snapshots::open(&storage(&model), Path::new("s")).unwrap();
        assert_eq!(found.unwrap().state, b"third");
        assert_eq!(passed_over, []);
        assert_eq!(model.list(Path::new("s")).unwrap().len(), 2);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        tail in prop::collection::vec(any::<u8>(), 0..200),
        with_magic in any::<bool>(),
    ) {
        let mut bytes = if with_magic { MAGIC.to_vec() } else { Vec::new() };
        bytes.extend(tail);
        read_file(&bytes);
        let model = Model::new(1);
        drop(model.open(&segment(1), Access::Create).unwrap());
        model.change(&segment(1), |content| *content = bytes);
        read(&model);
        drop(Writer::open(&storage(&model), directory(), Limits::default()));
    }
}
