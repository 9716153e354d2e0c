//! What senders tell of metrics by their names alone: kinds and units of series whose protocol tells none.
//!
//! Prometheus' remote write 1.0 tells the type of a metric in requests of its own, each minute, for all hosts at
//! once. What is told counts from the next tick on, whatever the order in which it came before, and until nobody
//! has told it for as long as series are remembered. Where senders contradict each other, nothing is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use super::{Epoch, Select, unselected::NAMES_MAX};
use crate::event::{Kind, Labels, MetricMeta, Raw, SeriesMeta, Unit};

/// Most metrics of which it is remembered what is told, or as many as there may be series if these are fewer.
const METRICS_MAX: usize = 65_536;

/// Longest name of such a metric, in bytes.
const METRIC_BYTES_MAX: usize = 1_024;

/// After so many hours it is news that something is still told, so that it is not forgotten, and stands in a
/// journal of which the beginning is deleted.
const REFRESHED_EACH: u32 = 6;

/// What is told of each metric by its name alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata(BTreeMap<Box<str>, Vec<Telling>>);

/// One thing that is told of a metric. Of a metric each stands once, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Telling {
    kind: Kind,
    unit: Unit,
    /// When it was told last, in hours: see [`hour`](super::selected::hour).
    hour: u32,
}

/// What was told since a tick, by the name of the metric.
type Told = BTreeMap<Box<str>, BTreeSet<(Kind, Unit)>>;

/// Where many threads leave what is told, and see what is known.
#[derive(Debug)]
pub(super) struct Board {
    metrics_max: usize,
    known: RwLock<Arc<Metadata>>,
    /// The hour of the latest tick.
    hour: AtomicU32,
    /// By the number of the epoch.
    pending: Mutex<BTreeMap<u32, Told>>,
    ignored: AtomicU64,
    /// Of what is known.
    disputed: Mutex<Disputed>,
}

/// The metrics of which contradictory things are told: how many, and some of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Disputed {
    pub(super) count: u64,
    pub(super) names: BTreeSet<String>,
}

/// What changed.
#[derive(Debug, Default)]
pub(super) struct Changed(BTreeSet<Box<str>>);

impl Metadata {
    /// Takes what is told, whenever that is.
    pub fn note(&mut self, told: &[MetricMeta]) {
        let told = told.iter().map(|told| {
            let said = BTreeSet::from([(told.kind, told.unit)]);
            Told::from([(told.metric.as_str().into(), said)])
        });
        for told in told {
            self.take(told, 0, METRICS_MAX);
        }
    }

    /// What a series is with this name, of which its protocol tells no more than `meta`.
    pub fn read(&self, metric: &str, meta: SeriesMeta) -> SeriesMeta {
        if meta.kind != Kind::Unknown || self.0.is_empty() {
            return meta;
        }
        let (kind, unit) = self.of_series(metric);
        SeriesMeta {
            kind,
            unit: if meta.unit == Unit::Unknown {
                unit
            } else {
                meta.unit
            },
            ..meta
        }
    }

    /// What is told about a series of which its protocol tells `meta`, and what it is: as what it is selected, or
    /// what is told where it is selected only as something else, beside a counter that is compared. `kind` where
    /// nothing is told.
    pub(super) fn selected(
        &self,
        select: &dyn Select,
        labels: &Labels,
        meta: SeriesMeta,
        kind: Kind,
    ) -> (SeriesMeta, Kind) {
        let told = self.read(labels.metric(), meta);
        // Whose kind the configuration tells is selected as that.
        let is_told = told.kind != meta.kind;
        let unselected = if is_told { told.kind } else { kind };
        let selected = select.series(labels, told);
        (told, selected.unwrap_or(unselected))
    }

    /// `OpenMetrics` names the family of a counter without what its series end with.
    fn of_series(&self, metric: &str) -> (Kind, Unit) {
        if let Some(tellings) = self.0.get(metric) {
            return meaning(tellings);
        }
        let base = metric.strip_suffix(TOTAL).and_then(|base| self.0.get(base));
        let told = base.map(|tellings| meaning(tellings));
        told.filter(|(kind, _)| *kind == Kind::Counter)
            .unwrap_or_default()
    }

    /// Of how many metrics something is told.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The metrics of which contradictory things are told.
    fn disputed(&self) -> impl Iterator<Item = &str> {
        let disputed = self.0.iter().filter(|(_, tellings)| {
            let are_kinds = kinds(tellings).next().is_some() && sole(kinds(tellings)).is_none();
            let are_units = units(tellings).next().is_some() && sole(units(tellings)).is_none();
            are_kinds || are_units
        });
        disputed.map(|(metric, _)| &**metric)
    }

