//! Hotfixes, overrides, ends and configurations read anew, each told once, at random moments between kills.
//!
//! One that was acknowledged is in force and in the history; one that was refused is in neither; one that
//! got no answer is in both or in neither.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Value, json};
use sluice::ledger::{Entry, Kind};

use super::{
    engine::Site,
    http,
    random::{Random, unix_millis},
};

/// Most deployments of a run.
const DEPLOYMENTS_MAX: u64 = 600;

/// What became of something that was told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Taken,
    Refused,
    /// The engine was killed, before or after it took it.
    None,
}

/// A deployment, and what somebody did to it.
#[derive(Debug)]
pub(crate) struct Act {
    deployment: String,
    by: String,
    is_hotfix: bool,
    begun: Answer,
    bypassed: Option<Answer>,
    /// Of somebody who had the configuration read anew meanwhile.
    reloaded: Option<Answer>,
}

/// Somebody who acts until told to stop.
pub(crate) struct Acting {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Act>>,
}

impl Acting {
    pub(crate) fn start(site: &Arc<Site>, mut random: Random) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (site, over) = (Arc::clone(site), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            let mut acts = Vec::new();
            for number in 0..DEPLOYMENTS_MAX {
                if over.load(Ordering::Acquire) {
                    break;
                }
                acts.push(act(&site, number, &mut random));
            }
            acts
        });
        Self { is_over, thread }
    }

    pub(crate) fn stop(self) -> Vec<Act> {
        self.is_over.store(true, Ordering::Release);
        self.thread.join().unwrap()
    }
}

/// Begins a deployment, and does something to it.
fn act(site: &Site, number: u64, random: &mut Random) -> Act {
    let (deployment, by) = (format!("act-{number}"), format!("ana-{number}"));
    let is_hotfix = random.below(2) == 0;
    let mut begin = json!({
        "deployment": deployment, "service": "desk", "stage": "manual", "version": format!("v{number}"),
    });
    if is_hotfix {
        let expires = unix_millis() / 1_000 + 3_600;
        begin["hotfix"] = json!({
            "by": by, "reason": "outage", "ticket": "OPS-1",
            "expires": sluice::event::Timestamp::from_seconds(expires).to_string(),
        });
    }
    let begun = tell(site, "/api/v1/deployments", &begin);
    let path = |what: &str| format!("/api/v1/deployments/{deployment}/{what}");
    let mut act = Act {
        deployment: deployment.clone(),
        by: by.clone(),
        is_hotfix,
        begun,
        bypassed: None,
        reloaded: None,
    };
    if random.below(4) == 0 {
        act.reloaded = Some(tell(site, "/-/reload", &json!({})));
    }
    if begun == Answer::Refused {
        return act;
    }
    let outcome = ["passed", "failed"][usize::from(!is_hotfix)];
    let step = json!({"step": "approval", "outcome": outcome});
    if random.below(2) == 0 {
        tell(site, &path("steps"), &step);
    }
    if !is_hotfix {
        let bypass = json!({"by": by, "reason": "known", "ticket": "OPS-2"});
        act.bypassed = Some(tell(site, &path("bypass"), &bypass));
    }
    if random.below(2) == 0 {
        tell(site, &path("end"), &json!({}));
    }
    act
}

/// Tells it once.
fn tell(site: &Site, path: &str, body: &Value) -> Answer {
    let Some(at) = site.reached(Duration::from_millis(100)) else {
        return Answer::Refused;
    };
    let body = body.to_string().into_bytes();
    match http::post(at.http, path, "application/json", &body) {
        Ok(answer) if answer.status == 200 => Answer::Taken,
        // What was begun without an answer may not be there; what ended takes no more.
        Ok(answer) => {
            let text = answer.text();
            assert!(
                [404, 409, 503].contains(&answer.status),
                "{} {text}",
                answer.status
            );
            Answer::Refused
        }
        Err(_) => Answer::None,
    }
}

