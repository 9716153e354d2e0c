//! gRPC health: of the engine, and of each gate for drivers that can only ask for health.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};

use super::{
    access::{Operation, Roles},
    guard,
    shared::Shared,
};
use crate::{gate::VerdictState, plan::Plan};

/// The service. The empty name is the engine: serving when it is ready. The name
/// `gate/<service>/<stage>/<region>` is a gate: serving only while its newest deployment has a PASS.
/// It is computed from what the core has published, so that it is never older than a verdict.
#[derive(Clone, Debug)]
pub(super) struct HealthService(pub Arc<Shared>);

type StatusStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        may_ask(&self.0, &request, &request.get_ref().service)?;
        let service = request.into_inner().service;
        match status(&self.0, &service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found(format!(
                "service {service:?} is not known: ask for \"\" or gate/<service>/<stage>/<region>"
            ))),
            status @ (ServingStatus::Serving
            | ServingStatus::NotServing
            | ServingStatus::Unknown) => Ok(Response::new(HealthCheckResponse {
                status: status.into(),
            })),
        }
    }

    type WatchStream = StatusStream;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<StatusStream>, Status> {
        may_ask(&self.0, &request, &request.get_ref().service)?;
        let service = request.into_inner().service;
        let shared = Arc::clone(&self.0);
        let boards = shared.published().watch();
        let start = (shared, boards, service, None);
        let statuses = stream::unfold(start, |(shared, mut boards, service, shown)| async move {
            loop {
                let now = status(&shared, &service);
                if shown != Some(now) {
                    let response = HealthCheckResponse { status: now.into() };
                    return Some((Ok(response), (shared, boards, service, Some(now))));
                }
                let mut stopping = shared.stopping.clone();
                tokio::select! {
                    changed = boards.changed() => if changed.is_err() { return None; },
                    _ = stopping.wait_for(|stopping| *stopping) => return None,
                }
            }
        });
        Ok(Response::new(Box::pin(statuses)))
    }
}

/// Everybody may ask for the engine's health; that of a gate is a verdict.
fn may_ask<T>(shared: &Shared, request: &Request<T>, service: &str) -> Result<(), Status> {
    if service.is_empty() {
        return Ok(());
    }
    let roles = request.extensions().get::<Roles>().copied();
    let allowed = shared
        .guard
        .load()
        .demand(Operation::Read, roles.unwrap_or_default());
    allowed.map_err(guard::status)
}

fn status(shared: &Shared, service: &str) -> ServingStatus {
    let serving = |serves| {
        if serves {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    };
    if service.is_empty() {
        return serving(shared.ready().is_ok());
    }
    let plan = shared.plan();
    let Some((service, stage, region)) = gate(&plan, service) else {
        return ServingStatus::ServiceUnknown;
    };
    let Ok(board) = shared.published().caught_up() else {
        return ServingStatus::NotServing;
    };
    let newest = board.newest_first().into_iter().find(|deployment| {
        let begin = &deployment.begin;
        begin.service == service && begin.stage == stage && begin.region.as_deref() == region
    });
    serving(newest.is_some_and(|newest| newest.verdict.verdict == VerdictState::Pass))
}

/// The gate that a name means, if it is configured.
fn gate<'a>(plan: &'a Plan, name: &'a str) -> Option<(&'a str, &'a str, Option<&'a str>)> {
    let name = name.strip_prefix("gate/")?;
    for service in plan.services.values() {
        for stage in &service.stages {
            let rest = name
                .strip_prefix(service.name.as_str())
                .and_then(|rest| rest.strip_prefix('/'))
                .and_then(|rest| rest.strip_prefix(stage.name.as_str()));
            let region = match rest {
                Some("" | "/") => None,
                Some(rest) => match rest.strip_prefix('/') {
                    Some(region) => Some(region),
                    None => continue,
                },
                None => continue,
            };
            let is_configured = match region {
                Some(region) => {
                    stage.regions.is_empty() || stage.regions.iter().any(|known| known == region)
                }
                None => stage.regions.is_empty(),
            };
            if is_configured {
                return Some((&service.name, &stage.name, region));
            }
        }
    }
    None
}