    /// Takes what was told in an hour, of at most so many metrics. Gives what changed by it, and how many metrics
    /// had no room.
    fn take(&mut self, told: Told, hour: u32, metrics_max: usize) -> (Changed, u64) {
        let (mut changed, mut ignored) = (Changed::default(), 0);
        for (metric, said) in told {
            if !self.0.contains_key(&metric) && metrics_max <= self.0.len() {
                ignored += 1;
                continue;
            }
            let tellings = self.0.entry(metric.clone()).or_default();
            let before = meaning(tellings);
            for (kind, unit) in said {
                let is_it = |telling: &&mut Telling| (telling.kind, telling.unit) == (kind, unit);
                match tellings.iter_mut().find(is_it) {
                    Some(telling) => telling.hour = telling.hour.max(hour),
                    None => tellings.push(Telling { kind, unit, hour }),
                }
            }
            tellings.sort_unstable();
            if meaning(tellings) != before {
                changed.0.insert(metric);
            }
        }
        (changed, ignored)
    }

    /// Forgets what was not told since an hour: where something else was told since, or no series is there of the
    /// metric. Gives what changed by it.
    pub(super) fn forget(&mut self, hour: u32, is_there: impl Fn(&str) -> bool) -> Changed {
        let mut changed = Changed::default();
        self.0.retain(|metric, tellings| {
            let before = meaning(tellings);
            let is_fresh = |telling: &Telling| hour <= telling.hour;
            if tellings.iter().any(is_fresh) {
                tellings.retain(is_fresh);
            } else if !is_there(metric) {
                tellings.clear();
            }
            if meaning(tellings) != before {
                changed.0.insert(metric.clone());
            }
            !tellings.is_empty()
        });
        changed
    }

    /// Whether something was told last so long ago, of metrics of which something else was told since.
    pub(super) fn is_outdated(&self, hour: u32) -> bool {
        self.0.values().any(|tellings| {
            let is_fresh = |telling: &Telling| hour <= telling.hour;
            tellings.iter().any(is_fresh) && !tellings.iter().all(is_fresh)
        })
    }

    /// The metrics of which nothing was told since an hour.
    pub(super) fn untold_since(&self, hour: u32) -> BTreeSet<Box<str>> {
        let untold = self.0.iter().filter(|(_, tellings)| {
            let mut tellings = tellings.iter();
            tellings.all(|telling| telling.hour < hour)
        });
        untold.map(|(metric, _)| metric.clone()).collect()
    }

    /// Whether it is known that this is told of a metric, and was told of late.
    fn has_heard(&self, metric: &str, said: (Kind, Unit), hour: u32) -> bool {
        let tellings = self.0.get(metric).map_or(&[][..], Vec::as_slice);
        tellings.iter().any(|telling| {
            (telling.kind, telling.unit) == said
                && hour.saturating_sub(telling.hour) < REFRESHED_EACH
        })
    }
}

/// What the name of a counter ends with by convention.
const TOTAL: &str = "_total";

/// What tellings of one metric say together. What a distribution is made of tells its name.
fn meaning(tellings: &[Telling]) -> (Kind, Unit) {
    let kind = match sole(kinds(tellings)) {
        Some(kind @ (Kind::Gauge | Kind::Counter)) => kind,
        Some(Kind::Unknown | Kind::Histogram | Kind::Summary) | None => Kind::Unknown,
    };
    (kind, sole(units(tellings)).unwrap_or_default())
}

fn kinds(tellings: &[Telling]) -> impl Iterator<Item = Kind> {
    let kinds = tellings.iter().map(|telling| telling.kind);
    kinds.filter(|kind| *kind != Kind::Unknown)
}

fn units(tellings: &[Telling]) -> impl Iterator<Item = Unit> {
    let units = tellings.iter().map(|telling| telling.unit);
    units.filter(|unit| *unit != Unit::Unknown)
}

/// What all are, if they are the same.
fn sole<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

impl Changed {
    /// Whether nothing did.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it concerns series with this name.
    pub(super) fn concerns(&self, metric: &str) -> bool {
        let base = metric.strip_suffix(TOTAL);
        self.0.contains(metric) || base.is_some_and(|base| self.0.contains(base))
    }
}

impl Board {
    /// An empty one, where there may be so many series.
    pub(super) fn new(series_max: usize) -> Self {
        Self {
            metrics_max: METRICS_MAX.min(series_max),
            known: RwLock::default(),
            hour: AtomicU32::new(0),
            pending: Mutex::default(),
            ignored: AtomicU64::new(0),
            disputed: Mutex::default(),
        }
    }

