//! The gates' gRPC service.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use prost::Message;
use tokio::task::spawn_blocking;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{
    access::{Operation, Roles},
    board::Deployment,
    convert::{is_instant, outcome_from_pb, timestamp_from_pb, verdict_to_pb},
    core::EventError,
    guard,
    lookup::Wanted,
    pb::{self, gates_server::Gates},
    promotion::{self, NoAnswer},
    published::Withheld,
    requests::{FieldError, RefusalKind, check_begin, check_bypass, check_name, refused_field},
    shared::Shared,
    watch::Watcher,
};
use crate::{
    engine::Refusal,
    event::{Begin, Bypass, DeploymentEvent, End, Hotfix, Step, Timestamp},
    ledger::{Filter, Kind},
};

/// The service.
#[derive(Clone, Debug)]
pub(super) struct GatesService(pub Arc<Shared>);

/// What a message in a list takes beside its own bytes, at most.
const LENGTH_BYTES: usize = 6;

/// A stream of verdicts.
pub(super) type VerdictStream = Pin<Box<dyn Stream<Item = Result<pb::Verdict, Status>> + Send>>;

#[tonic::async_trait]
impl Gates for GatesService {
    async fn begin(
        &self,
        request: Request<pb::BeginRequest>,
    ) -> Result<Response<pb::Verdict>, Status> {
        let roles = request.extensions().get::<Roles>().copied();
        let begin = begin(request.into_inner())?;
        let operation = Operation::of_begin(&begin);
        let allowed = self
            .0
            .guard
            .load()
            .demand(operation, roles.unwrap_or_default());
        allowed.map_err(guard::status)?;
        check_begin(&begin).map_err(bad_field)?;
        self.tell(DeploymentEvent::Begin(begin)).await
    }

    async fn report_step(
        &self,
        request: Request<pb::ReportStepRequest>,
    ) -> Result<Response<pb::Verdict>, Status> {
        let request = request.into_inner();
        check_name("deployment", &request.deployment).map_err(bad_field)?;
        check_name("step", &request.step).map_err(bad_field)?;
        let outcome = outcome_from_pb(request.outcome()).ok_or_else(|| {
            let is = match request.outcome {
                0 => "missing".to_owned(),
                unknown => unknown.to_string(),
            };
            let problem = format!("is {is}: it must be passed or failed");
            bad_field(FieldError::new("outcome", problem))
        })?;
        let step = Step {
            at: Timestamp::MIN,
            deployment: request.deployment,
            step: request.step,
            outcome,
        };
        self.tell(DeploymentEvent::Step(step)).await
    }

    async fn bypass(
        &self,
        request: Request<pb::BypassRequest>,
    ) -> Result<Response<pb::Verdict>, Status> {
        let request = request.into_inner();
        let bypass = Bypass {
            at: Timestamp::MIN,
            deployment: request.deployment,
            by: request.by,
            reason: request.reason,
            ticket: request.ticket,
        };
        check_bypass(&bypass).map_err(bad_field)?;
        self.tell(DeploymentEvent::Bypass(bypass)).await
    }

    async fn may_promote(
        &self,
        request: Request<pb::MayPromoteRequest>,
    ) -> Result<Response<pb::MayPromoteResponse>, Status> {
        let request = promotion::request_from_pb(request.into_inner());
        match promotion::ask(&self.0, &request) {
            Ok(answer) => Ok(Response::new(promotion::answer_to_pb(&answer))),
            Err(NoAnswer::NotReady(reason)) => Err(unavailable(reason)),
            Err(NoAnswer::Refused(refusal)) => Err(event_status(EventError::Refused(refusal))),
        }
    }

    async fn end(&self, request: Request<pb::EndRequest>) -> Result<Response<pb::Verdict>, Status> {
        let deployment = request.into_inner().deployment;
        check_name("deployment", &deployment).map_err(bad_field)?;
        self.tell(DeploymentEvent::End(End {
            at: Timestamp::MIN,
            deployment,
        }))
        .await
    }

