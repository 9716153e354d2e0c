//! Keys: what they are taken for must not depend on what came before, nor on when they were looked up.

use proptest::prelude::*;

use crate::event::Piece;

use super::*;

/// Selects a metric only where it comes as what its name says.
#[derive(Debug)]
struct AsNamed(BTreeSet<String>);

impl Select for AsNamed {
    fn series(&self, labels: &Labels, meta: SeriesMeta) -> Option<Kind> {
        match (labels.metric(), meta.kind) {
            ("gauge", Kind::Gauge | Kind::Unknown) => Some(Kind::Gauge),
            ("counter", Kind::Counter) => Some(Kind::Counter),
            _ => None,
        }
    }

    fn lookers(&self, _: &Labels, _: Kind) -> Lookers {
        Lookers::default()
    }

    fn stream_labels(&self) -> &BTreeSet<String> {
        &self.0
    }

    fn stream_lookers(&self, _: &StreamClasses) -> Lookers {
        Lookers::default()
    }

    fn stream(&self, _: &Labels) -> Option<StreamClasses> {
        None
    }

    fn classify(&self, _: &StreamClasses, _: Option<Severity>, _: Option<&str>, _: &mut Vec<u32>) {}
}

/// One series of a request: its name, the kind it comes as, and a time in seconds.
type Sent = (&'static str, Kind, u8);

fn request(sent: &[Sent]) -> RawBatch {
    let mut raw = RawBatch::new(KeyHash::new(0), canonical::read);
    for (name, kind, seconds) in sent {
        let labels = Labels::new([(METRIC_NAME, *name)]);
        let mut bytes = Vec::new();
        canonical::write(&labels, &mut bytes);
        let (key, ()) = raw.write(|out| out.extend(&bytes));
        let hash = raw.keys().single(&bytes);
        let meta = SeriesMeta {
            kind: *kind,
            ..SeriesMeta::default()
        };
        raw.start_series(hash, [key, Piece::default(), Piece::default()], meta);
        raw.point(at(f64::from(*seconds)), Timestamp::MIN, f64::from(*seconds));
    }
    raw
}

/// Whether a batch is looked up before it is put.
#[derive(Clone, Copy, Debug)]
enum LookUp {
    Not,
    /// And put with its bytes.
    Whole,
    /// And put without its bytes if everything was found.
    Alone,
    /// The same, with what is remembered of the keys of requests before.
    Remembered,
}

fn put(shards: &Shards, sent: &[Sent], how: LookUp, epoch: Epoch, scratch: &mut PutScratch) -> Put {
    let mut batch = request(sent);
    if let LookUp::Remembered = how {
        batch = recognised(shards, batch);
    }
    let raw = Raw::new(&[], &batch);
    match how {
        LookUp::Not => {}
        LookUp::Whole => shards.resolve(raw, scratch),
        LookUp::Alone | LookUp::Remembered => {
            shards.resolve(raw, scratch);
            if scratch.has_all(&batch) {
                return shards.put_known(|| panic!("everything is known"), epoch, scratch);
            }
        }
    }
    shards.put(raw, epoch, scratch)
}

/// What closed buckets say and what was counted, after these requests.
fn told(
    requests: &[Vec<Sent>],
    how: LookUp,
    threads: usize,
) -> (Vec<ClosedBucket>, ReducerCounters) {
    let select: Arc<dyn Select> = Arc::new(AsNamed(BTreeSet::new()));
    let keys = KeyHash::new(0).for_threads(threads);
    let mut reducer = Reducer::new(Span::from_seconds(10), LIMITS, keys, select);
    let mut scratch = PutScratch::default();
    let mut asked = Asked::default();
    for sent in requests {
        let epoch = reducer.epoch;
        put(&reducer.shards, sent, how, epoch, &mut scratch);
        // From now on its series have ids.
        reducer.advance(epoch, &mut asked);
    }
    let epoch = reducer
        .epoch
        .after(at(1_000.0), Span::ZERO, Span::from_seconds(10));
    reducer.advance(epoch, &mut asked);
    let closed = std::iter::from_fn(|| reducer.close_next()).collect();
    (closed, reducer.counters())
}

fn sent() -> impl Strategy<Value = Sent> {
    (
        prop::sample::select(vec!["gauge", "counter", "other"]),
        prop::sample::select(vec![
            Kind::Unknown,
            Kind::Gauge,
            Kind::Counter,
            Kind::Histogram,
        ]),
        0..40_u8,
    )
}

proptest! {
    #[test]
    fn neither_neighbours_nor_an_early_look_up_nor_shards_change_what_is_taken(
        requests in prop::collection::vec(prop::collection::vec(sent(), 0..12), 0..6),
        how in prop::sample::select(vec![
            LookUp::Not,
            LookUp::Whole,
            LookUp::Alone,
            LookUp::Remembered,
        ]),
        threads in 1..100_usize,
    ) {
        let expected = requests
            .iter()
            .flatten()
            .filter(|(name, kind, _)| {
                matches!(
                    (*name, *kind),
                    ("gauge", Kind::Gauge | Kind::Unknown) | ("counter", Kind::Counter)
                )
            })
            .count() as u64;
        let (_, counters) = told(&requests, how, threads);
        prop_assert_eq!(counters.samples_accepted, expected);
        let all = requests.iter().map(|sent| sent.len() as u64).sum::<u64>();
        prop_assert_eq!(counters.samples_unselected, all - expected);
        prop_assert_eq!(told(&requests, how, threads), told(&requests, LookUp::Not, 1));
    }
}

#[test]
fn what_was_resolved_elsewhere_is_not_used() {
    let sent = [("gauge", Kind::Gauge, 1), ("other", Kind::Gauge, 1)];
    let select: Arc<dyn Select> = Arc::new(AsNamed(BTreeSet::new()));
    let [one, mut other] = [0, 1].map(|_| {
        Reducer::new(
            Span::from_seconds(10),
            LIMITS,
            KeyHash::new(0),
            Arc::clone(&select),
        )
    });
    let batch = request(&sent);
    let raw = Raw::new(&[], &batch);
    let mut scratch = PutScratch::default();
    one.shards.put(raw, one.epoch, &mut scratch);
    one.shards.resolve(raw, &mut scratch);
    let put = other.shards.put(raw, other.epoch, &mut scratch);
    assert_eq!(put.samples, 2);
    let epoch = other
        .epoch
        .after(at(1.0), Span::ZERO, Span::from_seconds(10));
    other.advance(epoch, &mut Asked::default());
    let counters = other.counters();
    assert_eq!(
        (counters.samples_accepted, counters.samples_unselected),
        (1, 1)
    );
}

/// Looks a batch up while its series are named.
struct Hasty<'a> {
    shards: Arc<Shards>,
    batch: &'a RawBatch,
    scratch: PutScratch,
}