    /// One that goes on by itself from here.
    pub(super) fn fork(&self) -> Self {
        Self {
            metrics_max: self.metrics_max,
            known: RwLock::new(self.known()),
            hour: AtomicU32::new(self.hour.load(Ordering::Relaxed)),
            pending: Mutex::new(self.pending.lock().expect(POISONED).clone()),
            ignored: AtomicU64::new(self.ignored()),
            disputed: Mutex::new(self.disputed()),
        }
    }

    /// Leaves what a batch tells that stands in an epoch.
    pub(super) fn leave(&self, raw: Raw<'_>, epoch: Epoch) {
        let mut ignored = raw.batch.metadata_unread;
        if !raw.batch.metadata.is_empty() {
            let mut pending = self.pending.lock().expect(POISONED);
            let told = pending.entry(epoch.number).or_default();
            for entry in &raw.batch.metadata {
                let Some(metric) = name(raw.bytes(entry.metric)) else {
                    ignored += 1;
                    continue;
                };
                let said = (entry.kind, entry.unit);
                match told.get_mut(metric) {
                    Some(known) => drop(known.insert(said)),
                    None => drop(told.insert(metric.into(), BTreeSet::from([said]))),
                }
                // Whatever the order, the first by name stay.
                if self.metrics_max < told.len() {
                    told.pop_last();
                    ignored += 1;
                }
            }
        }
        if 0 < ignored {
            self.ignored.fetch_add(ignored, Ordering::Relaxed);
        }
    }

    /// Whether a batch tells of metrics what is not known, or was not told of late. Of one that holds nothing else,
    /// and so need not be put, it counts what is ignored.
    pub(super) fn is_news(&self, raw: Raw<'_>) -> bool {
        let batch = raw.batch;
        if batch.metadata.is_empty() && batch.metadata_unread == 0 {
            return false;
        }
        let (known, hour) = (self.known(), self.hour.load(Ordering::Relaxed));
        let is_full = self.metrics_max <= known.len();
        let mut ignored = batch.metadata_unread;
        for entry in &batch.metadata {
            let metric = name(raw.bytes(entry.metric));
            match metric.filter(|metric| !is_full || known.0.contains_key(*metric)) {
                Some(metric) if !known.has_heard(metric, (entry.kind, entry.unit), hour) => {
                    return true;
                }
                Some(_) => {}
                None => ignored += 1,
            }
        }
        // Of what is put, whoever puts it counts.
        if batch.points.is_empty() && batch.logs.is_empty() {
            self.ignored.fetch_add(ignored, Ordering::Relaxed);
        }
        false
    }

    /// Takes in what was told in an epoch or before, in an hour. Gives what changed by it.
    pub(super) fn settle(&self, metadata: &mut Arc<Metadata>, number: u32, hour: u32) -> Changed {
        self.hour.store(hour, Ordering::Relaxed);
        let mut told = Told::new();
        let mut pending = self.pending.lock().expect(POISONED);
        for (_, later) in pending.extract_if(..=number, |_, _| true) {
            for (metric, said) in later {
                told.entry(metric).or_default().extend(said);
            }
        }
        drop(pending);
        // What comes beside values, or over Kafka, comes here although it is no news.
        told.retain(|metric, said| {
            said.retain(|said| !metadata.has_heard(metric, *said, hour));
            !said.is_empty()
        });
        if told.is_empty() {
            return Changed::default();
        }
        let (changed, ignored) = Arc::make_mut(metadata).take(told, hour, self.metrics_max);
        self.ignored.fetch_add(ignored, Ordering::Relaxed);
        self.show(metadata);
        changed
    }

    /// Goes on from what was known in an hour.
    pub(super) fn resume(&self, metadata: &Arc<Metadata>, hour: u32) {
        self.hour.store(hour, Ordering::Relaxed);
        self.show(metadata);
    }

    /// Shows what is known.
    pub(super) fn show(&self, metadata: &Arc<Metadata>) {
        let mut disputed = Disputed::default();
        for metric in metadata.disputed() {
            disputed.count += 1;
            if disputed.names.len() < NAMES_MAX {
                disputed.names.insert(metric.to_owned());
            }
        }
        *self.disputed.lock().expect(POISONED) = disputed;
        *self.known.write().expect(POISONED) = Arc::clone(metadata);
    }

    /// The metrics of which contradictory things are told.
    pub(super) fn disputed(&self) -> Disputed {
        self.disputed.lock().expect(POISONED).clone()
    }

