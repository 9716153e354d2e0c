//! kill -9 at random points under load.

use std::{
    env,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use sluice::event::Timestamp;

use super::{
    acts::{self, Acting},
    engine::{Addresses, Site, wait_for},
    evidence::{self, Expected},
    http,
    load::{HOSTS, Load},
    random::{Random, now, unix_millis},
    run::Run,
};

/// Kills of a run for which no number is given.
const KILLS: u64 = 12;

/// How long gates bake.
const BAKE_MILLIS: i64 = 5_000;

/// Tells an engine of deployments, through all kills.
#[derive(Debug)]
pub(crate) struct Deployer {
    site: Arc<Site>,
    load: Arc<Load>,
    pub(crate) told: Vec<Expected>,
}

impl Deployer {
    pub(crate) fn new(site: &Arc<Site>, load: &Arc<Load>) -> Self {
        Self {
            site: Arc::clone(site),
            load: Arc::clone(load),
            told: Vec::new(),
        }
    }

    /// Begins a deployment that must pass, and one that must fail because of one sample.
    pub(crate) fn begin_pair(&mut self, number: u64, hot_after: i64) {
        let (good, bad) = (format!("good-{number}"), format!("bad-{number}"));
        let (healthy, hot) = (format!("g{number}"), format!("b{number}"));
        self.load.invite(&healthy);
        self.load.invite(&hot);
        let hosts = [HOSTS[0], HOSTS[1], &healthy];
        let is_known = self.begin(&good, "good", &hosts);
        self.load.visit(&healthy, None);
        self.told
            .push(Expected::new(&good, is_known.then_some("PASS")));
        let is_known = self.begin(&bad, "bad", &[&hot]);
        self.load.visit(&hot, Some(hot_after));
        self.told
            .push(Expected::new(&bad, is_known.then_some("FAIL")));
        let step = json!({"step": "tests", "outcome": "passed"});
        self.tell(&format!("/api/v1/deployments/{good}/steps"), &step);
    }

    /// Says whether it is known when it began: not if an earlier attempt was taken and not answered.
    fn begin(&self, id: &str, stage: &str, one_box: &[&str]) -> bool {
        let begin = json!({
            "deployment": id, "service": "web", "stage": stage, "version": "v2", "one_box": one_box,
        });
        let answer = self.tell("/api/v1/deployments", &begin);
        answer.is_some()
    }

    /// Tells until it is taken. `None`: it had been taken before, without an answer.
    fn tell(&self, path: &str, event: &Value) -> Option<Value> {
        let body = event.to_string().into_bytes();
        let mut is_unanswered = false;
        loop {
            let at = self.site.at();
            let Ok(answer) = http::post(at.http, path, "application/json", &body) else {
                is_unanswered = true;
                self.site.back_off(at);
                continue;
            };
            match answer.status {
                200 => return Some(answer.json()),
                503 => self.site.back_off(at),
                409 if is_unanswered => return None,
                _ => panic!("{path}: {} {}", answer.status, answer.text()),
            }
        }
    }

    /// Waits until every bake is over, then ends all deployments; gives what is said of them for good.
    pub(crate) fn end_all(&self, at: Addresses) -> Vec<Value> {
        let over = unix_millis() + BAKE_MILLIS;
        wait_for("every bake is over", || {
            let verdicts = evidence::verdicts(at).unwrap();
            verdicts.iter().all(|verdict| {
                let watermark: Timestamp = verdict["watermark"].as_str().unwrap().parse().unwrap();
                over <= watermark.millis() || verdict["final"] == true
            })
        });
        let end = |expected: &Expected| {
            let path = format!("/api/v1/deployments/{}/end", expected.deployment);
            self.tell(&path, &json!({})).unwrap()
        };
        self.told.iter().map(end).collect()
    }
}

/// Lets an engine live until a random moment.
fn live(site: &Arc<Site>, load: &Load, random: &mut Random) {
    let engine = site.start();
    match random.below(4) {
        // While it starts, reads its journal, or opens its doors; the others know of no such engine.
        0 => {
            let delay = Duration::from_millis(random.below(250));
            load.ledger.wait_at_most(delay, |_| false);
        }
        // In the middle of requests.
        1 | 2 => {
            site.at();
            let goal = load.ledger.book().acknowledged + 1 + random.below(100);
            load.ledger
                .wait("acknowledgements", |book| goal <= book.acknowledged);
        }
        // Around the time when a state is saved.
        _ => {
            site.at();
            let delay = Duration::from_millis(1_000 + random.below(500));
            load.ledger.wait_at_most(delay, |_| false);
        }
    }
    drop(engine);
}

#[test]
fn kill_minus_nine_loses_no_sample_and_counts_none_twice() {
    let given = env::var("SLUICE_CRASH_KILLS").ok();
    let kills = given.map_or(KILLS, |kills| kills.parse().expect("a number of kills"));
    let mut random = Random::of_the_run();
    let started = now();
    let site = Site::new();
    let run = Run::start(&site);
    let (pairs, inbox) = mpsc::channel::<(u64, i64)>();
    let mut deployer = Deployer::new(&site, &run.load);
    let acting = Acting::start(&site, random.another());
    let deployer = thread::spawn(move || {
        for (number, hot_after) in inbox {
            deployer.begin_pair(number, hot_after);
        }
        deployer
    });
    for kill in 0..kills {
        pairs.send((kill, random.below(1_500) as i64)).unwrap();
        live(&site, &run.load, &mut random);
    }
    let engine = site.start();
    drop(pairs);
    let mut deployer = deployer.join().unwrap();
    site.at().wait_ready();
    let acts = acting.stop();
    let verdicts = evidence::verdicts(site.at()).unwrap();
    for id in acts::known(&acts, &verdicts) {
        deployer.told.push(Expected::new(id, None));
    }
    let left = run.finish(&deployer);
    drop(engine);
    left.check(&site);
    acts::check(&acts, &evidence::history(&site), &left.said);
    println!("{kills} kills in {:?}", started.elapsed());
}
