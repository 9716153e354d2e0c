//! A start from a saved state knows what a start from the whole journal knows, wherever the engine was
//! cut off.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    answers::ChangeError,
    board::Standing,
    core::Core,
    fetched::{self, Away, Hands, Refetch, Refetched},
    intake::Intake,
    metrics::{Metrics, Source},
    published::{Published, Stats},
    recorder::Recording,
    recovery::{JournalSettings, Recovery},
    recovery_error::RecoveryError,
    saver,
    sequence::Sequence,
};
use crate::{
    decode::json_samples,
    engine::{Engine, Input, Selector},
    event::{
        Batch, Begin, DeploymentEvent, End, KeyHash, Labels, METRIC_NAME, Signal, Span, Step,
        StepOutcome, Timestamp, canonical,
    },
    gate::STATE_VERSION,
    journal::{Body, DataDir, Encoding, Entry, Format, Limits, OffsetRange, Position, Reload},
    plan::Plan,
    reduce::Select,
};

const CONFIGURATION: &str = r#"
resolution: 10s
lateness: 20s
checks:
  cpu: {metric: cpu, bounds: {max: 90}}
  all: {metric: "*", compare: {}}
  up: {metric: cpu, absent: 2m}
services: {web: {stages: [{name: onebox, bake: 10m, grace: 1m, steps: [tests], checks: [cpu, all, up]}]}}
"#;

const START: i64 = 1_772_359_200;

/// Numbers that are the same in every run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn plan() -> Arc<Plan> {
    Arc::new(Plan::parse(CONFIGURATION).unwrap())
}

/// The plan of a number: another bound for each; the second selects fewer series, the third others.
fn other(number: u64) -> Arc<Plan> {
    let max = format!("max: {}", 90 + number);
    let text = CONFIGURATION.replacen("max: 90", &max, 1);
    let text = match number {
        1 => text.replacen("checks: [cpu, all, up]", "checks: [cpu, up]", 1),
        2 => text.replacen("metric: cpu, absent", "metric: requests_total, absent", 1),
        _ => text,
    };
    Arc::new(Plan::parse(&text).unwrap())
}

/// The plan that was in force where a journal ends.
fn last_plan(directory: &Path) -> Arc<Plan> {
    let mut plan = plan();
    for entry in DataDir::open(directory).unwrap().read_all().unwrap() {
        if let (_, Entry::Plan(change)) = entry.unwrap()
            && let Some(next) = change.behind(&plan.digest).unwrap()
        {
            plan = Arc::new(next);
        }
    }
    plan
}

fn settings() -> JournalSettings {
    JournalSettings {
        limits: Limits {
            segment_bytes: 4_096,
            ..Limits::default()
        },
        // At every tick for which the one before is on disk.
        snapshot_every: Span::from_nanos(1),
        commit_delay: Duration::ZERO,
        started_at: Timestamp::from_seconds(START),
    }
}

