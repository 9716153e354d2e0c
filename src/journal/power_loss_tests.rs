//! Random sequences of what can happen to a data directory: nothing acknowledged is lost.
//!
//! `SLUICE_POWER_LOSS_CASES=100000 cargo test power_loss` runs the long form.

use std::{env, ops::Range, path::Path, sync::Arc};

use proptest::prelude::*;

use super::{
    Body, DataDir, Encoding, Entry, Format, JournalError, Limits, Position, Reader, SnapshotHead,
    Snapshots, Storage, Writer,
    model::{Effect, Fault, Model, Operation},
    one_file,
};
use crate::event::{Span, Timestamp};

const CASES: u32 = 3_000;
/// Starts that may fail one after the other before the faults are taken away.
const STARTS_MAX: u32 = 3;

#[derive(Clone, Debug)]
enum Action {
    /// Entries with bodies of these lengths.
    Commit(Vec<usize>),
    /// A snapshot that needs entries up to so many back.
    Snapshot(usize),
    Collect {
        everything: bool,
    },
    /// Reads what so many of the last entries are.
    Read(usize),
    Break(Fault),
    Kill,
    LosePower,
    /// The newest of two snapshots rots.
    SpoilSnapshot,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        10 => prop::collection::vec(length(), 1..5).prop_map(Action::Commit),
        2 => (0..6_usize).prop_map(Action::Snapshot),
        2 => any::<bool>().prop_map(|everything| Action::Collect { everything }),
        1 => (0..9_usize).prop_map(Action::Read),
        4 => fault().prop_map(Action::Break),
        1 => Just(Action::Kill),
        2 => Just(Action::LosePower),
        1 => Just(Action::SpoilSnapshot),
    ]
}

/// Often the same: what is left of a refused write may then end where an entry does.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(0_usize), 1 => Just(16), 2 => 0..90_usize]
}

fn fault() -> impl Strategy<Value = Fault> {
    let operation = prop_oneof![
        1 => Just(Operation::Create),
        3 => Just(Operation::Write),
        3 => Just(Operation::Sync),
        2 => Just(Operation::SetLen),
        1 => Just(Operation::Rename),
        2 => Just(Operation::Remove),
        2 => Just(Operation::SyncDirectory),
    ];
    let effect = prop_oneof![
        Just(Effect::NoSpace),
        Just(Effect::Error),
        Just(Effect::PowerCut)
    ];
    (operation, 0..3_u32, 1..3_u32, effect).prop_map(|(operation, after, times, effect)| Fault {
        operation,
        after,
        times,
        effect,
    })
}

/// An engine that keeps count of what it took.
struct Rig {
    model: Model,
    limits: Limits,
    running: Option<Running>,
    /// Ids and places of everything that the engine took, in order: what was acknowledged, and what
    /// a start found.
    taken: Vec<(u64, Position)>,
    /// Groups that were refused since the last acknowledgement.
    refused: Vec<Vec<u64>>,
    next_id: u64,
    /// How many of the taken entries came before what the last snapshot needs.
    resumed: usize,
}

struct Running {
    writer: Writer,
    snapshots: Snapshots,
    // Dropped last, as in an engine.
    data: DataDir,
}

fn entry(id: u64, len: usize) -> Entry {
    if len == 0 {
        return Entry::Tick(Timestamp::from_nanos(id as i64));
    }
    // Bodies that look like frames, or like nothing at all.
    let fill = match len % 3 {
        0 => one_file(&[Entry::Tick(Timestamp::from_nanos(-1))]).unwrap(),
        1 => vec![0],
        _ => vec![id as u8, 255, 0, 254],
    };
    let body = id.to_le_bytes().into_iter().chain(fill.into_iter().cycle());
    Entry::Batch(Body {
        format: Format::OtlpLogs,
        encoding: Encoding::Identity,
        bytes: body.take(8 + len).collect::<Vec<u8>>().into(),
    })
}

fn id(entry: &Entry) -> u64 {
    match entry {
        Entry::Tick(now) => now.nanos() as u64,
        Entry::Batch(body) => u64::from_le_bytes(body.bytes[..8].try_into().unwrap()),
        other => panic!("{other:?} was never written"),
    }
}

impl Rig {
    fn act(&mut self, action: Action) {
        match action {
            Action::Commit(lengths) => self.commit(&lengths),
            Action::Snapshot(back) => self.snapshot(back),
            Action::Collect { everything } => self.collect(everything),
            Action::Read(back) => {
                let first = self.taken.len().saturating_sub(back).max(self.resumed);
                if let Some((_, from)) = self.taken.get(first) {
                    self.read(first, *from);
                }
            }
            Action::Break(fault) => self.model.arm(fault),
            Action::Kill => self.restart(false),
            Action::LosePower => self.restart(true),
            Action::SpoilSnapshot => self.spoil_snapshot(),
        }
        if self.model.is_off() {
            self.restart(true);
        }
    }

