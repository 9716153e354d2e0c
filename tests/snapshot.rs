//! A core whose gates are saved and restored goes on as if nothing had happened.
//!
//! Every recording below `fixtures/recordings` is run twice: once as it is, and once with every gate
//! put back from the bytes of its own state, again and again. Both must say the same bytes.

#[path = "common/resume.rs"]
mod resume;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use proptest::prelude::*;
use resume::{encode, gates, resume};
use serde_reflection::{Samples, Tracer, TracerConfig};
use sluice::{
    engine::{Engine, GatesError, Input, Output},
    event::{Batch, DeploymentEvent, Timestamp},
    gate::{GateState, Line, LineKind, RestoreError, STATE_VERSION},
    journal::{Entry, Reader},
    plan::Plan,
    source::recording::{Inputs, Recording},
};

/// How often gates are put back where nothing happens: each so many ticks.
const TICKS: usize = 7;

#[test]
fn every_recording_goes_on_from_saved_gates() {
    let mut seen = BTreeSet::new();
    let runs = recordings()
        .into_iter()
        .map(|name| (Run::load(&name), name));
    let others = [
        (Run::incident(), "an incident by sigma".to_owned()),
        (Run::early(), "an early begin".to_owned()),
    ];
    for (run, name) in runs.chain(others) {
        let mut engine = Engine::new(Arc::clone(&run.plan));
        let mut lines = Vec::new();
        let mut ticks = 0;
        for happening in &run.happenings {
            let said = happening.step(&mut engine);
            let is_event = matches!(happening, Happening::Deployment(_));
            ticks += usize::from(matches!(happening, Happening::Tick(_)));
            let is_turn = matches!(happening, Happening::Tick(_)) && ticks % TICKS == 0;
            if is_event || is_turn || !said.is_empty() {
                resume(&mut engine);
                note(&engine, &mut seen);
            }
            lines.extend(said);
        }
        lines.extend(finals(&engine));
        assert!(lines == run.lines, "{name} goes on otherwise");
    }
    let missing: Vec<&&str> = MUST_SEE
        .iter()
        .filter(|word| !seen.contains(**word))
        .collect();
    assert!(missing.is_empty(), "no gate was put back with {missing:?}");
}

/// What gates must have been put back with, or the test proves little: words of their text.
const MUST_SEE: &[&str] = &[
    // Verdicts and findings.
    "state: Pending",
    "state: Pass",
    "state: Fail",
    "state: NoData",
    "state: Bypassed",
    "state: Warming",
    "state: Undecided",
    "state: Breach",
    "finding: None",
    "bypass: Some",
    "held: [NotPassed",
    "held: [OtherRegion",
    "held: [Unhealthy",
    "held: [Peak",
    "held: [FailedElsewhere",
    "shadow: Some",
    "Passed}",
    // Detectors that have learned.
    "Run {",
    "judged: [Some",
    "is_proven: true",
    "is_failed: true",
    "peak: Some",
    "Found {",
    "Watched(",
    "FleetMoved",
    "Streak {",
    "Outcome {",
    "Hosts(HostsTest",
    "Suspicion {",
    "Counts(CountsTest",
    "OwnPast(OwnPastTest",
    "twin: Some",
    "relapse: Some",
    "flat: Some",
    "dead_at: Some",
    "Heard {",
    "loss: Some",
    "NaN",
];

fn note(engine: &Engine, seen: &mut BTreeSet<&'static str>) {
    let texts = gates(engine);
    for word in MUST_SEE {
        if !seen.contains(word) && texts.iter().any(|text| text.contains(word)) {
            seen.insert(word);
        }
    }
}