/// Appends a field of bytes.
fn field(key: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(key);
    prost::encoding::encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// A request with samples of some hosts, around `now`: most are in time, some are late, some far ahead,
/// and now and then a host is new.
fn request(now: i64, step: u64, noise: &mut Noise) -> Body {
    let mut request = Vec::new();
    for _ in 0..=noise.below(6) {
        let host = noise.below(4 + step / 20);
        let metric = ["cpu", "requests_total", "ignored"][noise.below(3) as usize];
        let labels = Labels::new([
            (METRIC_NAME, metric.to_owned()),
            ("host", format!("h{host}")),
            (
                "service",
                if metric == "ignored" { "other" } else { "web" }.to_owned(),
            ),
        ]);
        let mut series = Vec::new();
        canonical::write(&labels, &mut series);
        let behind = match noise.below(12) {
            0 => 60 + noise.below(60) as i64,
            1 => -(noise.below(400) as i64),
            _ => noise.below(25) as i64,
        };
        let mut sample = vec![0x09];
        sample.extend((step as f64 + noise.below(50) as f64).to_le_bytes());
        sample.push(0x10);
        let millis = (now - behind) * 1_000 + noise.below(1_000) as i64;
        prost::encoding::encode_varint(millis.cast_unsigned(), &mut sample);
        field(0x12, &sample, &mut series);
        field(0x0a, &series, &mut request);
    }
    Body {
        format: Format::RemoteWrite1,
        encoding: Encoding::Identity,
        bytes: Bytes::from(request),
    }
}

fn event(now: i64, number: u64) -> DeploymentEvent {
    let at = Timestamp::from_seconds(now);
    let deployment = format!("d{}", number / 2);
    if number % 2 == 1 {
        return DeploymentEvent::Step(Step {
            at,
            deployment,
            step: "tests".to_owned(),
            outcome: StepOutcome::Passed,
        });
    }
    DeploymentEvent::Begin(Begin {
        at,
        deployment,
        service: "web".to_owned(),
        stage: "onebox".to_owned(),
        region: None,
        version: "v2".to_owned(),
        one_box: vec!["h0".to_owned()],
        fleet: Vec::new(),
        weight: 1.0,
        hotfix: None,
    })
}

/// A source that keeps what was fetched from it: a batch for each offset of each partition.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<BTreeMap<i32, Vec<Batch>>>>);

const TOPIC: &str = "metrics";

fn range(partition: i32, from: i64, until: i64) -> OffsetRange {
    OffsetRange {
        topic: TOPIC.to_owned(),
        partition,
        from,
        until,
    }
}

impl Kept {
    /// Writes messages to some partition, and gives their range.
    fn write(&self, now: i64, step: u64, noise: &mut Noise) -> OffsetRange {
        let number = noise.below(2) as i32;
        let mut partitions = self.0.lock().unwrap();
        let log = partitions.entry(number).or_default();
        let from = log.len() as i64;
        for _ in 0..=noise.below(3) {
            log.push(message(now, step, noise));
        }
        range(number, from, log.len() as i64)
    }

    fn of(&self, range: &OffsetRange) -> Vec<Batch> {
        let partitions = self.0.lock().unwrap();
        partitions[&range.partition][range.from as usize..range.until as usize].to_vec()
    }

    /// Fetches some messages as a live run does: recorded, then put. Some are lost.
    async fn fetch(&self, core: &Core, now: i64, step: u64, noise: &mut Noise) {
        let ranges: Vec<_> = (0..=noise.below(2))
            .map(|_| self.write(now, step, noise))
            .collect();
        let mut entries: Vec<_> = ranges.iter().cloned().map(Entry::Consumed).collect();
        if noise.below(20) == 0 {
            entries.push(Entry::Lost(OffsetRange::unseen(TOPIC)));
        }
        let labels = Arc::new(Selector::new(plan()).stream_labels().clone());
        let mut hands = Hands::new(core.keys(), labels);
        let durable = fetched::record(core, entries).await.unwrap();
        for (durable, range) in durable.into_iter().zip(ranges) {
            let mut latest = None;
            for batch in self.of(&range) {
                let put = |raw: crate::event::Raw<'_>, scratch: &mut _| {
                    core.put(raw, durable.epoch, scratch)
                };
                latest = latest.max(hands.put(&batch, put).latest);
            }
            durable.running.done(durable.position, latest);
        }
    }
}

impl Refetch for Kept {
    fn refetch(
        &mut self,
        range: &OffsetRange,
        each: &mut dyn FnMut(&Batch),
    ) -> Result<Refetched, Away> {
        self.of(range).iter().for_each(each);
        Ok(Refetched::Whole)
    }
}

/// A message with a sample of some host, most in time.
fn message(now: i64, step: u64, noise: &mut Noise) -> Batch {
    let host = noise.below(4 + step / 20);
    let behind = noise.below(40) as i64 - 5;
    let text = format!(
        r#"{{"timestamp": {}, "metric": "cpu", "value": {}, "host": "h{host}", "service": "web"}}"#,
        now - behind,
        step + noise.below(50),
    );
    let batch = json_samples::decode(text.as_bytes(), None);
    assert_eq!(batch.sample_count(), 1, "{}", batch.rejects);
    batch
}