    async fn get_verdict(
        &self,
        request: Request<pb::GetVerdictRequest>,
    ) -> Result<Response<pb::Verdict>, Status> {
        let deployment = self.find(&request.into_inner().deployment)?;
        Ok(Response::new(verdict_to_pb(&deployment.verdict)))
    }

    type WatchVerdictStream = VerdictStream;

    async fn watch_verdict(
        &self,
        request: Request<pb::WatchVerdictRequest>,
    ) -> Result<Response<VerdictStream>, Status> {
        let id = request.into_inner().deployment;
        self.find(&id)?;
        let verdicts = stream::unfold(Watcher::new(&self.0, id), |mut watcher| async {
            let verdict = watcher
                .next()
                .await?
                .map(|deployment| verdict_to_pb(&deployment.verdict))
                .map_err(|lost| unavailable(lost.to_string()));
            Some((verdict, watcher))
        });
        Ok(Response::new(Box::pin(verdicts)))
    }

    async fn list_deployments(
        &self,
        request: Request<pb::ListDeploymentsRequest>,
    ) -> Result<Response<pb::ListDeploymentsResponse>, Status> {
        let wanted = request.into_inner();
        let wanted = Wanted {
            service: wanted.service,
            stage: wanted.stage,
            region: wanted.region,
            open_only: wanted.open_only,
            page_size: wanted.page_size,
            page_token: wanted.page_token,
        };
        let board = self.0.published().caught_up().map_err(withheld)?;
        let show = |deployment: &Arc<Deployment>| {
            let verdict = verdict_to_pb(&deployment.verdict);
            let bytes = verdict.encoded_len() + LENGTH_BYTES;
            (verdict, bytes)
        };
        let page = wanted.page(&board, show).map_err(bad_field)?;
        Ok(Response::new(pb::ListDeploymentsResponse {
            deployments: page.items,
            next_page_token: page.next,
        }))
    }

    async fn list_verdicts(
        &self,
        request: Request<pb::ListVerdictsRequest>,
    ) -> Result<Response<pb::ListVerdictsResponse>, Status> {
        let wanted = request.into_inner();
        let published = self.0.published();
        published.board().map_err(withheld)?;
        let after = match wanted.page_token.as_str() {
            "" => 0,
            token => token.parse().map_err(|_| {
                let problem = "is none that was given: leave it out to begin anew";
                bad_field(FieldError::new("page_token", problem))
            })?,
        };
        let size = usize::try_from(wanted.page_size).map_err(|_| {
            bad_field(FieldError::new(
                "page_size",
                "is negative: it must be 0 or more",
            ))
        })?;
        let (from, to) = (wanted.from.as_ref(), wanted.to.as_ref());
        let filter = Filter {
            kind: Some(Kind::Verdict),
            service: wanted.service,
            stage: wanted.stage,
            region: wanted.region,
            version: wanted.version,
            deployment: wanted.deployment,
            from: instant("from", from)?.unwrap_or(Timestamp::MIN),
            to: instant("to", to)?.unwrap_or(Timestamp::MAX),
        };
        let chronicled = Arc::clone(published.chronicled());
        let read = spawn_blocking(move || chronicled.history().verdicts(&filter, after, size));
        let page = match read.await {
            Ok(Ok(page)) => page,
            Ok(Err(problem)) => return Err(unavailable(problem.to_string())),
            Err(problem) => return Err(unavailable(problem.to_string())),
        };
        Ok(Response::new(pb::ListVerdictsResponse {
            verdicts: page.verdicts.iter().map(verdict_to_pb).collect(),
            unreadable: page.unreadable,
            next_page_token: page.next.map_or_else(String::new, |seq| seq.to_string()),
        }))
    }
}

