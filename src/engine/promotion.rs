//! May a version go on, and where to: what a deployer asks before it starts.

use std::collections::BTreeMap;

use super::{Engine, Refusal};
use crate::{
    event::Timestamp,
    gate::{Asker, Attempt, Blocker, Conditions, Gate, History, Place, Start},
    plan::{Plan, ServicePlan},
};

/// The question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromotionRequest {
    /// The service.
    pub service: String,
    /// The version.
    pub version: String,
    /// The stage that it would leave; `None`: it enters the first.
    pub stage: Option<String>,
    /// The region that it would leave; `None`: the stage as a whole, all its regions.
    pub region: Option<String>,
    /// Where it would go; `None`: what comes behind in the pipeline.
    pub to_stage: Option<String>,
    /// The region where it would go; `None`: what comes behind, or all regions of `to_stage`.
    pub to_region: Option<String>,
    /// Whether a bypass counts as a pass.
    pub accept_bypass: bool,
}

/// The answer: it may go on exactly if nothing stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// Where it comes from.
    pub from: Option<Place>,
    /// Where it would go; `None`: nothing comes behind.
    pub to: Option<Place>,
    /// What stands in the way.
    pub blockers: Vec<Blocker>,
    /// When this was said.
    pub at: Timestamp,
}

impl Promotion {
    /// Whether it may go on.
    pub fn is_allowed(&self) -> bool {
        self.blockers.is_empty()
    }
}

impl Engine {
    /// May the version go on?
    ///
    /// # Errors
    /// The service, a stage or a region is not configured, or a field is missing.
    pub fn may_promote(
        &self,
        request: &PromotionRequest,
        now: Timestamp,
    ) -> Result<Promotion, Refusal> {
        let attempts = self.gates.values().map(Gate::attempt);
        may_promote(&self.plan, attempts, &self.conditions(), request, now)
    }

    /// What the stream of each service tells beside the gates.
    pub fn conditions(&self) -> BTreeMap<String, Conditions> {
        let services = self.plan.services.keys();
        services
            .map(|service| {
                (
                    service.clone(),
                    self.world.directory.conditions(service).clone(),
                )
            })
            .collect()
    }
}

/// May the version go on, by the deployments and conditions that are given?
///
/// # Errors
/// The service, a stage or a region is not configured, or a field is missing.
pub fn may_promote<'a>(
    plan: &'a Plan,
    attempts: impl Iterator<Item = Attempt<'a>>,
    conditions: &BTreeMap<String, Conditions>,
    request: &PromotionRequest,
    now: Timestamp,
) -> Result<Promotion, Refusal> {
    if request.service.is_empty() {
        return Err(Refusal::BadField {
            field: "service",
            problem: "is missing: name the service whose version would go on".to_owned(),
        });
    }
    let service = plan
        .services
        .get(&request.service)
        .ok_or_else(|| Refusal::UnknownService {
            given: request.service.clone(),
            known: plan.services.keys().cloned().collect(),
        })?;
    if request.version.is_empty() {
        return Err(Refusal::BadField {
            field: "version",
            problem: "is missing: name the version that would go on".to_owned(),
        });
    }
    let (stage, region) = (request.stage.as_ref(), request.region.as_ref());
    let from = place(service, ("stage", stage), region)?;
    let history = History::new(service, attempts);
    let (stage, region) = (request.to_stage.as_ref(), request.to_region.as_ref());
    let to = match place(service, ("to_stage", stage), region)? {
        Some(place) => Some(place),
        None => history.next(from.as_ref()),
    };
    let mut blockers = Vec::new();
    for place in from.iter().flat_map(|place| each_region(service, place)) {
        let standing = history.standing(&request.version, &place, request.accept_bypass);
        blockers.extend(standing.err());
    }
    let none = Conditions::default();
    let conditions = conditions.get(&service.name).unwrap_or(&none);
    if let Some(place) = &to
        && let Some(stage) = service
            .stages
            .iter()
            .find(|stage| stage.name == place.stage)
    {
        let start = Start {
            version: &request.version,
            stage,
            region: place.region.as_deref(),
            asker: Asker::Deployer {
                accepts_bypass: request.accept_bypass,
            },
            now,
        };
        for blocker in history.blockers(&start, conditions) {
            if !blockers.contains(&blocker) {
                blockers.push(blocker);
            }
        }
    }
    Ok(Promotion {
        from,
        to,
        blockers,
        at: now,
    })
}