/// Copies a data directory as a crash would leave it.
fn image(from: &Path, to: &Path) {
    for part in [DataDir::JOURNAL, DataDir::SNAPSHOTS] {
        fs::create_dir_all(to.join(part)).unwrap();
        for file in fs::read_dir(from.join(part)).unwrap() {
            let file = file.unwrap();
            // What was being written may be gone by now.
            drop(fs::copy(file.path(), to.join(part).join(file.file_name())));
        }
    }
}

/// What an engine knows that starts there.
fn known(directory: &Path, source: Option<Kept>) -> Vec<u8> {
    started(directory, source).0
}

/// The same, and where it goes on reading its source.
fn started(directory: &Path, source: Option<Kept>) -> (Vec<u8>, String) {
    let (plan, keys) = (last_plan(directory), KeyHash::new(1));
    let mut recovery = Recovery::open(directory, &plan, keys, settings()).unwrap();
    recovery.refetch_by(source.map(|source| Box::new(source) as Box<dyn Refetch>));
    let (orders, _inbox) = mpsc::channel(1);
    let sequence = Sequence::new(orders, true, plan.lateness, plan.resolution);
    let published = Published::new(Stats::none());
    let recovered = recovery
        .replay(&sequence, &published, &Arc::new(Recording::default()))
        .unwrap();
    let offsets = format!("{:?}", recovered.offsets);
    (told(recovered.engine), offsets)
}

/// What an engine knows that was never stopped: it takes the journal entry by entry.
fn uninterrupted(directory: &Path, source: &Kept) -> Vec<u8> {
    let plan = plan();
    let limit = plan.limits.decompressed_bytes;
    let mut engine = Engine::new(plan);
    let mut outputs = Vec::new();
    let journal = DataDir::open(directory).unwrap().read_all().unwrap();
    for entry in journal {
        match entry.unwrap().1 {
            Entry::Batch(body) => {
                let batch = body.decode(limit).unwrap();
                engine.step(Input::Batch(&batch), &mut outputs);
            }
            Entry::Tick(now) => engine.step(Input::Tick(now), &mut outputs),
            Entry::Deployment(event) => engine.step(Input::Deployment(event), &mut outputs),
            Entry::Consumed(range) => {
                for batch in source.of(&range) {
                    engine.step(Input::Batch(&batch), &mut outputs);
                }
            }
            Entry::Lost(_) => engine.step(Input::Lost, &mut outputs),
            Entry::OverLimit(signal) => engine.step(Input::OverLimit(signal), &mut outputs),
            Entry::Plan(change) => {
                let next = change.behind(&engine.plan().digest).unwrap();
                engine.step(Input::Plan(Arc::new(next.unwrap())), &mut outputs);
            }
            Entry::Start(_) => panic!("it is started under what was reached"),
        }
    }
    told(engine)
}

/// Everything that an engine knows.
fn told(mut engine: Engine) -> Vec<u8> {
    // What stands in open buckets shows itself once they are closed.
    let later = Timestamp::from_seconds(START + 10_000);
    let mut outputs = Vec::new();
    engine.step(Input::Tick(later), &mut outputs);
    let mut known = engine.save();
    known.extend(format!("{outputs:?}").into_bytes());
    known
}