/// A state is read by whoever writes the same version, and by nobody else.
#[test]
fn the_form_of_a_state_changes_only_with_its_version() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/state");
    let form_path = golden.join(format!("v{STATE_VERSION}.form.txt"));
    let bytes_path = golden.join(format!("v{STATE_VERSION}.gates"));
    if !form_path.exists() && env::var_os("UPDATE_EXPECT").is_some() {
        // Never over those of the same version: that is what the version is for.
        let states = representatives();
        fs::create_dir_all(&golden).expect("the folder can be made");
        fs::write(&form_path, form(&states)).expect("the form can be written");
        fs::write(&bytes_path, framed(&states)).expect("the states can be written");
    }
    assert!(
        form_path.exists(),
        "version {STATE_VERSION} has no form yet: run with UPDATE_EXPECT=1, and remove the one before"
    );
    let states = unframed(&read(&bytes_path));
    for bytes in &states {
        let state = GateState::decode(bytes).expect("a state of this version is read");
        assert!(
            state.encode() == *bytes,
            "it is written otherwise: raise STATE_VERSION"
        );
    }
    let expected = read(&form_path);
    let (expected, found) = (String::from_utf8_lossy(&expected), form(&states));
    let lines = expected.lines().zip(found.lines());
    let first = lines
        .enumerate()
        .find(|(_, (expected, found))| expected != found);
    assert!(
        expected == found,
        "the form of a state has changed, first {first:?}: raise STATE_VERSION"
    );
    let versions = fs::read_dir(&golden)
        .expect("the folder can be read")
        .count();
    assert_eq!(
        versions, 2,
        "fixtures/state holds more than version {STATE_VERSION}"
    );
}

/// Every struct and enum of the states, with fields and variants by name, order and type.
fn form(states: &[Vec<u8>]) -> String {
    let mut tracer = Tracer::new(TracerConfig::default().is_human_readable(false));
    let mut samples = Samples::new();
    for bytes in states {
        let traced = tracer.trace_value(&mut samples, &decoded(bytes));
        traced.unwrap_or_else(|error| panic!("{error}: {}", error.explanation()));
    }
    // Lists that are empty and options that are absent in all states stay unknown.
    format!("{:#?}\n", tracer.registry_unchecked())
}

/// The shortest states that hold something of each kind.
fn representatives() -> Vec<Vec<u8>> {
    let recorded = recordings().into_iter().map(|name| Run::load(&name));
    let mut states = BTreeSet::new();
    for run in recorded.chain([Run::incident(), Run::early()]) {
        let mut engine = Engine::new(Arc::clone(&run.plan));
        for (index, happening) in run.happenings.iter().enumerate() {
            let said = happening.step(&mut engine);
            if !said.is_empty() || index.is_multiple_of(40) {
                states.extend(
                    encode(&engine)
                        .into_iter()
                        .map(|bytes| (bytes.len(), bytes)),
                );
            }
        }
    }
    let mut missing: Vec<&str> = MUST_SEE.iter().chain(&MUST_HOLD).copied().collect();
    let mut kept = Vec::new();
    for (_, bytes) in states {
        let text = format!("{:?}", decoded(&bytes));
        let before = missing.len();
        missing.retain(|word| !text.contains(word));
        if missing.len() < before {
            kept.push(bytes);
        }
    }
    assert!(missing.is_empty(), "no state holds {missing:?}");
    kept
}

/// What the states that are kept must hold beside [`MUST_SEE`].
const MUST_HOLD: [&str; 3] = ["Fresh(FreshTest", "NoPast", "gap: "];

/// Lengths before states.
fn framed(states: &[Vec<u8>]) -> Vec<u8> {
    let framed = states.iter().map(|state| {
        let len = u32::try_from(state.len()).expect("a golden state is short");
        [&len.to_le_bytes()[..], state].concat()
    });
    framed.collect::<Vec<_>>().concat()
}