impl GatesService {
    async fn tell(&self, event: DeploymentEvent) -> Result<Response<pb::Verdict>, Status> {
        let deployment = self.0.tell(event).await.map_err(event_status)?;
        Ok(Response::new(verdict_to_pb(&deployment.verdict)))
    }

    fn find(&self, id: &str) -> Result<Arc<Deployment>, Status> {
        check_name("deployment", id).map_err(bad_field)?;
        self.0
            .published()
            .deployment(id)
            .map_err(withheld)?
            .ok_or_else(|| {
                let refusal = Refusal::UnknownDeployment {
                    deployment: id.to_owned(),
                };
                event_status(EventError::Refused(Box::new(refusal)))
            })
    }
}

/// Answers a request that cannot be read, or is too large, with the codes that the documents promise: the
/// library says INTERNAL and `OUT_OF_RANGE`, which the gates themselves never say.
pub(super) async fn correct_status(
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    let mut response = next.run(request).await;
    let code = response.headers().get(Status::GRPC_STATUS);
    let code = match code.map(|code| Code::from_bytes(code.as_bytes())) {
        Some(Code::OutOfRange) => Code::ResourceExhausted,
        Some(Code::Internal) => Code::InvalidArgument,
        _ => return response,
    };
    let headers = response.headers_mut();
    headers.insert(Status::GRPC_STATUS, (code as i32).into());
    response
}

/// Tells a client to come again.
pub(super) fn unavailable(message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
    Status::with_error_details(Code::Unavailable, message, details)
}

fn withheld(Withheld(reason): Withheld) -> Status {
    unavailable(reason.to_string())
}

fn bad_field(error: FieldError) -> Status {
    let message = error.to_string();
    let details = ErrorDetails::with_bad_request_violation(error.field, error.problem);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

fn event_status(error: EventError) -> Status {
    let refusal = match error {
        EventError::Unavailable(reason) => return unavailable(reason.to_string()),
        EventError::Refused(refusal) => refusal,
    };
    let message = refusal.to_string();
    match RefusalKind::of(&refusal) {
        RefusalKind::NotFound => Status::not_found(message),
        RefusalKind::BadField => {
            let field = refused_field(&refusal);
            let details = ErrorDetails::with_bad_request_violation(field, message.clone());
            Status::with_error_details(Code::InvalidArgument, message, details)
        }
        RefusalKind::Exists => Status::already_exists(message),
        RefusalKind::Exhausted => Status::resource_exhausted(message),
        RefusalKind::Conflict => Status::failed_precondition(message),
    }
}

/// An instant that a caller gives.
fn instant(
    field: &'static str,
    given: Option<&prost_types::Timestamp>,
) -> Result<Option<Timestamp>, Status> {
    match given {
        Some(at) if !is_instant(at) => {
            let problem =
                "is no instant: seconds must be in the years 1 to 9999, nanos in 0 to 999999999";
            Err(bad_field(FieldError::new(field, problem)))
        }
        given => Ok(given.map(timestamp_from_pb)),
    }
}

fn begin(request: pb::BeginRequest) -> Result<Begin, Status> {
    let expires = request.hotfix.as_ref();
    let expires = expires.and_then(|hotfix| hotfix.expires.as_ref());
    let expires = instant("hotfix.expires", expires)?;
    Ok(Begin {
        at: Timestamp::MIN,
        deployment: request.deployment,
        service: request.service,
        stage: request.stage,
        region: Some(request.region).filter(|region| !region.is_empty()),
        version: request.version,
        one_box: request.one_box,
        fleet: request.fleet,
        weight: if request.weight == 0.0 {
            1.0
        } else {
            request.weight
        },
        hotfix: request.hotfix.map(|hotfix| Hotfix {
            by: hotfix.by,
            reason: hotfix.reason,
            ticket: hotfix.ticket,
            expires: expires.unwrap_or(Timestamp::MIN),
        }),
    })
}
