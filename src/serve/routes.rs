//! Every path of the HTTP door: its method, who may use it, and what answers.

use std::sync::Arc;

use axum::{
    Router,
    handler::Handler,
    middleware::from_fn_with_state,
    routing::{MethodRouter, get, post},
};

use super::{
    access::Operation, api, flagger, guard, history, loki, query, reload, remote_write,
    shared::Shared,
};

/// One method of one path.
pub(super) struct Route {
    /// `GET` or `POST`.
    #[cfg_attr(not(test), expect(dead_code, reason = "compared with the document"))]
    pub method: &'static str,
    /// The path, with `{id}` for what is free in it.
    pub path: &'static str,
    /// What it does, and so who may.
    pub operation: Operation,
    answer: MethodRouter<Arc<Shared>>,
}

/// All of them. `proto/openapi.json` describes the same ones.
pub(super) fn table() -> Vec<Route> {
    use Operation::{Drive, Privileged, Probe, Push, Read, Scrape};
    vec![
        Route::get("/", Read, api::index),
        Route::get("/metrics", Scrape, api::metrics),
        Route::get("/-/healthy", Probe, api::healthy),
        Route::get("/-/ready", Probe, api::ready),
        Route::post("/-/reload", Privileged, reload::reload),
        Route::post("/api/v1/write", Push, remote_write::write),
        Route::post("/api/v1/push", Push, remote_write::write),
        Route::post("/loki/api/v1/push", Push, loki::push),
        Route::get("/api/v1/openapi.json", Read, api::openapi),
        Route::get("/api/v1/deployments", Read, api::list),
        Route::post("/api/v1/deployments", Drive, api::begin),
        Route::get("/api/v1/deployments/{id}/verdict", Read, api::verdict),
        Route::get("/api/v1/deployments/{id}/watch", Read, api::watch),
        Route::post("/api/v1/deployments/{id}/steps", Drive, api::step),
        Route::post("/api/v1/deployments/{id}/end", Drive, api::end),
        Route::post("/api/v1/deployments/{id}/bypass", Privileged, api::bypass),
        Route::get("/api/v1/history", Read, history::list),
        Route::get("/api/v1/may-promote", Read, api::may_promote),
        Route::get("/api/v1/query", Read, query::query),
        Route::post("/api/v1/query", Read, query::query),
        Route::post("/flagger/confirm", Read, flagger::confirm),
        Route::post("/flagger/check", Read, flagger::check),
        Route::post("/flagger/rollback", Read, flagger::rollback),
    ]
}

/// Serves all of them, each behind its guard.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in table() {
        let guard = from_fn_with_state((Arc::clone(&shared), route.operation), guard::http);
        router = router.route(route.path, route.answer.route_layer(guard));
    }
    router
        .fallback(api::no_path)
        .method_not_allowed_fallback(api::no_method)
        .with_state(shared)
}

impl Route {
    fn get<H, T>(path: &'static str, operation: Operation, answer: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        Self {
            method: "GET",
            path,
            operation,
            answer: get(answer),
        }
    }

    fn post<H, T>(path: &'static str, operation: Operation, answer: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        Self {
            method: "POST",
            path,
            operation,
            answer: post(answer),
        }
    }
}