/// Runs an engine and takes images of its directory while it does.
#[expect(
    clippy::too_many_lines,
    reason = "one way through many kinds of inputs"
)]
async fn run(seed: u64, root: &Path, source: &Kept, changes: bool) -> Vec<PathBuf> {
    let (plan, keys) = (plan(), KeyHash::new(0));
    let live = root.join("live");
    let recovery = Recovery::open(&live, &plan, keys, settings()).unwrap();
    let core = Core::start(&plan, keys, Some(recovery)).unwrap();
    core.ready().await.unwrap();
    let labels = Selector::new(Arc::clone(&plan)).stream_labels().clone();
    let metrics = Arc::new(Metrics::new(Timestamp::from_seconds(START)));
    let intake = Intake::new(core.clone(), metrics, &plan, labels);
    let mut noise = Noise(seed);
    let (mut now, mut events, mut images) = (START, 0, Vec::new());
    let mut in_force = plan;
    for step in 0..240 {
        if changes && noise.below(30) == 0 {
            // Batches are on their way meanwhile: each counts on one side of the change, or is turned away.
            let next = other(noise.below(3));
            let takes =
                (0..3).map(|_| intake.take(Source::RemoteWrite, request(now, step, &mut noise)));
            let takes: Vec<_> = takes.collect();
            let change = async {
                if next.digest == in_force.digest {
                    return Ok(());
                }
                let reload = Reload {
                    at: Timestamp::from_seconds(now),
                    by: format!("step {step}"),
                };
                core.change(&in_force, Arc::clone(&next), reload).await
            };
            let (_, changed) = tokio::join!(futures_util::future::join_all(takes), change);
            match changed {
                Ok(()) => in_force = next,
                Err(ChangeError::Refused(_)) => {}
                Err(ChangeError::Unavailable(reason)) => panic!("{reason}"),
            }
        }
        match noise.below(14) {
            13 => {
                // Two of them find their place in one epoch, or in two.
                let signal = Signal::ALL[noise.below(2) as usize];
                let marks = [(); 2].map(|()| intake.mark_over_limit(signal));
                now += noise.below(4) as i64;
                let tick = core.tick(Timestamp::from_seconds(now));
                let marks = futures_util::future::join_all(marks);
                let (marked, ticked) = tokio::join!(marks, tick);
                ticked.unwrap();
                assert!(marked.iter().all(Result::is_ok), "{marked:?}");
            }
            10..=12 => {
                let at = now;
                now += noise.below(4) as i64;
                let fetch = source.fetch(&core, at, step, &mut noise);
                let tick = core.tick(Timestamp::from_seconds(now));
                let ((), ticked) = tokio::join!(fetch, tick);
                ticked.unwrap();
            }
            0..=5 => {
                // Several at a time: some stand before a tick and are put while it is taken.
                let bodies: Vec<Body> = (0..=noise.below(3))
                    .map(|_| request(now, step, &mut noise))
                    .collect();
                let takes = bodies
                    .into_iter()
                    .map(|body| intake.take(Source::RemoteWrite, body));
                now += noise.below(4) as i64;
                // Some of the batches find their place before the tick, some behind.
                let rounds = noise.below(4);
                let tick = async {
                    for _ in 0..rounds {
                        tokio::task::yield_now().await;
                    }
                    core.tick(Timestamp::from_seconds(now)).await
                };
                let (taken, ticked) = tokio::join!(futures_util::future::join_all(takes), tick);
                ticked.unwrap();
                for taken in taken {
                    taken.unwrap();
                }
            }
            6..=8 => {
                now += noise.below(12) as i64;
                core.tick(Timestamp::from_seconds(now)).await.unwrap();
            }
            _ => {
                // The second report of a step is refused or not: both are inputs.
                drop(core.event(event(now, events)).await);
                events += 1;
            }
        }
        if step % 12 == 11 {
            let to = root.join(format!("image-{step}"));
            image(&live, &to);
            images.push(to);
        }
    }
    core.stop().await;
    Core::ended(core.ending()).await;
    images.push(live);
    images
}

