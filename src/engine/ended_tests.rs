//! What is forgotten of deployments that have ended, and that nothing depends on it.

use std::{collections::BTreeSet, sync::Arc};

use proptest::{collection::vec, prelude::*};

use super::{DECIDED_FOR, ENDED_FOR, ENDED_MAX, ROUND_EVENTS};
use crate::{
    engine::{Engine, Input, Output, Promotion, PromotionRequest, Refusal, may_promote},
    event::{Begin, Bypass, DeploymentEvent, End, KeyHash, Span, Step, StepOutcome, Timestamp},
    gate::{Blocker, Gate},
    plan::Plan,
};

const PLAN: &str = "
resolution: 1h
lateness: 0s
checks: {cpu: {metric: cpu, bounds: {max: 1}}}
services:
  shop:
    stages:
      - {name: alpha, steps: [t]}
      - {name: onebox, steps: [t], regions: [eu, us], policies: {one_region_at_a_time: true}}
      - {name: prod, steps: [t], regions: [eu, us]}
";
const PLACES: [(&str, Option<&str>); 5] = [
    ("alpha", None),
    ("onebox", Some("eu")),
    ("onebox", Some("us")),
    ("prod", Some("eu")),
    ("prod", Some("us")),
];

fn hour(hour: i64) -> Timestamp {
    Timestamp::from_seconds(1_772_359_200 + 3_600 * hour)
}

fn begin(at: Timestamp, id: &str, place: usize, version: &str) -> DeploymentEvent {
    let (stage, region) = PLACES[place];
    DeploymentEvent::Begin(Begin {
        at,
        deployment: id.to_owned(),
        service: "shop".to_owned(),
        stage: stage.to_owned(),
        region: region.map(str::to_owned),
        version: version.to_owned(),
        one_box: Vec::new(),
        fleet: Vec::new(),
        weight: 1.0,
        hotfix: None,
    })
}

fn step(at: Timestamp, id: &str, outcome: StepOutcome) -> DeploymentEvent {
    DeploymentEvent::Step(Step {
        at,
        deployment: id.to_owned(),
        step: "t".to_owned(),
        outcome,
    })
}

fn bypass(at: Timestamp, id: &str) -> DeploymentEvent {
    DeploymentEvent::Bypass(Bypass {
        at,
        deployment: id.to_owned(),
        by: "ana".to_owned(),
        reason: "why".to_owned(),
        ticket: "OPS-1".to_owned(),
    })
}

fn end(at: Timestamp, id: &str) -> DeploymentEvent {
    DeploymentEvent::End(End {
        at,
        deployment: id.to_owned(),
    })
}

fn plan() -> Arc<Plan> {
    Arc::new(Plan::parse(PLAN).unwrap_or_else(|faults| panic!("{faults}")))
}

fn kinds(answer: &Promotion) -> Vec<&'static str> {
    answer.blockers.iter().map(Blocker::kind).collect()
}

/// A core that remembers what it has said.
struct Run {
    engine: Engine,
    /// What it would know if it forgot nothing.
    forgotten: Vec<Gate>,
    refused: Vec<Refusal>,
}