    fn commit(&mut self, lengths: &[usize]) {
        let first = self.next_id;
        let entries: Vec<Entry> = (first..)
            .zip(lengths)
            .map(|(id, len)| entry(id, *len))
            .collect();
        self.next_id += entries.len() as u64;
        let writer = &mut self.running.as_mut().unwrap().writer;
        let before = (writer.end(), writer.bytes());
        self.model.struck();
        match writer.commit(&entries) {
            Ok(positions) => {
                assert_eq!(positions.len(), entries.len());
                for (id, position) in (first..).zip(positions) {
                    assert!(self.taken.last().is_none_or(|(_, last)| *last < position));
                    self.taken.push((id, position));
                }
                self.refused.clear();
                assert!(self.taken.last().unwrap().1 < writer.end());
                assert!(writer.bytes() <= self.limits.bytes_max);
            }
            Err(error) => {
                assert_eq!(writer.end(), before.0);
                match error {
                    JournalError::Full { .. } => assert!(writer.bytes() <= before.1),
                    error => assert!(self.model.struck(), "{error}: {error:?}"),
                }
                self.refused.push((first..self.next_id).collect());
            }
        }
    }

    fn snapshot(&mut self, back: usize) {
        let running = self.running.as_mut().unwrap();
        let count = self.taken.len();
        let resumed = count.saturating_sub(back).max(self.resumed);
        let taken_at = running.writer.end();
        let head = SnapshotHead {
            resume_from: self.taken.get(resumed).map_or(taken_at, |taken| taken.1),
            taken_at,
            ..SnapshotHead::default()
        };
        let state = [count as u64, resumed as u64]
            .map(u64::to_le_bytes)
            .concat();
        self.model.struck();
        match running.snapshots.write(&head, &state) {
            Ok(_) => self.resumed = resumed,
            Err(error) => assert!(self.model.struck(), "{error}"),
        }
    }

    fn collect(&mut self, everything: bool) {
        let Running {
            writer, snapshots, ..
        } = self.running.as_mut().unwrap();
        let age = if everything { 2 } else { 0 };
        let bytes = writer.bytes();
        self.model.struck();
        match writer.collect(snapshots.needed_from(), Timestamp::from_seconds(age)) {
            Ok(collected) => assert_eq!(writer.bytes() + collected.bytes, bytes),
            Err(error) => assert!(self.model.struck(), "{error}"),
        }
    }

    fn spoil_snapshot(&mut self) {
        let running = self.running.as_ref().unwrap();
        if running.snapshots.needed_from() == Position::START {
            return;
        }
        let directory = running.data.snapshots();
        let names = self.model.list(&directory).unwrap().into_iter();
        let newest = names
            .map(|file| file.name)
            .filter(|name| name.ends_with(".sluice"))
            .max()
            .unwrap();
        self.model.spoil(&directory.join(newest), 20);
        self.restart(false);
    }

    /// The process dies, alone or with the machine, and starts again.
    fn restart(&mut self, with_power_loss: bool) {
        if with_power_loss {
            self.model.lose_power();
        } else {
            self.model.kill();
        }
        self.running = None;
        for start in 0.. {
            self.model.struck();
            if start == STARTS_MAX {
                self.model.disarm();
            }
            match start_again(&self.model, self.limits) {
                Ok((running, found)) => {
                    self.running = Some(running);
                    self.resume(found);
                    return;
                }
                Err(error) => assert!(self.model.struck(), "{error}: {error:?}"),
            }
            if self.model.is_off() {
                self.model.lose_power();
            } else {
                self.model.kill();
            }
        }
    }

    /// Loads a snapshot and takes what follows.
    fn resume(&mut self, found: Option<super::Snapshot>) {
        let (mut resumed, mut from) = (0, Position::START);
        if let Some(snapshot) = found {
            let number =
                |range: Range<usize>| u64::from_le_bytes(snapshot.state[range].try_into().unwrap());
            let count = number(0..8) as usize;
            resumed = number(8..16) as usize;
            from = snapshot.head.resume_from;
            let taken_at = snapshot.head.taken_at;
            assert!(self.taken[..count].iter().all(|taken| taken.1 < taken_at));
            assert!(self.taken[count..].iter().all(|taken| taken_at <= taken.1));
            assert!(self.taken[..resumed].iter().all(|taken| taken.1 < from));
            assert!(self.taken[resumed..].iter().all(|taken| from <= taken.1));
        }
        self.resumed = resumed;
        let found = self.read(resumed, from);
        self.taken.extend(found);
        self.refused.clear();
    }

