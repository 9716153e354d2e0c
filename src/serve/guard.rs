//! Stands before every door: lets a request through, or answers it.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use tonic::Status;

use super::{
    access::{Denied, Operation},
    shared::Shared,
    tls::Peer,
};

/// Guards a path of HTTP.
pub(super) async fn http(
    State((shared, operation)): State<(Arc<Shared>, Operation)>,
    mut request: Request,
    next: Next,
) -> Response {
    let guard = shared.guard.load();
    if operation.is_act() && !is_of_this_site(request.headers(), guard.is_restricted()) {
        let problem =
            "a page of another site sent this: send it without Origin, or from this address";
        return (StatusCode::FORBIDDEN, Json(json!({ "error": problem }))).into_response();
    }
    drop(guard);
    match admit(&shared, operation, &mut request) {
        Ok(()) => next.run(request).await,
        Err(denied) => refuse(denied),
    }
}

/// Lets a request of HTTP through, with what is known of who sent it.
///
/// # Errors
/// Who sent it may not.
pub(super) fn admit(
    shared: &Shared,
    operation: Operation,
    request: &mut Request,
) -> Result<(), Denied> {
    let guard = shared.guard.load();
    let peer = request.extensions().get::<Peer>();
    let roles = guard.admit(operation, request.headers(), peer)?;
    if operation == Operation::Privileged {
        let caller = guard.caller(operation, request.headers(), peer);
        request.extensions_mut().insert(caller);
    }
    drop(guard);
    request.extensions_mut().insert(roles);
    Ok(())
}

/// Whether no page of another site sent a request: browsers add the password that a person gave to
/// whatever any page sends here, and tell the page's origin. Where nobody has to say who they are, a name is
/// no proof of the origin either: whoever owns one can let it lead here.
fn is_of_this_site(headers: &HeaderMap, is_restricted: bool) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_ascii_lowercase);
    let host = headers.get(header::HOST).and_then(text);
    let origin = text(origin).and_then(|origin| {
        let (_, authority) = origin.split_once("://")?;
        Some(authority.to_owned())
    });
    let Some(host) = host else {
        return false;
    };
    origin.as_ref() == Some(&host) && (is_restricted || is_no_name(&host))
}

/// Whether a host with its port is an address, or this machine.
fn is_no_name(host: &str) -> bool {
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => bare,
        Some(_) | None => host,
    };
    let address = bare.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || address.parse::<IpAddr>().is_ok()
}

/// Guards every RPC of a server. One of which nobody has decided who may is for nobody, where anybody
/// has to say who they are.
pub(super) async fn grpc(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let operation = Operation::of_rpc(request.uri().path()).unwrap_or(Operation::Privileged);
    let peer = request.extensions().get::<Peer>();
    let denied = match shared
        .guard
        .load()
        .admit(operation, request.headers(), peer)
    {
        Ok(roles) => {
            request.extensions_mut().insert(roles);
            return next.run(request).await;
        }
        Err(denied) => denied,
    };
    status(denied).into_http::<Body>()
}

/// The answer of an RPC to who may not.
pub(super) fn status(denied: Denied) -> Status {
    let message = denied.to_string();
    match denied {
        Denied::Stranger(_) => Status::unauthenticated(message),
        Denied::Forbidden(_) => Status::permission_denied(message),
    }
}

/// The answer of HTTP to who may not.
pub(super) fn refuse(denied: Denied) -> Response {
    let document = Json(json!({ "error": denied.to_string() }));
    match denied {
        Denied::Stranger(_) => {
            let mut response = (StatusCode::UNAUTHORIZED, document).into_response();
            challenge(&mut response);
            response
        }
        Denied::Forbidden(_) => (StatusCode::FORBIDDEN, document).into_response(),
    }
}

/// Says in a 401 how to say who one is: a browser asks for the password of a reader, which is a token.
pub(super) fn challenge(response: &mut Response) {
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Basic realm=\"sluice: the password is a token\""),
    );
}