#[tokio::test]
async fn a_start_from_a_saved_state_knows_what_the_whole_journal_tells() {
    let mut with_snapshots = 0;
    for seed in 1..=6 {
        let root = tempfile::tempdir().unwrap();
        let source = Kept::default();
        let images = run(seed, root.path(), &source, 2 < seed).await;
        let fetched: usize = source.0.lock().unwrap().values().map(Vec::len).sum();
        assert!(50 < fetched, "{fetched} messages were fetched");
        for (number, directory) in images.into_iter().enumerate() {
            let whole = root.path().join(format!("whole-{number}"));
            image(&directory, &whole);
            fs::remove_dir_all(whole.join(DataDir::SNAPSHOTS)).unwrap();
            let snapshots = fs::read_dir(directory.join(DataDir::SNAPSHOTS)).unwrap();
            with_snapshots += usize::from(0 < snapshots.count());
            let told = uninterrupted(&directory, &source);
            let (known, offsets) = started(&directory, Some(source.clone()));
            assert!(known == told, "seed {seed}, {}", directory.display());
            let from_all = started(&whole, Some(source.clone()));
            assert!(
                from_all == (told, offsets),
                "seed {seed}, {}",
                whole.display()
            );
        }
    }
    assert!(
        40 < with_snapshots,
        "{with_snapshots} images had a snapshot"
    );
}

#[tokio::test]
async fn a_tick_waits_until_every_batch_before_it_is_put() {
    let root = tempfile::tempdir().unwrap();
    let (plan, keys) = (plan(), KeyHash::new(0));
    let recovery = Recovery::open(root.path(), &plan, keys, settings()).unwrap();
    let core = Core::start(&plan, keys, Some(recovery)).unwrap();
    core.ready().await.unwrap();
    let mut noise = Noise(1);
    let before = core.place(request(START, 0, &mut noise)).unwrap();
    let tick = core.tick(Timestamp::from_seconds(START + 60));
    tokio::pin!(tick);
    tokio::select! {
        biased;
        _ = &mut tick => panic!("nothing is durable yet"),
        () = std::future::ready(()) => {}
    }
    let (position, running) = before.durable().await.unwrap();
    // Each of these is made durable after the core was given the tick.
    for step in 0..50 {
        let behind = core.place(request(START, step, &mut noise)).unwrap();
        tokio::select! {
            biased;
            _ = &mut tick => panic!("the tick was taken before the batch was put"),
            durable = behind.durable() => drop(durable.unwrap()),
        }
    }
    running.done(position, None);
    tick.await.unwrap();
}

/// A directory with a deployment, some messages, and ticks around them.
async fn with_messages(root: &Path, source: &Kept) {
    let (plan, keys) = (plan(), KeyHash::new(0));
    let recovery = Recovery::open(root, &plan, keys, settings()).unwrap();
    let core = Core::start(&plan, keys, Some(recovery)).unwrap();
    core.ready().await.unwrap();
    core.event(event(START, 0)).await.unwrap();
    core.tick(Timestamp::from_seconds(START)).await.unwrap();
    // Without a loss among them, and some of them in time.
    let mut noise = Noise(1);
    for _ in 0..4 {
        source.fetch(&core, START, 0, &mut noise).await;
    }
    core.tick(Timestamp::from_seconds(START + 5)).await.unwrap();
    core.stop().await;
    Core::ended(core.ending()).await;
}

#[tokio::test]
async fn messages_that_cannot_be_fetched_again_leave_a_hole() {
    let (root, source) = (tempfile::tempdir().unwrap(), Kept::default());
    with_messages(root.path(), &source).await;
    let said = |source| {
        let known = known(root.path(), source);
        let text = String::from_utf8_lossy(&known);
        let from = text
            .rfind("[Verdict(")
            .expect("the deployment has a verdict");
        text[from..].to_owned()
    };
    let whole = said(Some(source));
    assert!(!whole.contains("lost_in_kafka"), "{whole}");
    let torn = said(None);
    assert!(torn.contains("lost_in_kafka"), "{torn}");
    assert!(torn.contains("verdict: NoData"), "{torn}");
}

/// Writes the newest snapshot anew as a version would have that saved its state in another form.
fn reform(directory: &Path, from: u32, to: u32) {
    let directory = DataDir::open(directory).unwrap();
    let (mut snapshots, newest, _) = directory.load().unwrap();
    let newest = newest.expect("a state was saved");
    let (_, of_engine) = saver::decode(&newest.state).unwrap();
    let at = newest.state.len() - of_engine.len();
    let mut state = newest.state.clone();
    assert_eq!(u32::from(state[at]), from);
    state[at] = to as u8;
    snapshots.write(&newest.head, &state).unwrap();
    let earlier = newest.path;
    let (_, now, _) = directory.load().unwrap();
    assert_ne!(now.unwrap().path, earlier, "it is the newest");
}

