//! A start from a saved state knows what a start from the whole journal knows, wherever the engine was
//! cut off.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    core::Core,
    intake::Intake,
    metrics::{Metrics, Source},
    published::{Published, Stats},
    recorder::Recording,
    recovery::{JournalSettings, Recovery},
    sequence::Sequence,
};
use crate::{
    engine::{Engine, Input, Selector},
    event::{
        Begin, DeploymentEvent, KeyHash, Labels, METRIC_NAME, Span, Step, StepOutcome, Timestamp,
        canonical,
    },
    journal::{Body, DataDir, Encoding, Entry, Format, Limits},
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

fn settings() -> JournalSettings {
    JournalSettings {
        limits: Limits {
            segment_bytes: 4_096,
            ..Limits::default()
        },
        // At every tick for which the one before is on disk.
        snapshot_every: Span::from_nanos(1),
        commit_delay: Duration::ZERO,
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
fn known(directory: &Path) -> Vec<u8> {
    let (plan, keys) = (plan(), KeyHash::new(1));
    let recovery = Recovery::open(directory, &plan, keys, settings()).unwrap();
    let (orders, _inbox) = mpsc::channel(1);
    let sequence = Sequence::new(orders, true, plan.lateness, plan.resolution);
    let published = Published::new(Stats::none());
    let recovered = recovery
        .replay(&sequence, &published, &Arc::new(Recording::default()))
        .unwrap();
    told(recovered.engine)
}

/// What an engine knows that was never stopped: it takes the journal entry by entry.
fn uninterrupted(directory: &Path) -> Vec<u8> {
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
            Entry::Consumed(_) | Entry::Lost(_) => panic!("nothing came from Kafka"),
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
async fn run(seed: u64, root: &Path) -> Vec<PathBuf> {
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
    for step in 0..240 {
        match noise.below(10) {
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
    for seed in 1..=4 {
        let root = tempfile::tempdir().unwrap();
        for (number, directory) in run(seed, root.path()).await.into_iter().enumerate() {
            let whole = root.path().join(format!("whole-{number}"));
            image(&directory, &whole);
            fs::remove_dir_all(whole.join(DataDir::SNAPSHOTS)).unwrap();
            let snapshots = fs::read_dir(directory.join(DataDir::SNAPSHOTS)).unwrap();
            with_snapshots += usize::from(0 < snapshots.count());
            let told = uninterrupted(&directory);
            for start in [&directory, &whole] {
                let is_same = known(start) == told;
                assert!(is_same, "seed {seed}, {}", start.display());
            }
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
