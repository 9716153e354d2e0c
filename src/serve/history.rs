//! The history of deployments over HTTP.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::{
    http_request::{ask_to_retry, query_problem},
    published::Withheld,
    shared::Shared,
};
use crate::{
    event::Timestamp,
    ledger::{Filter, Kind},
};

/// Which records are asked for; what is not given matches everything.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    kind: Option<Kind>,
    service: String,
    stage: String,
    region: String,
    version: String,
    deployment: String,
    from: Option<String>,
    to: Option<String>,
    page_size: usize,
    page_token: String,
}

impl Wanted {
    /// The filter, and where the page begins.
    fn read(self) -> Result<(Filter, u64, usize), String> {
        let time = |name: &str, given: Option<String>, missing: Timestamp| match given {
            None => Ok(missing),
            Some(text) => text.parse().map_err(|_| {
                format!("{name} is no time: write it like 2026-03-01T10:00:00Z, or as Unix seconds")
            }),
        };
        let from = match self.page_token.as_str() {
            "" => 0,
            token => token
                .parse()
                .map_err(|_| "page_token is none that was given: leave it out to begin anew")?,
        };
        let filter = Filter {
            kind: self.kind,
            service: self.service,
            stage: self.stage,
            region: self.region,
            version: self.version,
            deployment: self.deployment,
            from: time("from", self.from, Timestamp::MIN)?,
            to: time("to", self.to, Timestamp::MAX)?,
        };
        Ok((filter, from, self.page_size))
    }
}

/// A page of records, oldest first, and the token of the next page; empty when there is none.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let refuse = |status: StatusCode, problem: String| {
        let mut response = (status, Json(json!({ "error": problem }))).into_response();
        ask_to_retry(&mut response);
        response
    };
    let wanted = match wanted {
        Ok(Query(wanted)) => wanted.read(),
        Err(rejection) => Err(format!("query {}", query_problem(&rejection.body_text()))),
    };
    let (filter, from, size) = match wanted {
        Ok(wanted) => wanted,
        Err(problem) => return refuse(StatusCode::BAD_REQUEST, problem),
    };
    if let Err(Withheld(reason)) = shared.published().board() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, reason.to_string());
    }
    let chronicled = Arc::clone(shared.published().chronicled());
    match spawn_blocking(move || chronicled.history().records(&filter, from, size)).await {
        Ok(Ok(page)) => {
            let next = page.next.map_or_else(String::new, |seq| seq.to_string());
            Json(json!({ "records": page.records, "next_page_token": next })).into_response()
        }
        Ok(Err(problem)) => {
            let cause = std::error::Error::source(&problem).map(ToString::to_string);
            warn!(error = %problem, cause, "the history cannot be read");
            refuse(StatusCode::SERVICE_UNAVAILABLE, problem.to_string())
        }
        Err(problem) => refuse(StatusCode::SERVICE_UNAVAILABLE, problem.to_string()),
    }
}