fn place(
    service: &ServicePlan,
    (field, stage): (&'static str, Option<&String>),
    region: Option<&String>,
) -> Result<Option<Place>, Refusal> {
    let Some(name) = stage else {
        return match region {
            None => Ok(None),
            Some(_) => Err(Refusal::BadField {
                field,
                problem: "is missing: a region is one of a stage".to_owned(),
            }),
        };
    };
    let stage = service.stages.iter().find(|stage| stage.name == *name);
    let stage = stage.ok_or_else(|| Refusal::UnknownStage {
        service: service.name.clone(),
        given: name.clone(),
        known: service
            .stages
            .iter()
            .map(|stage| stage.name.clone())
            .collect(),
    })?;
    if let Some(region) = region
        && !stage.regions.is_empty()
        && !stage.regions.contains(region)
    {
        return Err(Refusal::UnknownRegion {
            stage: name.clone(),
            given: Some(region.clone()),
            known: stage.regions.clone(),
        });
    }
    Ok(Some(Place {
        stage: name.clone(),
        region: region.filter(|_| !stage.regions.is_empty()).cloned(),
    }))
}

fn each_region(service: &ServicePlan, place: &Place) -> Vec<Place> {
    let stage = service
        .stages
        .iter()
        .find(|stage| stage.name == place.stage);
    match (stage, &place.region) {
        (Some(stage), None) if !stage.regions.is_empty() => stage
            .regions
            .iter()
            .map(|region| Place {
                stage: stage.name.clone(),
                region: Some(region.clone()),
            })
            .collect(),
        _ => vec![place.clone()],
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        engine::{Input, Output},
        event::{Begin, Bypass, DeploymentEvent, End, Hotfix, Span, Step, StepOutcome},
        gate::VerdictState,
    };

    const PLAN: &str = "
checks: {cpu: {metric: cpu, bounds: {max: 1}}}
services:
  shop:
    stages:
      - {name: alpha, steps: [t]}
      - {name: onebox, steps: [t], regions: [eu, us], policies: {one_region_at_a_time: true}}
      - name: prod
        steps: [t]
        regions: [eu, us]
        policies: {off_peak: {zone: UTC, windows: [\"10:00-11:00\"]}}
  solo: {stages: [{name: one, steps: [t]}, {name: two, steps: [t]}]}
  calm: {stages: [{name: one, steps: [t], policies: {off_peak: learned}}]}
";

    /// 2026-03-01T10:00:00Z, when it is off-peak.
    fn start() -> Timestamp {
        Timestamp::from_seconds(1_772_359_200)
    }

    /// A core that is told of deployments `id stage/region version outcome`, one a minute: `p`assed,
    /// `f`ailed, `b`ypassed, `e`nded, or `-` under way.
    fn told(events: &[&str]) -> Engine {
        let plan = Plan::parse(PLAN).unwrap_or_else(|faults| panic!("{faults}"));
        let mut engine = Engine::new(Arc::new(plan));
        let mut outputs = Vec::new();
        for (minute, event) in (0..).zip(events) {
            let at = start() + Span::from_minutes(minute);
            let mut words = event.split(' ');
            let mut word = || words.next().unwrap().to_owned();
            let (id, place, version, outcome) = (word(), word(), word(), word());
            let (stage, region) = place.split_once('/').unwrap_or((&place, ""));
            let begin = Begin {
                at,
                deployment: id.clone(),
                service: "shop".to_owned(),
                stage: stage.to_owned(),
                region: Some(region.to_owned()).filter(|region| !region.is_empty()),
                version,
                one_box: Vec::new(),
                fleet: Vec::new(),
                weight: 1.0,
                hotfix: None,
            };
            let step = |outcome| {
                DeploymentEvent::Step(Step {
                    at,
                    deployment: id.clone(),
                    step: "t".to_owned(),
                    outcome,
                })
            };
            let then = match outcome.as_str() {
                "p" => Some(step(StepOutcome::Passed)),
                "f" => Some(step(StepOutcome::Failed)),
                "b" => Some(DeploymentEvent::Bypass(bypass(&id, "ana", "OPS-1"))),
                "e" => Some(DeploymentEvent::End(End {
                    at,
                    deployment: id.clone(),
                })),
                _ => None,
            };
            for event in [Some(DeploymentEvent::Begin(begin)), then]
                .into_iter()
                .flatten()
            {
                engine.step(Input::Deployment(event), &mut outputs);
            }
        }
        let refused = outputs
            .iter()
            .find(|output| matches!(output, Output::Refused(_)));
        assert!(refused.is_none(), "{refused:?}");
        engine
    }

    fn bypass(id: &str, by: &str, ticket: &str) -> Bypass {
        Bypass {
            at: start() + Span::from_minutes(30),
            deployment: id.to_owned(),
            by: by.to_owned(),
            reason: "why".to_owned(),
            ticket: ticket.to_owned(),
        }
    }

    /// `stage/region` as the two fields of a question.
    fn split(place: &str) -> (Option<String>, Option<String>) {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let (stage, region) = place.split_once('/').unwrap_or((place, ""));
        (given(stage), given(region))
    }

    fn question(from: &str, to: &str) -> PromotionRequest {
        let ((stage, region), (to_stage, to_region)) = (split(from), split(to));
        PromotionRequest {
            service: "shop".to_owned(),
            version: "v2".to_owned(),
            stage,
            region,
            to_stage,
            to_region,
            accept_bypass: false,
        }
    }

    /// The place to go, and the kinds of what stands in the way.
    fn answer(engine: &Engine, request: &PromotionRequest) -> (String, String) {
        let answer = engine
            .may_promote(request, start() + Span::from_minutes(30))
            .unwrap();
        let kinds: Vec<&str> = answer.blockers.iter().map(Blocker::kind).collect();
        assert_eq!(answer.is_allowed(), kinds.is_empty());
        let to = answer
            .to
            .map_or_else(String::new, |place| place.to_string());
        (to, kinds.join(" "))
    }

    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    #[test]
    fn the_next_place_is_named_with_what_stands_in_the_way() {
        let passed = ["a alpha v2 p", "b onebox/eu v2 p"];
        let both = ["a alpha v2 p", "b onebox/eu v2 p", "c onebox/us v2 p"];
        let rows: &[(&[&str], &str, &str, &str, &str)] = &[
            // What is told, from, to, the answer: where to, and what blocks.
            (&[], "", "", "alpha", ""),
            (&[], "alpha", "", "onebox/eu", "not_passed"),
            (&["a alpha v2 -"], "alpha", "", "onebox/eu", "not_passed"),
            (&["a alpha v2 e"], "alpha", "", "onebox/eu", "not_passed"),
            (&["a alpha v2 f"], "alpha", "", "onebox/eu", "not_passed"),
            (&["a alpha v2 p"], "alpha", "", "onebox/eu", ""),
            // Of another version nothing follows.
            (&["a alpha v1 p"], "alpha", "", "onebox/eu", "not_passed"),
            // A later attempt decides once it is decided.
            (
                &["a alpha v2 p", "b alpha v2 -"],
                "alpha",
                "",
                "onebox/eu",
                "",
            ),
            (
                &["a alpha v2 p", "b alpha v2 f"],
                "alpha",
                "",
                "onebox/eu",
                "not_passed",
            ),
            (
                &["a alpha v2 f", "b alpha v2 p"],
                "alpha",
                "",
                "onebox/eu",
                "",
            ),
            (&passed, "onebox/eu", "", "onebox/us", ""),
            // Into production: the same region of the stage before, and no failure elsewhere.
            (&passed, "onebox/eu", "prod/eu", "prod/eu", ""),
            (&passed, "onebox/eu", "prod/us", "prod/us", "not_passed"),
            (&passed, "onebox", "", "prod/eu", "not_passed"),
            (&both, "onebox", "", "prod/eu", ""),
            (&both, "onebox/us", "", "prod/eu", ""),
            (
                &["a alpha v2 p", "b onebox/eu v2 p", "c onebox/us v2 f"],
                "onebox/eu",
                "prod/eu",
                "prod/eu",
                "failed_elsewhere",
            ),
            // One region at a time, whatever the version there.
            (
                &["a alpha v2 p", "b onebox/eu v1 -"],
                "alpha",
                "onebox/us",
                "onebox/us",
                "other_region",
            ),
            (
                &["a alpha v2 p", "b onebox/eu v1 e"],
                "alpha",
                "onebox/us",
                "onebox/us",
                "",
            ),
            // What failed or was given up did not take its place; what passed did.
            (
                &["a alpha v2 p", "b onebox/eu v1 -", "c onebox/eu v3 f"],
                "alpha",
                "onebox/us",
                "onebox/us",
                "other_region",
            ),
            (
                &["a alpha v2 p", "b onebox/eu v1 -", "c onebox/eu v3 e"],
                "alpha",
                "onebox/us",
                "onebox/us",
                "other_region",
            ),
            (
                &[
                    "a alpha v2 p",
                    "a3 alpha v3 p",
                    "b onebox/eu v1 -",
                    "c onebox/eu v3 p",
                ],
                "alpha",
                "onebox/us",
                "onebox/us",
                "",
            ),
            (
                &["a alpha v2 p", "b onebox/eu v2 f"],
                "alpha",
                "onebox/us",
                "onebox/us",
                "failed_elsewhere",
            ),
        ];
        for (told_of, from, to, place, kinds) in rows {
            let found = answer(&told(told_of), &question(from, to));
            let expected = ((*place).to_owned(), (*kinds).to_owned());
            assert_eq!(found, expected, "{told_of:?} {from} -> {to}");
        }
        // Behind the last nothing comes: that it has passed is all that is asked.
        let all = [&both[..], &["d prod/eu v2 p", "e prod/us v2 p"]].concat();
        let last = answer(&told(&all), &question("prod/us", ""));
        assert_eq!(last, (String::new(), String::new()));
    }

    #[test]
    fn a_bypass_counts_only_for_who_accepts_it() {
        let engine = told(&["a alpha v2 b"]);
        let mut request = question("alpha", "");
        assert_eq!(answer(&engine, &request).1, "not_passed");
        request.accept_bypass = true;
        assert_eq!(answer(&engine, &request).1, "");
    }

    #[test]
    fn an_hour_that_is_wrong_says_when_it_will_be_right() {
        let engine = told(&["a alpha v2 p", "b onebox/eu v2 p"]);
        let noon = start() + Span::from_hours(2);
        let answer = engine
            .may_promote(&question("onebox/eu", "prod/eu"), noon)
            .unwrap();
        let [blocker] = &answer.blockers[..] else {
            panic!("{answer:?}");
        };
        let tomorrow = start() + Span::from_hours(24);
        assert_eq!(
            (blocker.kind(), blocker.clears_at(noon)),
            ("peak", Some(tomorrow))
        );
    }

    #[test]
    fn hours_that_are_not_learned_block_and_say_so() {
        let request = PromotionRequest {
            service: "calm".to_owned(),
            ..question("", "")
        };
        assert_eq!(answer(&told(&[]), &request).1, "unlearned");
    }

    #[test]
    fn a_question_about_what_is_not_configured_is_refused() {
        let engine = told(&[]);
        let field = |change: &dyn Fn(&mut PromotionRequest)| {
            let mut request = question("alpha", "");
            change(&mut request);
            engine.may_promote(&request, start()).unwrap_err()
        };
        let service = field(&|request| request.service = "shp".to_owned());
        assert!(matches!(service, Refusal::UnknownService { .. }));
        let stage = field(&|request| request.to_stage = Some("beta".to_owned()));
        assert!(matches!(stage, Refusal::UnknownStage { .. }));
        let region = field(&|request| {
            request.to_stage = Some("prod".to_owned());
            request.to_region = Some("mars".to_owned());
        });
        assert!(matches!(region, Refusal::UnknownRegion { .. }));
        let version = field(&|request| request.version.clear());
        assert!(matches!(
            version,
            Refusal::BadField {
                field: "version",
                ..
            }
        ));
        let stray = field(&|request| request.to_region = Some("eu".to_owned()));
        assert!(matches!(
            stray,
            Refusal::BadField {
                field: "to_stage",
                ..
            }
        ));
    }

    #[test]
    fn who_tells_of_one_stage_only_is_not_held_by_the_others() {
        for (told_of, state) in [
            (&["b onebox/eu v2 p"][..], VerdictState::Pass),
            (&["x prod/eu v1 p", "b onebox/eu v2 p"], VerdictState::Pass),
            (&["a alpha v1 p", "b onebox/eu v2 p"], VerdictState::Pending),
            (&["a alpha v2 p", "b onebox/eu v2 p"], VerdictState::Pass),
            (&["a alpha v2 b", "b onebox/eu v2 p"], VerdictState::Pass),
        ] {
            let verdict = told(told_of).verdict("b").unwrap();
            assert_eq!(verdict.verdict, state, "{told_of:?} {:?}", verdict.reasons);
            let is_held = verdict
                .reasons
                .iter()
                .any(|reason| reason.starts_with("held: "));
            assert_eq!(is_held, state == VerdictState::Pending);
        }
    }

    #[test]
    fn a_failure_in_the_stage_before_holds_what_has_begun_already() {
        for (later, state) in [
            ("e onebox/eu v2 f", VerdictState::Pending),
            ("e onebox/eu v2 -", VerdictState::Pass),
        ] {
            let mut engine = told(&[
                "a alpha v2 p",
                "b onebox/eu v2 p",
                "c onebox/us v2 p",
                "d prod/eu v2 -",
                later,
            ]);
            let mut outputs = Vec::new();
            for minute in [10, 11] {
                let at = start() + Span::from_minutes(minute);
                engine.step(Input::Tick(at), &mut outputs);
            }
            let step = Step {
                at: start() + Span::from_minutes(12),
                deployment: "d".to_owned(),
                step: "t".to_owned(),
                outcome: StepOutcome::Passed,
            };
            engine.step(Input::Deployment(DeploymentEvent::Step(step)), &mut outputs);
            let verdict = engine.verdict("d").unwrap();
            assert_eq!(verdict.verdict, state, "{later} {:?}", verdict.reasons);
        }
    }

    #[test]
    fn what_was_held_passes_no_earlier_than_what_held_it() {
        let mut engine = told(&["a alpha v2 -", "b onebox/eu v2 p"]);
        let mut outputs = Vec::new();
        let minute = |minute| start() + Span::from_minutes(minute);
        engine.step(Input::Tick(minute(10)), &mut outputs);
        assert_eq!(engine.verdict("b").unwrap().verdict, VerdictState::Pending);
        let passed = minute(10) + Span::from_seconds(5);
        let step = Step {
            at: passed,
            deployment: "a".to_owned(),
            step: "t".to_owned(),
            outcome: StepOutcome::Passed,
        };
        engine.step(Input::Deployment(DeploymentEvent::Step(step)), &mut outputs);
        let tick = passed + Span::from_seconds(10);
        engine.step(Input::Tick(tick), &mut outputs);
        let verdict = engine.verdict("b").unwrap();
        assert_eq!(verdict.verdict, VerdictState::Pass, "{:?}", verdict.reasons);
        assert!(verdict.watermark < passed, "{:?}", verdict.watermark);
        assert_eq!((verdict.since, verdict.at), (passed, passed));
    }

    #[test]
    fn overrides_and_hotfixes_are_signed() {
        let mut engine = told(&["a alpha v2 -"]);
        let mut refused = |event: DeploymentEvent| {
            let mut outputs = Vec::new();
            engine.step(Input::Deployment(event), &mut outputs);
            match outputs.pop() {
                Some(Output::Refused(refused)) => refused.refusal.to_string(),
                other => panic!("{other:?}"),
            }
        };
        let unsigned = refused(DeploymentEvent::Bypass(bypass("a", " ", "OPS-1")));
        assert_eq!(
            unsigned,
            "by is missing: an override needs who, why and a ticket"
        );
        let unsigned = refused(DeploymentEvent::Bypass(bypass("a", "ana", "")));
        assert_eq!(
            unsigned,
            "ticket is missing: an override needs who, why and a ticket"
        );
        let hotfix = |ticket: &str, expires| {
            DeploymentEvent::Begin(Begin {
                at: start(),
                deployment: "h".to_owned(),
                service: "shop".to_owned(),
                stage: "alpha".to_owned(),
                region: None,
                version: "v3".to_owned(),
                one_box: Vec::new(),
                fleet: Vec::new(),
                weight: 1.0,
                hotfix: Some(Hotfix {
                    by: "ana".to_owned(),
                    reason: "down".to_owned(),
                    ticket: ticket.to_owned(),
                    expires,
                }),
            })
        };
        assert_eq!(
            refused(hotfix("", start() + Span::from_hours(1))),
            "hotfix.ticket is missing: a hotfix needs who, why, a ticket and when it expires"
        );
        assert_eq!(
            refused(hotfix("OPS-1", start())),
            "hotfix.expires is 2026-03-01T10:00:00Z, but it is 2026-03-01T10:00:00Z: a hotfix needs a \
             time that is still to come"
        );
        assert_eq!(
            refused(hotfix("OPS-1", Timestamp::MIN)),
            "hotfix.expires is missing: a hotfix needs a time that is still to come"
        );
    }
}
