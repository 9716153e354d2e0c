//! Stands before every door: lets a request through, or answers it.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Extensions, HeaderValue, StatusCode, header};
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
    let peer = peer(request.extensions());
    match shared.guard.admit(operation, request.headers(), peer) {
        Ok(roles) => {
            request.extensions_mut().insert(roles);
            next.run(request).await
        }
        Err(denied) => refuse(denied),
    }
}

/// Guards every RPC of a server. One of which nobody has decided who may is for nobody, where anybody
/// has to say who they are.
pub(super) async fn grpc(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let operation = Operation::of_rpc(request.uri().path()).unwrap_or(Operation::Privileged);
    let peer = peer(request.extensions());
    let denied = match shared.guard.admit(operation, request.headers(), peer) {
        Ok(roles) => {
            request.extensions_mut().insert(roles);
            return next.run(request).await;
        }
        Err(denied) => denied,
    };
    let message = denied.to_string();
    match denied {
        Denied::Stranger(_) => Status::unauthenticated(message),
        Denied::Forbidden(_) => Status::permission_denied(message),
    }
    .into_http::<Body>()
}

/// Both servers tell of the connection, each in its own way.
fn peer(extensions: &Extensions) -> Option<&Peer> {
    let of_http = extensions.get::<ConnectInfo<Peer>>();
    of_http
        .map(|info| &info.0)
        .or_else(|| extensions.get::<Peer>())
}

fn refuse(denied: Denied) -> Response {
    let document = Json(json!({ "error": denied.to_string() }));
    match denied {
        Denied::Stranger(_) => {
            let mut response = (StatusCode::UNAUTHORIZED, document).into_response();
            // A browser asks for the password of a reader, which is a token.
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"sluice: the password is a token\""),
            );
            response
        }
        Denied::Forbidden(_) => (StatusCode::FORBIDDEN, document).into_response(),
    }
}