fn unframed(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut states = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk() {
        let (state, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
        states.push(state.to_vec());
        bytes = rest;
    }
    assert!(
        bytes.is_empty() && !states.is_empty(),
        "the file of states is whole"
    );
    states
}

#[test]
fn a_state_with_more_behind_it_or_less_is_refused() {
    let state = &MIDWAY[0].states[0];
    let longer = [&**state, &[0, 1, 2]].concat();
    let error = GateState::decode(&longer).err();
    assert_eq!(error, Some(RestoreError::TrailingBytes { count: 3 }));
    for len in 0..state.len() {
        let error = GateState::decode(&state[..len]).err();
        assert!(
            matches!(error, Some(RestoreError::Malformed(_))),
            "{len}: {error:?}"
        );
    }
}

#[test]
fn gates_are_refused_beside_other_hosts_and_metrics() {
    let mut unsound = 0;
    for midway in MIDWAY.iter() {
        // A core that has seen nothing knows neither.
        let mut engine = Engine::new(Arc::clone(&midway.run.plan));
        let states = midway.states.iter().map(|state| decoded(state)).collect();
        match engine.restore_gates(states) {
            Err(GatesError::Gate(error)) => {
                assert!(matches!(*error, RestoreError::Unsound { .. }), "{error}");
                unsound += 1;
            }
            // Some have not learned of any yet.
            Err(GatesError::Refused { .. } | GatesError::Twice { .. }) | Ok(()) => {}
        }
    }
    assert!(10 < unsound, "{unsound} recordings were refused");
}

#[test]
fn gates_are_refused_under_another_plan_and_nothing_changes() {
    let midway = &MIDWAY[0];
    let mut engine = midway.engine();
    let before = gates(&engine);
    let state = || decoded(&midway.states[0]);
    let deployment = state().begin.deployment;
    let twice = engine.restore_gates(vec![state(), state()]);
    assert_eq!(
        twice,
        Err(GatesError::Twice {
            deployment: deployment.clone()
        })
    );
    assert_eq!(gates(&engine), before);

    let service = state().begin.service;
    let with = |change: &dyn Fn(&mut Plan)| {
        let mut plan = (*midway.run.plan).clone();
        change(&mut plan);
        Engine::new(Arc::new(plan)).restore_gates(vec![state()])
    };
    let other = with(&|plan| plan.digest = "another".to_owned());
    let expected = RestoreError::OtherConfiguration {
        deployment: deployment.clone(),
        saved: midway.run.plan.digest.clone(),
        given: "another".to_owned(),
    };
    assert_eq!(other, Err(GatesError::Gate(Box::new(expected))));

    let fewer = with(&|plan| {
        let service = plan
            .services
            .get_mut(&service)
            .expect("the service is configured");
        for stage in &mut service.stages {
            stage.checks.truncate(1);
        }
    });
    let Err(GatesError::Gate(error)) = fewer else {
        panic!("{fewer:?}");
    };
    assert!(
        matches!(*error, RestoreError::OtherChecks { .. }),
        "{error}"
    );

    let none = with(&|plan| {
        plan.services.remove(&service);
    });
    assert!(matches!(none, Err(GatesError::Refused { .. })), "{none:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_no_state(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(GateState::decode(&bytes).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    /// What was damaged is refused, or goes on without a panic: which verdict it comes to is up to
    /// the checksum around it.
    #[test]
    fn a_damaged_state_never_panics(recording in 0..1_000usize, damage in damages()) {
        let small = &SMALL;
        let midway = small[recording % small.len()];
        let mut bytes = midway.states[0].clone();
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(state) = GateState::decode(&bytes) {
            let mut engine = midway.engine();
            if engine.restore_gates(vec![state]).is_ok() {
                for happening in midway.run.happenings[midway.at..].iter().take(90) {
                    happening.step(&mut engine);
                }
                prop_assert!(!finals(&engine).is_empty());
            }
        }
    }
}

/// A few bytes that are overwritten: with what lengths and ids are made of, or with anything.
fn damages() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let byte = prop_oneof![
        Just(0x00),
        Just(0x01),
        Just(0x7f),
        Just(0x80),
        Just(0xff),
        any::<u8>()
    ];
    proptest::collection::vec((any::<usize>(), byte), 1..4)
}

/// A recording somewhere after its deployment began.
struct Midway {
    run: Run,
    /// How many happenings are over.
    at: usize,
    states: Vec<Vec<u8>>,
}

/// Every recording in the middle of its first bake, or where it was decided.
static MIDWAY: LazyLock<Vec<Midway>> = LazyLock::new(|| {
    recordings()
        .iter()
        .map(|name| Midway::of(Run::load(name)))
        .collect()
});

/// Those that run fast enough to be run a thousand times.
static SMALL: LazyLock<Vec<&Midway>> = LazyLock::new(|| {
    let is_small = |midway: &&Midway| midway.run.points < 3_000 && midway.at < 1_500;
    let small: Vec<&Midway> = MIDWAY.iter().filter(is_small).collect();
    assert!(3 < small.len(), "{} small recordings", small.len());
    small
});

impl Midway {
    fn of(run: Run) -> Self {
        let mut engine = Engine::new(Arc::clone(&run.plan));
        let mut open = 0;
        let mut at = 0;
        for (index, happening) in run.happenings.iter().enumerate() {
            happening.step(&mut engine);
            at = index + 1;
            open += usize::from(0 < engine.open_gates());
            if 120 < open {
                break;
            }
        }
        let states = encode(&engine);
        Self { run, at, states }
    }

    /// A core that has come so far.
    fn engine(&self) -> Engine {
        let mut engine = Engine::new(Arc::clone(&self.run.plan));
        for happening in &self.run.happenings[..self.at] {
            happening.step(&mut engine);
        }
        engine
    }
}

/// A recording, and what it says when nobody interferes.
struct Run {
    plan: Arc<Plan>,
    happenings: Vec<Happening>,
    lines: Vec<String>,
    points: usize,
}

/// An input that is kept.
enum Happening {
    Batch(Batch),
    Deployment(DeploymentEvent),
    Tick(Timestamp),
}

impl Happening {
    /// Steps the core; gives what it says.
    fn step(&self, engine: &mut Engine) -> Vec<String> {
        let mut outputs = Vec::new();
        engine.step(
            match self {
                Self::Batch(batch) => Input::Batch(batch),
                Self::Deployment(event) => Input::Deployment(event.clone()),
                Self::Tick(now) => Input::Tick(*now),
            },
            &mut outputs,
        );
        let said = outputs.into_iter().map(|output| match output {
            Output::Verdict(verdict) => line(LineKind::Verdict, *verdict),
            Output::Shadow(verdict) => line(LineKind::Shadow, *verdict),
            Output::Ended(end) => panic!("{end:?}"),
            Output::Refused(refusal) => panic!("{refusal}"),
            Output::Forgotten(gate) => panic!("{gate:?}"),
        });
        said.collect()
    }
}

impl Run {
    fn load(name: &str) -> Self {
        let run = Self::open(name, None);
        let expected = read(&folder().join(name).join("expected.jsonl"));
        let found = run.lines.join("\n") + "\n";
        assert!(
            found.as_bytes() == expected,
            "{name} is not run as the replay runs it"
        );
        run
    }

    /// An incident of the whole fleet, seen by a check that asks the fleet.
    fn incident() -> Self {
        let plan = "checks: {latency: {metric: http_latency_p99_seconds, sigma: {}}}\n\
                    services: {shop: {stages: [{name: onebox, bake: 1h, checks: [latency]}]}}\n";
        let plan = Plan::parse(plan).unwrap_or_else(|faults| panic!("{faults}"));
        Self::open("a_fleet_wide_incident", Some(plan))
    }

    /// A deployment that begins before anything is known of its hosts.
    fn early() -> Self {
        let plan = "checks: {all: {metric: '*', compare: {}}, own: {metric: '*', sigma: {}}}\n\
                    services: {shop: {stages: [{name: onebox, bake: 1h, checks: [all, own]}]}}\n";
        let plan = Plan::parse(plan).unwrap_or_else(|faults| panic!("{faults}"));
        let mut run = Self::open("a_fleet_wide_incident", Some(plan));
        let is_event = |happening: &Happening| matches!(happening, Happening::Deployment(_));
        let Some(begins) = run.happenings.iter().position(is_event) else {
            panic!("a deployment begins");
        };
        let Happening::Deployment(event) = run.happenings.remove(begins) else {
            panic!("a deployment begins");
        };
        let Some(Happening::Tick(first)) = run.happenings.first() else {
            panic!("a recording begins with a tick");
        };
        let event = event.at_time(*first);
        run.happenings.insert(1, Happening::Deployment(event));
        run.lines.clear();
        run.play(Timestamp::MIN);
        run
    }

    fn open(name: &str, plan: Option<Plan>) -> Self {
        let folder = folder().join(name);
        let recording = Recording::open(std::slice::from_ref(&folder), None, None)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let plan = plan.map_or(recording.plan, Arc::new);
        let mut end = Timestamp::MIN;
        let mut happenings = Vec::new();
        match recording.inputs {
            Inputs::Timeline(timeline) => {
                for step in timeline.into_steps() {
                    end = end.max(step.bucket.end);
                    happenings.push(Happening::Tick(step.bucket.start));
                    happenings.extend(step.events.into_iter().map(Happening::Deployment));
                    happenings.push(Happening::Batch(step.batch));
                    happenings.push(Happening::Tick(step.bucket.end));
                }
            }
            Inputs::Journal(_) => happenings = journal(&folder.join("inputs.journal"), &plan),
        }
        let mut run = Self {
            plan,
            happenings,
            lines: Vec::new(),
            points: 0,
        };
        run.play(end);
        run
    }

    /// Runs it as it is, and on to the end of the last bake, a bucket at a time.
    fn play(&mut self, end: Timestamp) {
        let mut engine = Engine::new(Arc::clone(&self.plan));
        for happening in &self.happenings {
            self.lines.extend(happening.step(&mut engine));
            if let Happening::Batch(batch) = happening {
                self.points += batch
                    .series
                    .iter()
                    .map(|block| block.points.len())
                    .sum::<usize>();
                self.points += batch.logs.len();
            }
        }
        if Timestamp::MIN < end {
            let until = engine.replay_until(end);
            let mut now = end;
            while now < until {
                now = until.min(now + self.plan.resolution);
                let tick = Happening::Tick(now);
                self.lines.extend(tick.step(&mut engine));
                self.happenings.push(tick);
            }
        }
        self.lines.extend(finals(&engine));
    }
}

fn journal(path: &Path, plan: &Plan) -> Vec<Happening> {
    let open = |path: &Path| -> std::io::Result<Box<dyn std::io::Read + Send>> {
        Ok(Box::new(std::io::Cursor::new(read(path))))
    };
    let reader = Reader::of_files(&[path.to_owned()], open).expect("the journal can be read");
    let entries = reader.map(|entry| match entry.expect("the journal is whole").1 {
        Entry::Batch(body) => {
            let batch = body.decode(plan.limits.decompressed_bytes);
            Happening::Batch(batch.expect("the journal holds what was accepted"))
        }
        Entry::Deployment(event) => Happening::Deployment(event),
        Entry::Tick(now) => Happening::Tick(now),
        Entry::Consumed(_)
        | Entry::Lost(_)
        | Entry::Plan(_)
        | Entry::Start(_)
        | Entry::OverLimit(_) => {
            panic!("the recording has none")
        }
    });
    entries.collect()
}

fn decoded(bytes: &[u8]) -> GateState {
    GateState::decode(bytes).expect("what was encoded is decoded")
}

fn finals(engine: &Engine) -> Vec<String> {
    let gates = engine.gates();
    gates
        .map(|gate| line(LineKind::Final, gate.verdict()))
        .collect()
}

fn line(kind: LineKind, verdict: sluice::gate::Verdict) -> String {
    serde_json::to_string(&Line { kind, verdict }).expect("a verdict is plain data")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recordings")
}

/// The names of all recordings, in order.
fn recordings() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("the folder can be read");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let folders = paths.filter(|path| path.is_dir());
    let mut names: Vec<String> = folders
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    assert!(20 < names.len(), "{names:?}");
    names
}

#[expect(clippy::disallowed_methods, reason = "a test that reads its fixtures")]
fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