impl Directory for Hasty<'_> {
    fn bind_series(
        &mut self,
        _: SeriesId,
        _: &Labels,
        _: (SeriesMeta, Kind),
        kind: Kind,
    ) -> Option<Registration> {
        Some(Registration {
            kind,
            host_known_since: None.into(),
        })
    }

    fn refuse_series(&mut self, _: SeriesId, _: &Labels, _: Kind) {}

    fn refuse(&mut self, _: &Lookers, _: Timestamp) {
        self.shards
            .resolve(Raw::new(&[], self.batch), &mut self.scratch);
    }

    fn reread(&mut self, _: &[Turned], _: &dyn Fn(SeriesId) -> Reading) {
        panic!("nothing is told by name");
    }

    fn bind_stream(&mut self, _: StreamId, _: &Labels) {}
}

#[test]
fn a_look_up_while_series_are_named_lets_none_past_a_limit() {
    let select: Arc<dyn Select> = Arc::new(AsNamed(BTreeSet::new()));
    let limits = ReducerLimits {
        series: 1,
        ..LIMITS
    };
    let mut reducer = Reducer::new(Span::from_seconds(10), limits, KeyHash::new(0), select);
    let batch = request(&[("counter", Kind::Counter, 1), ("gauge", Kind::Gauge, 1)]);
    let raw = Raw::new(&[], &batch);
    reducer.put_raw(raw);
    let mut directory = Hasty {
        shards: Arc::clone(&reducer.shards),
        batch: &batch,
        scratch: PutScratch::default(),
    };
    let epoch = reducer
        .epoch
        .after(at(5.0), Span::ZERO, Span::from_seconds(10));
    reducer.advance(epoch, &mut directory);
    let put = reducer.shards.put(raw, epoch, &mut directory.scratch);
    assert_eq!((put.samples, put.rejects.sample_count()), (1, 1));
}