/// Those of the deployments that an engine knows.
pub(crate) fn known<'a>(acts: &'a [Act], verdicts: &[Value]) -> impl Iterator<Item = &'a str> {
    let known: Vec<String> = verdicts
        .iter()
        .map(|verdict| verdict["deployment"].as_str().unwrap().to_owned())
        .collect();
    acts.iter()
        .map(|act| act.deployment.as_str())
        .filter(move |id| known.iter().any(|known| known == id))
}

/// Holds what was done against the history, and against what is said in the end.
pub(crate) fn check(acts: &[Act], history: &[Entry], said: &[Value]) {
    let mut records: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in history {
        records.entry(&entry.deployment).or_default().push(entry);
    }
    let (mut taken, mut cut_off, mut kept) = (0, 0, 0);
    for act in acts {
        let records = records.remove(act.deployment.as_str()).unwrap_or_default();
        let verdict = said
            .iter()
            .find(|verdict| verdict["deployment"] == act.deployment);
        let of = |kind: Kind| records.iter().filter(move |entry| entry.kind == kind);
        let body = |entry: &&&Entry| serde_json::from_str::<Value>(entry.body.get()).unwrap();
        let begins: Vec<Value> = of(Kind::Begin).map(|entry| body(&entry)).collect();
        check_one(act, act.begun, begins.len() == 1, verdict.is_some());
        assert!(begins.len() <= 1, "{act:?}: {begins:?}");
        if let Some(begin) = begins.first() {
            let by = &begin["hotfix"]["by"];
            let expected = if act.is_hotfix {
                json!(act.by)
            } else {
                Value::Null
            };
            assert_eq!(*by, expected, "{act:?}");
        }
        if let Some(answer) = act.bypassed {
            let bypasses: Vec<Value> = of(Kind::Bypass).map(|entry| body(&entry)).collect();
            assert!(bypasses.len() <= 1, "{act:?}: {bypasses:?}");
            assert!(
                bypasses.iter().all(|bypass| bypass["by"] == act.by),
                "{act:?}"
            );
            let in_force = verdict.is_some_and(|verdict| verdict["verdict"] == "BYPASSED");
            check_one(act, answer, bypasses.len() == 1, in_force);
            let told = of(Kind::Verdict).filter(|entry| body(entry)["verdict"] == "BYPASSED");
            assert_eq!(told.count(), bypasses.len(), "{act:?}");
        }
        for answer in [Some(act.begun), act.bypassed].into_iter().flatten() {
            taken += u64::from(answer == Answer::Taken);
            cut_off += u64::from(answer == Answer::None);
        }
        kept += u64::from(act.begun == Answer::None && verdict.is_some());
    }
    let reloads = records.remove("").unwrap_or_default();
    assert!(reloads.iter().all(|entry| entry.kind == Kind::Reload));
    let told = |answer: Answer| {
        let told = acts.iter().filter(|act| act.reloaded == Some(answer));
        told.count()
    };
    let (least, most) = (
        told(Answer::Taken),
        told(Answer::Taken) + told(Answer::None),
    );
    assert!(
        (least..=most).contains(&reloads.len()),
        "{} of {least} to {most} reloads are recorded",
        reloads.len()
    );
    println!(
        "{} deployments with overrides and hotfixes: {taken} acknowledged, {cut_off} cut off, of which \
         {kept} had begun all the same; {} reloads, {least} of them acknowledged",
        acts.len(),
        reloads.len()
    );
    assert!(0 < taken && 0 < least, "something of each was acknowledged");
}

fn check_one(act: &Act, answer: Answer, is_recorded: bool, is_in_force: bool) {
    assert_eq!(is_recorded, is_in_force, "{act:?}");
    match answer {
        Answer::Taken => assert!(is_recorded, "{act:?} is lost"),
        Answer::Refused => assert!(!is_recorded, "{act:?} was refused"),
        Answer::None => {}
    }
}
