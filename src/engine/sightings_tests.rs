//! Deployments that nobody told of: how they begin, and how they end.

use std::{collections::BTreeMap, sync::Arc};

use super::{is_sighted, sighted_id};
use crate::{
    engine::{Engine, Input, Output},
    event::{
        Batch, Begin, DeploymentEvent, End, KeyHash, Kind, Labels, METRIC_NAME, Point, SeriesBlock,
        SeriesMeta, Span, Temporality, Timestamp, Unit, Value, is_invisible,
    },
    gate::{Place, VerdictState},
    plan::Plan,
};

const PLAN: &str = "
resolution: 1m
lateness: 0s
limits: {open_gates: 2}
checks: {cpu: {metric: cpu, bounds: {max: 90%}}}
services:
  shop:
    stages:
      - {name: canary, bake: 10m, checks: [cpu], policies: {open_on_new_version: true}}
      - {name: prod, steps: [t]}
";

/// A core that is shown hosts with their versions, minute by minute.
struct World {
    engine: Engine,
    now: Timestamp,
    said: Vec<String>,
}

impl World {
    fn new() -> Self {
        let plan = Plan::parse(PLAN).unwrap_or_else(|faults| panic!("{faults}"));
        Self {
            engine: Engine::new(Arc::new(plan)),
            now: Timestamp::from_seconds(1_772_359_200),
            said: Vec::new(),
        }
    }

    /// So many minutes in which hosts `name version cpu` are seen; gives what is said meanwhile, with the
    /// minute.
    fn pass(&mut self, minutes: usize, hosts: &[(&str, &str, f64)]) -> Vec<String> {
        for minute in 0..minutes {
            let series = hosts.iter().map(|(host, version, cpu)| SeriesBlock {
                labels: Labels::new([
                    (METRIC_NAME, "cpu"),
                    ("host", host),
                    ("service", "shop"),
                    ("version", version),
                ]),
                meta: SeriesMeta {
                    kind: Kind::Gauge,
                    temporality: Temporality::Cumulative,
                    unit: Unit::Ratio,
                },
                points: vec![Point {
                    at: self.now,
                    start: None,
                    // What never moves is dead.
                    value: Value::Number(*cpu + 0.01 * (minute % 2) as f64),
                }],
            });
            let batch = Batch {
                series: series.collect(),
                ..Batch::default()
            };
            self.now += Span::from_minutes(1);
            let mut outputs = Vec::new();
            self.engine.step(Input::Batch(&batch), &mut outputs);
            self.engine.step(Input::Tick(self.now), &mut outputs);
            self.hear(minute, outputs);
        }
        std::mem::take(&mut self.said)
    }

    fn hear(&mut self, minute: usize, outputs: Vec<Output>) {
        for output in outputs {
            let said = match output {
                Output::Verdict(verdict) => format!("{} {}", verdict.deployment, verdict.verdict),
                Output::Shadow(verdict) => format!("{} shadow", verdict.deployment),
                Output::Ended(end) => format!("{} ended", end.deployment),
                Output::Refused(refused) => format!("refused: {}", refused.refusal),
                Output::Forgotten(gate) => format!("{} forgotten", gate.begin.deployment),
            };
            self.said.push(format!("{minute}: {said}"));
        }
    }

    fn tell(&mut self, event: DeploymentEvent) {
        let mut outputs = Vec::new();
        self.engine.step(Input::Deployment(event), &mut outputs);
        assert!(
            !outputs
                .iter()
                .any(|output| matches!(output, Output::Refused(_)))
        );
    }

    /// Goes on from its own bytes.
    fn restart(&mut self) {
        let plan = Arc::clone(self.engine.plan());
        self.engine = Engine::restore(plan, KeyHash::new(0), &self.engine.save()).unwrap();
    }

    fn end(&mut self, id: &str) {
        self.tell(DeploymentEvent::End(End {
            at: self.now,
            deployment: id.to_owned(),
        }));
    }

    fn begin(&mut self, id: &str, stage: &str, version: &str) {
        self.tell(DeploymentEvent::Begin(Begin {
            at: self.now,
            deployment: id.to_owned(),
            service: "shop".to_owned(),
            stage: stage.to_owned(),
            region: None,
            version: version.to_owned(),
            one_box: Vec::new(),
            fleet: Vec::new(),
            weight: 1.0,
            hotfix: None,
        }));
    }