    /// Entries that were ignored: those that cannot be read, and those beyond a limit.
    pub(super) fn ignored(&self) -> u64 {
        self.ignored.load(Ordering::Relaxed)
    }

    fn known(&self) -> Arc<Metadata> {
        Arc::clone(&self.known.read().expect(POISONED))
    }
}

/// The name of a metric, if it is one that is remembered.
fn name(bytes: &[u8]) -> Option<&str> {
    let is_fit = !bytes.is_empty() && bytes.len() <= METRIC_BYTES_MAX;
    std::str::from_utf8(bytes).ok().filter(|_| is_fit)
}

/// Nothing under the locks can panic.
const POISONED: &str = "no thread panicked while it told of metrics";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Batch, KeyHash, RawBatch, canonical};

    const COUNTER: (Kind, Unit) = (Kind::Counter, Unit::Unknown);
    const GAUGE: (Kind, Unit) = (Kind::Gauge, Unit::Unknown);

    /// What one request tells.
    fn request(told: &[(&str, (Kind, Unit))]) -> RawBatch {
        let metadata = told.iter().map(|(metric, (kind, unit))| MetricMeta {
            metric: (*metric).to_owned(),
            kind: *kind,
            unit: *unit,
        });
        let batch = Batch {
            metadata: metadata.collect(),
            ..Batch::default()
        };
        let mut raw = RawBatch::new(KeyHash::new(0), canonical::read);
        raw.take(&batch, |_| true);
        raw
    }

    /// A board and what is known there.
    #[derive(Debug)]
    struct World(Board, Arc<Metadata>);

    impl World {
        fn new(series_max: usize) -> Self {
            Self(Board::new(series_max), Arc::default())
        }

        fn tell(&self, told: &[(&str, (Kind, Unit))], number: u32) {
            let epoch = Epoch {
                number,
                ..Epoch::default()
            };
            self.0.leave(Raw::new(&[], &request(told)), epoch);
        }

        fn tick(&mut self, number: u32, hour: u32) -> Changed {
            self.0.settle(&mut self.1, number, hour)
        }

        fn is_news(&self, told: &[(&str, (Kind, Unit))]) -> bool {
            self.0.is_news(Raw::new(&[], &request(told)))
        }

        fn of(&self, metric: &str) -> (Kind, Unit) {
            let SeriesMeta { kind, unit, .. } = self.1.read(metric, SeriesMeta::default());
            (kind, unit)
        }
    }

    #[test]
    fn what_is_told_counts_from_the_tick_on_that_follows() {
        let mut world = World::new(100);
        world.tell(&[("jobs", COUNTER)], 5);
        world.tell(&[("jobs", (Kind::Counter, Unit::Seconds))], 6);
        assert!(world.tick(4, 1).is_empty());
        assert_eq!(world.of("jobs"), (Kind::Unknown, Unit::Unknown));
        let changed = world.tick(5, 1);
        assert!(changed.concerns("jobs") && changed.concerns("jobs_total"));
        assert!(!changed.concerns("jobs_count"));
        assert_eq!(world.of("jobs"), COUNTER);
        assert!(world.tick(6, 1).concerns("jobs"));
        assert_eq!(world.of("jobs"), (Kind::Counter, Unit::Seconds));
    }

    #[test]
    fn the_name_says_what_the_parts_of_a_distribution_are() {
        let mut world = World::new(100);
        world.tell(
            &[
                ("lat", (Kind::Histogram, Unit::Seconds)),
                ("rpc", (Kind::Summary, Unit::Unknown)),
                ("pulls", (Kind::Counter, Unit::Bytes)),
                ("hot_total", GAUGE),
            ],
            0,
        );
        world.tick(0, 0);
        assert_eq!(world.of("lat"), (Kind::Unknown, Unit::Seconds));
        for untold in ["lat_bucket", "lat_total", "rpc", "rpc_count", "pulls_count"] {
            assert_eq!(world.of(untold), Default::default(), "{untold}");
        }
        assert_eq!(world.of("pulls_total"), (Kind::Counter, Unit::Bytes));
        assert_eq!(world.of("hot_total"), GAUGE);
        let told = SeriesMeta {
            kind: Kind::Gauge,
            ..SeriesMeta::default()
        };
        assert_eq!(world.1.read("pulls", told), told, "its protocol tells it");
    }

    #[test]
    fn contradictions_tell_nothing_whatever_their_order() {
        let tellings = [
            [("a", COUNTER), ("b", COUNTER)],
            [("a", GAUGE), ("b", (Kind::Counter, Unit::Seconds))],
            [("b", (Kind::Unknown, Unit::Bytes)), ("a", COUNTER)],
        ];
        let orders = [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ];
        let worlds = orders.map(|order| {
            let mut world = World::new(100);
            for (number, index) in (0..).zip(order) {
                world.tell(&tellings[index], number % 2);
            }
            world.tick(1, 3);
            world
        });
        for world in &worlds {
            assert_eq!(world.1, worlds[0].1);
            assert_eq!(world.of("a"), (Kind::Unknown, Unit::Unknown));
            assert_eq!(world.of("b"), (Kind::Counter, Unit::Unknown));
            assert_eq!(
                world.0.disputed().names,
                ["a".to_owned(), "b".to_owned()].into()
            );
        }
    }

    #[test]
    fn only_what_is_not_known_is_news_and_what_was_told_long_ago() {
        let mut world = World::new(2);
        let told = [("a", COUNTER)];
        assert!(world.is_news(&told));
        world.tell(&told, 0);
        world.tick(0, 10);
        assert!(!world.is_news(&told));
        assert!(world.is_news(&[("a", COUNTER), ("b", GAUGE)]));
        assert!(world.is_news(&[("a", GAUGE)]));
        world.tick(1, 10 + REFRESHED_EACH - 1);
        assert!(!world.is_news(&told));
        world.tick(2, 10 + REFRESHED_EACH);
        assert!(world.is_news(&told));
        world.tell(&told, 3);
        world.tick(3, 10 + REFRESHED_EACH);
        assert!(!world.is_news(&told));
        // Of what has no room nothing is remembered: it would be news each minute.
        world.tell(&[("b", GAUGE)], 4);
        world.tick(4, 10 + REFRESHED_EACH);
        assert!(!world.is_news(&[("c", GAUGE)]));
        assert!(!world.is_news(&[(&"x".repeat(METRIC_BYTES_MAX + 1), GAUGE), ("a", COUNTER)]));
        assert_eq!(world.0.ignored(), 2);
    }

    #[test]
    fn what_is_known_changes_nothing_of_it() {
        let mut world = World::new(100);
        let told = [("a", COUNTER), ("b", GAUGE)];
        world.tell(&told, 0);
        world.tick(0, 10);
        let known = Arc::clone(&world.1);
        world.tell(&told, 1);
        assert!(world.tick(1, 10 + REFRESHED_EACH - 1).is_empty());
        assert!(Arc::ptr_eq(&known, &world.1), "nothing is copied");
        world.tell(&told, 2);
        assert!(world.tick(2, 10 + REFRESHED_EACH).is_empty());
        assert_ne!(known, world.1, "it is told still");
    }

    #[test]
    fn there_is_room_for_the_first_by_name_whatever_the_order() {
        for order in [["c", "a", "b"], ["b", "c", "a"], ["a", "b", "c"]] {
            let mut world = World::new(2);
            for metric in order {
                world.tell(&[(metric, COUNTER)], 0);
            }
            world.tick(0, 0);
            assert_eq!(world.of("a"), COUNTER);
            assert_eq!(world.of("b"), COUNTER);
            assert_eq!((world.1.len(), world.0.ignored()), (2, 1), "{order:?}");
            world.tell(&[("0", COUNTER)], 1);
            world.tick(1, 0);
            assert_eq!((world.1.len(), world.0.ignored()), (2, 2), "{order:?}");
        }
    }

    #[test]
    fn it_is_forgotten_when_nobody_tells_it_any_more() {
        let mut world = World::new(100);
        world.tell(
            &[("gone", COUNTER), ("here", COUNTER), ("turned", COUNTER)],
            0,
        );
        world.tick(0, 10);
        world.tell(&[("turned", GAUGE)], 1);
        world.tick(1, 20);
        assert_eq!(world.of("turned").0, Kind::Unknown);
        let metadata = Arc::make_mut(&mut world.1);
        assert!(!metadata.is_outdated(10) && metadata.is_outdated(11));
        assert!(!metadata.is_outdated(21));
        let untold = metadata.untold_since(11);
        assert_eq!(
            untold.iter().map(|metric| &**metric).collect::<Vec<_>>(),
            ["gone", "here"]
        );
        assert!(metadata.forget(10, |_| false).is_empty());
        let changed = metadata.forget(11, |metric| metric == "here");
        assert!(changed.concerns("gone") && changed.concerns("turned"));
        assert!(!changed.concerns("here"));
        assert_eq!(world.of("here"), COUNTER);
        assert_eq!(world.of("turned"), GAUGE);
        assert_eq!(world.1.len(), 2);
    }
}