#[tokio::test]
async fn a_state_of_an_earlier_form_is_not_needed_where_the_journal_is() {
    let (root, source) = (tempfile::tempdir().unwrap(), Kept::default());
    let root = root.path();
    with_messages(root, &source).await;
    let told = uninterrupted(root, &source);
    let (known, offsets) = started(root, Some(source.clone()));
    assert!(known == told && offsets.contains(TOPIC), "{offsets}");
    let starts = || {
        let journal = DataDir::open(root).unwrap().read_all().unwrap();
        let starts = journal.filter_map(|entry| match entry.unwrap().1 {
            Entry::Start(change) => Some(change.is_other()),
            _ => None,
        });
        starts.collect::<Vec<_>>()
    };
    assert!(starts().is_empty());
    let (earlier, later) = (STATE_VERSION - 1, STATE_VERSION + 1);
    reform(root, STATE_VERSION, earlier);
    // Each of them is killed before it saves a state of its own.
    for _ in 0..2 {
        let (known, of_again) = started(root, Some(source.clone()));
        assert!(known == told);
        assert_eq!(of_again, offsets, "nothing is read twice, nor passed over");
        assert_eq!(starts(), [false], "it is recorded that all was judged anew");
    }
    reform(root, earlier, later);
    let later = Recovery::open(root, &plan(), KeyHash::new(1), settings());
    let problem = later.unwrap_err();
    assert!(matches!(problem, RecoveryError::State(_)), "{problem}");
    let cause = std::error::Error::source(&problem).unwrap().to_string();
    assert!(cause.contains("move the folder snapshots away"), "{cause}");
}

/// A source that is away for good.
#[derive(Debug)]
struct Gone;

impl Refetch for Gone {
    fn refetch(&mut self, _: &OffsetRange, _: &mut dyn FnMut(&Batch)) -> Result<Refetched, Away> {
        Err(Away {
            reason: "no broker answers".to_owned(),
        })
    }
}

#[tokio::test]
async fn a_start_waits_for_its_source_until_it_is_told_to_end() {
    let root = tempfile::tempdir().unwrap();
    with_messages(root.path(), &Kept::default()).await;
    let (plan, keys) = (plan(), KeyHash::new(1));
    let mut recovery = Recovery::open(root.path(), &plan, keys, settings()).unwrap();
    recovery.refetch_by(Some(Box::new(Gone)));
    let (orders, _inbox) = mpsc::channel(1);
    let sequence = Sequence::new(orders, true, plan.lateness, plan.resolution);
    let published = Published::new(Stats::none());
    thread::scope(|scope| {
        let recording = Arc::new(Recording::default());
        let (sequence, published) = (&sequence, &published);
        let replay = scope.spawn(move || recovery.replay(sequence, published, &recording));
        while !published.waits_for_source() {
            assert!(!replay.is_finished(), "it does not end by itself");
            thread::yield_now();
        }
        sequence.close();
        let ended = replay.join().unwrap();
        assert!(matches!(ended, Err(RecoveryError::Asked)));
    });
}

#[tokio::test]
async fn what_is_fetched_together_stands_together() {
    let (plan, keys) = (plan(), KeyHash::new(0));
    let root = tempfile::tempdir().unwrap();
    let recovery = Recovery::open(root.path(), &plan, keys, settings()).unwrap();
    let core = Core::start(&plan, keys, Some(recovery)).unwrap();
    core.ready().await.unwrap();
    let entries = || {
        vec![
            Entry::Consumed(range(0, 0, 5)),
            Entry::Consumed(range(0, 5, 9)),
        ]
    };
    let taken = fetched::record(&core, entries()).await.unwrap();
    let places: Vec<Position> = taken.iter().map(|durable| durable.position).collect();
    assert!(places[0] < places[1]);
    assert_eq!(taken[0].epoch, taken[1].epoch);
    drop(taken);
    core.stop().await;
    Core::ended(core.ending()).await;
    fetched::record(&core, entries()).await.unwrap_err();
}