    fn open(&self) -> Vec<&str> {
        let open = self.engine.gates().filter(|gate| !gate.is_ended());
        open.map(|gate| gate.begin.deployment.as_str()).collect()
    }
}

const OLD: [(&str, &str, f64); 2] = [("h1", "v1", 0.5), ("h2", "v1", 0.5)];

fn mixed(version: &'static str, cpu: f64) -> [(&'static str, &'static str, f64); 2] {
    [("h1", version, cpu), ("h2", "v1", 0.5)]
}

#[test]
fn one_that_passed_ends_when_its_bake_is_over() {
    let mut world = World::new();
    assert_eq!(
        world.pass(10, &OLD),
        [""; 0],
        "what was there before is no deployment"
    );
    assert_eq!(
        world.pass(20, &mixed("v2", 0.5)),
        [
            "0: shop:canary::v2 PENDING",
            "10: shop:canary::v2 PASS",
            "10: shop:canary::v2 ended"
        ]
    );
    assert_eq!(world.open(), [""; 0]);
    assert_eq!(world.pass(20, &mixed("v2", 0.95)), [""; 0], "it is known");
}

#[test]
fn one_that_failed_ends_when_its_version_is_gone_and_begins_anew_when_it_comes_back() {
    let mut world = World::new();
    world.pass(10, &OLD);
    assert_eq!(
        world.pass(60, &mixed("v2", 0.95)),
        ["0: shop:canary::v2 PENDING", "1: shop:canary::v2 FAIL"],
        "it fails as long as the version is there"
    );
    assert_eq!(
        world.pass(60, &[]),
        [""; 0],
        "silence says nothing of versions"
    );
    world.pass(1, &mixed("v2", 0.95));
    assert_eq!(world.pass(40, &OLD), ["29: shop:canary::v2 ended"]);
    // A restart in between changes nothing.
    world.restart();
    assert_eq!(
        world.pass(2, &mixed("v2", 0.5)),
        ["0: shop:canary:~2:v2 PENDING"]
    );
    world.restart();
    assert_eq!(
        world.pass(20, &mixed("v2", 0.5)),
        ["8: shop:canary:~2:v2 PASS", "8: shop:canary:~2:v2 ended"]
    );
}

#[test]
fn a_version_of_the_start_that_comes_back_is_a_deployment() {
    let mut world = World::new();
    world.pass(10, &OLD);
    let new = [("h1", "v2", 0.5), ("h2", "v2", 0.5)];
    world.pass(20, &new);
    // Back before it is gone: what was there is still known.
    assert_eq!(world.pass(1, &OLD), [""; 0]);
    world.pass(40, &new);
    world.restart();
    assert_eq!(world.pass(1, &OLD), ["0: shop:canary::v1 PENDING"]);
}

#[test]
fn after_a_silence_hosts_may_come_back_one_after_the_other() {
    let mut world = World::new();
    world.pass(10, &mixed("v2", 0.5));
    world.pass(60, &[]);
    assert_eq!(world.pass(4, &[("h1", "v2", 0.5)]), [""; 0]);
    assert_eq!(world.pass(5, &mixed("v2", 0.5)), [""; 0]);
    world.pass(40, &[("h1", "v2", 0.5)]);
    assert_eq!(
        world.pass(1, &mixed("v2", 0.5)),
        ["0: shop:canary::v1 PENDING"]
    );
}

#[test]
fn what_was_told_of_a_version_does_not_speak_for_its_return() {
    for is_ended in [false, true] {
        let mut world = World::new();
        world.pass(10, &OLD);
        world.begin("told", "canary", "v2");
        let new = [("h1", "v2", 0.5), ("h2", "v2", 0.5)];
        assert_eq!(world.pass(12, &new), ["9: told PASS"]);
        if is_ended {
            world.end("told");
        }
        world.pass(1, &[("h1", "v3", 0.5), ("h2", "v3", 0.5)]);
        world.pass(40, &[("h1", "v3", 0.5), ("h2", "v3", 0.5)]);
        world.restart();
        assert_eq!(
            world.pass(1, &new),
            ["0: shop:canary::v2 PENDING"],
            "{is_ended}"
        );
        // One that is told of before it is seen speaks for it.
        world.pass(45, &[("h1", "v3", 0.5), ("h2", "v3", 0.5)]);
        world.begin("again", "canary", "v2");
        world.end("again");
        assert_eq!(world.pass(5, &new), [""; 0], "{is_ended}");
    }
}

