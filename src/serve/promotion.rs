//! May a version go on: answered from what the core has published.

use prost_types::Timestamp as PbTimestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{board::Standing, convert::timestamp_to_pb, pb, shared::Shared};
use crate::{
    engine::{Promotion, PromotionRequest, Refusal, may_promote},
    event::Timestamp,
    gate::{Attempt, Blocker, Place},
};

/// The question as HTTP carries it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    #[serde(default)]
    service: String,
    #[serde(default)]
    version: String,
    stage: Option<String>,
    region: Option<String>,
    to_stage: Option<String>,
    to_region: Option<String>,
    #[serde(default)]
    accept_bypass: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The engine cannot know, for this reason.
    NotReady(&'static str),
    /// The question makes no sense.
    Refused(Box<Refusal>),
}

/// Answers a deployer. What is published must be of now: of an engine that is behind, that recovers or
/// that cannot record nobody knows what it would say.
///
/// # Errors
/// The engine cannot know, or the question makes no sense.
pub(super) fn ask(shared: &Shared, request: &PromotionRequest) -> Result<Promotion, NoAnswer> {
    shared.ready().map_err(NoAnswer::NotReady)?;
    let published = shared.published();
    let board = published.board();
    let board = board.map_err(|_| NoAnswer::NotReady("the engine stopped"))?;
    if board.standing != Standing::Alive {
        return Err(NoAnswer::NotReady(
            "the engine reads its journal after a restart",
        ));
    }
    let attempts = board.deployments.values().map(|deployment| Attempt {
        begin: &deployment.begin,
        state: deployment.verdict.verdict,
        is_final: deployment.verdict.is_final,
        is_ended: deployment.is_ended,
        bake_until: deployment.bake_until,
    });
    let (conditions, now) = (published.conditions(), shared.clock.now());
    may_promote(&shared.plan(), attempts, &conditions, request, now)
        .map_err(|refusal| NoAnswer::Refused(Box::new(refusal)))
}

/// The question as gRPC carries it.
pub(super) fn request_from_pb(request: pb::MayPromoteRequest) -> PromotionRequest {
    PromotionRequest {
        service: request.service,
        version: request.version,
        stage: given(Some(request.stage)),
        region: given(Some(request.region)),
        to_stage: given(Some(request.to_stage)),
        to_region: given(Some(request.to_region)),
        accept_bypass: request.accept_bypass,
    }
}

/// The answer as gRPC carries it.
pub(super) fn answer_to_pb(promotion: &Promotion) -> pb::MayPromoteResponse {
    let to = promotion.to.as_ref();
    pb::MayPromoteResponse {
        allowed: promotion.is_allowed(),
        blockers: promotion
            .blockers
            .iter()
            .map(|blocker| blocker_to_pb(blocker, promotion.at))
            .collect(),
        to_stage: to.map(|place| place.stage.clone()).unwrap_or_default(),
        to_region: to
            .and_then(|place| place.region.clone())
            .unwrap_or_default(),
        at: Some(timestamp_to_pb(promotion.at)),
    }
}

/// The answer as HTTP carries it.
pub(super) fn answer_to_json(request: &PromotionRequest, promotion: &Promotion) -> Value {
    let place = |place: &Option<Place>| {
        place
            .as_ref()
            .map(|place| json!({"stage": place.stage, "region": place.region}))
    };
    let blockers = promotion.blockers.iter().map(|blocker| {
        json!({
            "kind": blocker.kind(),
            "reason": blocker.to_string(),
            "clears_at": blocker.clears_at(promotion.at),
        })
    });
    let to = promotion.to.as_ref();
    json!({
        "allowed": promotion.is_allowed(),
        "service": request.service,
        "version": request.version,
        "from": place(&promotion.from),
        "to": place(&promotion.to),
        // As gRPC names them.
        "to_stage": to.map_or("", |place| place.stage.as_str()),
        "to_region": to.and_then(|place| place.region.as_deref()).unwrap_or(""),
        "blockers": blockers.collect::<Vec<_>>(),
        "at": promotion.at,
    })
}

fn blocker_to_pb(blocker: &Blocker, now: Timestamp) -> pb::Blocker {
    let clears_at: Option<PbTimestamp> = blocker.clears_at(now).map(timestamp_to_pb);
    pb::Blocker {
        kind: blocker.kind().to_owned(),
        reason: blocker.to_string(),
        clears_at,
    }
}

impl From<Query> for PromotionRequest {
    fn from(query: Query) -> Self {
        Self {
            service: query.service,
            version: query.version,
            stage: given(query.stage),
            region: given(query.region),
            to_stage: given(query.to_stage),
            to_region: given(query.to_region),
            accept_bypass: query.accept_bypass,
        }
    }
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