/// What a showing costs grows with the gates: shown at each event, they would make a start cost the square of
/// the deployments in its journal.
#[tokio::test]
async fn a_start_shows_its_gates_the_rarer_the_more_there_are() {
    const COUNT: usize = 100;
    let root = tempfile::tempdir().unwrap();
    let (plan, keys) = (plan(), KeyHash::new(0));
    let recovery = Recovery::open(root.path(), &plan, keys, settings()).unwrap();
    let core = Core::start(&plan, keys, Some(recovery)).unwrap();
    core.ready().await.unwrap();
    for number in 0..COUNT {
        let at = Timestamp::from_seconds(START);
        let deployment = format!("d{number}");
        let begin = DeploymentEvent::Begin(Begin {
            at,
            deployment: deployment.clone(),
            service: "web".to_owned(),
            stage: "onebox".to_owned(),
            region: None,
            version: format!("v{number}"),
            one_box: vec!["h0".to_owned()],
            fleet: Vec::new(),
            weight: 1.0,
            hotfix: None,
        });
        core.event(begin).await.unwrap();
        core.event(DeploymentEvent::End(End { at, deployment }))
            .await
            .unwrap();
    }
    core.stop().await;
    Core::ended(core.ending()).await;

    let recovery = Recovery::open(root.path(), &plan, keys, settings()).unwrap();
    let (orders, _inbox) = mpsc::channel(1);
    let sequence = Sequence::new(orders, true, plan.lateness, plan.resolution);
    let published = Published::new(Stats::none());
    let recording = Arc::new(Recording::default());
    drop(recovery.replay(&sequence, &published, &recording).unwrap());
    let board = published.board().unwrap();
    assert_eq!(board.standing, Standing::Recovering);
    assert_eq!(board.deployments.len(), COUNT);
    assert!(
        board
            .deployments
            .values()
            .all(|deployment| deployment.is_ended)
    );
    let showings = *published.watch().borrow();
    assert!(showings < 30, "{showings} showings of {} events", 2 * COUNT);
}

/// A sender whose answer was lost with the engine sends its log records once more.
#[tokio::test]
async fn log_records_that_come_again_after_a_restart_count_once() {
    let root = tempfile::tempdir().unwrap();
    let (live, image_of_it) = (root.path().join("live"), root.path().join("image"));
    let body = Body {
        format: Format::LokiPushJson,
        encoding: Encoding::Identity,
        bytes: Bytes::from(format!(
            r#"{{"streams": [{{"stream": {{"service": "web"}}, "values": [["{START}000000000", "a"]]}}]}}"#
        )),
    };
    let mut answers = Vec::new();
    for directory in [&live, &image_of_it] {
        let (plan, keys) = (plan(), KeyHash::new(0));
        let recovery = Recovery::open(directory, &plan, keys, settings()).unwrap();
        let core = Core::start(&plan, keys, Some(recovery)).unwrap();
        core.ready().await.unwrap();
        let labels = Selector::new(Arc::clone(&plan)).stream_labels().clone();
        let metrics = Arc::new(Metrics::new(Timestamp::from_seconds(START)));
        let intake = Intake::new(core.clone(), metrics, &plan, labels);
        answers.push(intake.take(Source::Loki, body.clone()).await.unwrap());
        // As a kill would leave it.
        if directory == &live {
            image(&live, &image_of_it);
        }
        core.stop().await;
        Core::ended(core.ending()).await;
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].sent, 1);
    let entries = DataDir::open(&image_of_it).unwrap().read_all().unwrap();
    let is_batch = |entry: &Entry| matches!(entry, Entry::Batch(_));
    let batches = entries.filter(|entry| is_batch(&entry.as_ref().unwrap().1));
    assert_eq!(batches.count(), 1);
}