#[test]
fn the_id_of_a_forgotten_deployment_is_not_given_again() {
    let mut world = World::new();
    world.pass(10, &OLD);
    world.pass(5, &mixed("v2", 0.5));
    world.pass(40, &OLD);
    // Another at the place, and a day: the first is forgotten.
    world.begin("told", "canary", "v3");
    world.end("told");
    let said = world.pass(26 * 60, &OLD);
    assert!(
        said.iter().any(|said| said.ends_with("v2 forgotten")),
        "{said:?}"
    );
    world.restart();
    assert_eq!(
        world.pass(1, &mixed("v2", 0.5)),
        ["0: shop:canary:~2:v2 PENDING"]
    );
}

#[test]
fn the_next_one_at_its_place_ends_it() {
    let mut world = World::new();
    world.pass(10, &OLD);
    world.pass(2, &mixed("v2", 0.5));
    assert_eq!(
        world.pass(1, &mixed("v3", 0.5)),
        ["0: shop:canary::v3 PENDING", "0: shop:canary::v2 ended"]
    );
    // One that a deployer tells of does too, also of the same version.
    world.pass(1, &mixed("v3", 0.5));
    world.begin("told", "canary", "v3");
    assert_eq!(
        world.pass(1, &mixed("v3", 0.5)),
        ["0: shop:canary::v3 ended"]
    );
    assert_eq!(world.open(), ["told"]);
}

#[test]
fn a_version_for_which_there_was_no_room_is_not_lost() {
    let mut world = World::new();
    world.pass(10, &OLD);
    world.begin("p1", "prod", "v7");
    world.begin("p2", "prod", "v8");
    let full = "2 gates are open: end deployments, or raise limits.open_gates";
    assert_eq!(
        world.pass(11, &mixed("v2", 0.5)),
        [4, 9].map(|minute| format!("{minute}: refused: {full}"))
    );
    world.end("p1");
    assert_eq!(
        world.pass(1, &mixed("v2", 0.5)),
        ["0: shop:canary::v2 PENDING"]
    );
    let verdict = world.engine.verdict("shop:canary::v2").unwrap();
    assert_eq!(verdict.verdict, VerdictState::Pending);
}

#[test]
fn no_two_deployments_have_one_id() {
    let names = [
        "a", "a-b", "b", "b-c", "c", "a:b", "a%3Ab", "a~2", "~2", ":", "", "eu",
    ];
    let mut seen = BTreeMap::new();
    for service in names {
        for stage in names {
            for region in names {
                for version in ["1", "c:1", ":1", "~2:1", "1\n\u{1b}[2J\u{202e}"] {
                    for time in [1, 2, 3] {
                        let place = Place {
                            stage: stage.to_owned(),
                            region: Some(region)
                                .filter(|name| !name.is_empty())
                                .map(str::to_owned),
                        };
                        let id = sighted_id(service, &place, version, time);
                        assert!(!id.contains(is_invisible), "{id:?}");
                        let of = (service, stage, region, version, time);
                        assert_eq!(seen.insert(id.clone(), of), None, "{id}");
                        let mut begin = Begin {
                            at: Timestamp::MIN,
                            deployment: id,
                            service: service.to_owned(),
                            stage: place.stage,
                            region: place.region,
                            version: version.to_owned(),
                            one_box: Vec::new(),
                            fleet: Vec::new(),
                            weight: 1.0,
                            hotfix: None,
                        };
                        assert!(is_sighted(&begin), "{begin:?}");
                        begin.deployment.insert(0, 'x');
                        assert!(!is_sighted(&begin), "{begin:?}");
                    }
                }
            }
        }
    }
}