    /// Reads from a place on, which is that of the entry with this number if that was taken. Gives
    /// what follows after what was taken.
    fn read(&self, first: usize, from: Position) -> Vec<(u64, Position)> {
        let reader = self.running.as_ref().unwrap().data.read(from).unwrap();
        let mut read: Vec<(u64, Position)> = reader
            .map(|entry| {
                let (position, entry) = entry.unwrap_or_else(|error| panic!("{error}"));
                (id(&entry), position)
            })
            .collect();
        let expected = &self.taken[first..];
        assert!(
            expected.len() <= read.len() && *expected == read[..expected.len()],
            "read {read:?} instead of {expected:?}"
        );
        read.drain(..expected.len());
        let ids: Vec<u64> = read.iter().map(|(id, _)| *id).collect();
        let may_be_found = self.refused.iter().any(|group| group.starts_with(&ids));
        assert!(
            ids.is_empty() || may_be_found,
            "{ids:?} was found, of {:?}",
            self.refused
        );
        read
    }

    /// What is left of the journal has no gaps.
    fn check_all(&self) {
        let data = &self.running.as_ref().unwrap().data;
        let storage: Arc<dyn Storage> = Arc::new(self.model.clone());
        let reader = Reader::from(&storage, &data.journal(), None).unwrap();
        let read: Vec<u64> = reader
            .map(|entry| id(&entry.unwrap_or_else(|error| panic!("{error}")).1))
            .collect();
        let taken: Vec<u64> = self.taken.iter().map(|(id, _)| *id).collect();
        assert!(taken.ends_with(&read), "{read:?} of {taken:?}");
    }
}

fn start_again(
    model: &Model,
    limits: Limits,
) -> Result<(Running, Option<super::Snapshot>), JournalError> {
    let data = DataDir::on(Arc::new(model.clone()), Path::new("data"))?;
    let (writer, _) = data.writer(limits)?;
    let (snapshots, found, passed_over) = data.load()?;
    // No crash damages one; where the test does, there is another.
    assert!(passed_over.is_empty() || found.is_some(), "{passed_over:?}");
    let running = Running {
        writer,
        snapshots,
        data,
    };
    Ok((running, found))
}

fn run(seed: u64, is_small: bool, actions: Vec<Action>) {
    let model = Model::new(seed);
    let limits = Limits {
        segment_bytes: 400,
        bytes_max: if is_small { 2_500 } else { u64::MAX / 2 },
        keep: Span::from_seconds(1),
    };
    let (running, _) = start_again(&model, limits).unwrap();
    let mut rig = Rig {
        model,
        limits,
        running: Some(running),
        taken: Vec::new(),
        refused: Vec::new(),
        next_id: 1,
        resumed: 0,
    };
    for action in actions {
        rig.act(action);
    }
    // When space returns, it goes on by itself.
    rig.model.disarm();
    rig.commit(&[1]);
    rig.limits.bytes_max = u64::MAX / 2;
    rig.restart(true);
    let before = rig.taken.len();
    rig.commit(&[3, 0]);
    assert_eq!(rig.taken.len(), before + 2);
    rig.restart(true);
    assert_eq!(rig.taken.len(), before + 2);
    rig.check_all();
}

fn cases() -> u32 {
    let told = env::var("SLUICE_POWER_LOSS_CASES").ok();
    told.map_or(CASES, |told| told.parse().expect("a number of cases"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn nothing_acknowledged_is_lost_whatever_fails(
        seed in any::<u64>(),
        is_small in any::<bool>(),
        actions in prop::collection::vec(action(), 1..40),
    ) {
        run(seed, is_small, actions);
    }
}

#[test]
fn a_writer_goes_on_by_itself_when_the_disk_works_again() {
    let model = Model::new(7);
    let (mut running, _) = start_again(&model, Limits::default()).unwrap();
    let writer = &mut running.writer;
    let tick = |second| Entry::Tick(Timestamp::from_seconds(second));
    writer.commit(&[tick(1)]).unwrap();
    for operation in [Operation::Write, Operation::Sync, Operation::SetLen] {
        for effect in [Effect::NoSpace, Effect::Error] {
            model.arm(Fault {
                operation,
                after: 0,
                times: 2,
                effect,
            });
        }
    }
    let mut refused = 0;
    while writer.commit(&[tick(2), tick(3)]).is_err() {
        refused += 1;
        assert!(refused < 20, "the writer does not recover");
    }
    assert!(refused > 2);
    let read: Vec<Entry> = running
        .data
        .read(Position::START)
        .unwrap()
        .map(|entry| entry.unwrap().1)
        .collect();
    assert_eq!(read, [tick(1), tick(2), tick(3)]);
}