impl Run {
    fn new() -> Self {
        Self {
            engine: Engine::new(plan()),
            forgotten: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn step(&mut self, input: Input<'_>) {
        let mut outputs = Vec::new();
        self.engine.step(input, &mut outputs);
        for output in outputs {
            match output {
                Output::Forgotten(gate) => self.forgotten.push(*gate),
                Output::Refused(refusal) => self.refused.push(refusal.refusal),
                Output::Verdict(_) | Output::Shadow(_) | Output::Ended(_) => {}
            }
        }
    }

    fn tell(&mut self, events: impl IntoIterator<Item = DeploymentEvent>) {
        for event in events {
            self.step(Input::Deployment(event));
        }
    }

    fn until(&mut self, end: i64) {
        self.step(Input::Tick(hour(end)));
    }

    fn known(&self) -> BTreeSet<&str> {
        let gates = self.engine.gates();
        gates.map(|gate| gate.begin.deployment.as_str()).collect()
    }
}

#[test]
fn an_ended_deployment_that_decides_nothing_is_forgotten_after_a_day() {
    let mut run = Run::new();
    run.until(0);
    let place = 0;
    run.tell([
        begin(hour(0), "given-up", place, "v1"),
        end(hour(0), "given-up"),
    ]);
    run.tell([
        begin(hour(0), "passed", place, "v2"),
        step(hour(0), "passed", StepOutcome::Passed),
        end(hour(0), "passed"),
    ]);
    run.tell([
        begin(hour(0), "failed", place, "v3"),
        step(hour(0), "failed", StepOutcome::Failed),
        end(hour(0), "failed"),
    ]);
    run.tell([begin(hour(0), "open", place, "v4")]);
    run.tell([
        begin(hour(1), "newest", place, "v5"),
        end(hour(1), "newest"),
    ]);
    run.until(23);
    assert_eq!(run.known().len(), 5);
    run.until(24 + 1);
    assert_eq!(run.forgotten.len(), 1);
    assert_eq!(run.forgotten[0].begin.deployment, "given-up");
    assert_eq!(ENDED_FOR, Span::from_hours(24));
    let decided: BTreeSet<&str> = ["failed", "newest", "open", "passed"].into();
    assert_eq!(run.known(), decided);
    // What failed long ago is no more than a word of the history; the latest PASS is what runs there.
    let days = DECIDED_FOR.nanos() / Span::from_hours(1).nanos();
    run.until(days + 1);
    let lasting: BTreeSet<&str> = ["newest", "open", "passed"].into();
    assert_eq!(run.known(), lasting);
    // Its id is free again.
    run.tell([begin(hour(days + 1), "failed", place, "v6")]);
    assert!(run.refused.is_empty(), "{:?}", run.refused);
}

#[test]
fn ended_deployments_beyond_the_limit_are_forgotten_oldest_first() {
    let mut run = Run::new();
    let count = 3 * ENDED_MAX;
    for number in 0..count {
        let (at, id) = (
            hour(0) + Span::from_seconds(number as i64),
            format!("d{number:05}"),
        );
        run.tell([begin(at, &id, 1, &format!("v{number}")), end(at, &id)]);
        let bound = ENDED_MAX + ROUND_EVENTS as usize + 1;
        assert!(run.engine.gates().count() <= bound, "{number}");
    }
    assert!(run.refused.is_empty());
    let mut ids = run
        .forgotten
        .iter()
        .map(|gate| gate.begin.deployment.as_str());
    assert!(ids.clone().is_sorted());
    assert_eq!(ids.next(), Some("d00000"));
    // A core that goes on from its bytes keeps the same.
    let restored = Engine::restore(plan(), KeyHash::new(0), &run.engine.save()).unwrap();
    let kept: Vec<&str> = restored
        .gates()
        .map(|gate| gate.begin.deployment.as_str())
        .collect();
    assert_eq!(kept, run.known().into_iter().collect::<Vec<_>>());
}

#[test]
fn an_id_says_that_its_deployment_has_ended() {
    let mut run = Run::new();
    run.tell([
        begin(hour(0), "d", 0, "v1"),
        end(hour(0), "d"),
        begin(hour(1), "d", 0, "v1"),
    ]);
    let refused: Vec<String> = run.refused.iter().map(ToString::to_string).collect();
    assert_eq!(
        refused,
        ["deployment \"d\" has ended: choose another id to deploy again"]
    );
}

#[test]
fn a_retried_begin_names_its_hosts_in_any_order() {
    let hosts = |at, hosts: &[&str], fleet: &[&str]| {
        let DeploymentEvent::Begin(mut event) = begin(at, "d", 0, "v1") else {
            unreachable!("it is a begin");
        };
        event.one_box = hosts.iter().map(|host| (*host).to_owned()).collect();
        event.fleet = fleet.iter().map(|host| (*host).to_owned()).collect();
        DeploymentEvent::Begin(event)
    };
    let mut run = Run::new();
    run.tell([
        hosts(hour(0), &["h1", "h2"], &["f1", "f2"]),
        hosts(hour(1), &["h2", "h1", "h2"], &["f2", "f1"]),
    ]);
    assert!(run.refused.is_empty(), "{:?}", run.refused);
    run.tell([hosts(hour(1), &["h2"], &["f2", "f1"])]);
    assert_eq!(run.refused.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Within what is remembered for a month, whoever asks hears the same as if nothing were forgotten, but
    /// for what is said of deployments that ended undecided.
    #[test]
    fn what_is_forgotten_decides_nothing(
        events in vec((0..5_usize, 0..3_usize, 0..4_usize, 0..30_i64), 1..40)
    ) {
        let mut run = Run::new();
        let mut now = 0;
        for (number, (place, version, what, later)) in events.into_iter().enumerate() {
            now = (now + later).min(700);
            run.until(now);
            let (at, id) = (hour(now), format!("d{number}"));
            run.tell([begin(at, &id, place, &format!("v{version}"))]);
            match what {
                0 => run.tell([step(at, &id, StepOutcome::Passed), end(at, &id)]),
                1 => run.tell([step(at, &id, StepOutcome::Failed), end(at, &id)]),
                2 => run.tell([bypass(at, &id), end(at, &id)]),
                _ => run.tell([end(at, &id)]),
            }
            for version in 0..3 {
                for (stage, region) in PLACES {
                    for accept_bypass in [true, false] {
                        let request = PromotionRequest {
                            service: "shop".to_owned(),
                            version: format!("v{version}"),
                            stage: Some(stage.to_owned()),
                            region: region.map(str::to_owned),
                            accept_bypass,
                            ..PromotionRequest::default()
                        };
                        let some = run.engine.may_promote(&request, at).unwrap();
                        let all = run.engine.gates().chain(&run.forgotten).map(Gate::attempt);
                        let conditions = run.engine.conditions();
                        let all = may_promote(run.engine.plan(), all, &conditions, &request, at);
                        let all = all.unwrap();
                        prop_assert_eq!(some.is_allowed(), all.is_allowed());
                        prop_assert_eq!(kinds(&some), kinds(&all));
                    }
                }
            }
        }
    }
}
