//! The `OpenAPI` document: every route, and the fields of a verdict.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{State, engine, http};
use crate::serve::{access::Operation, otlp_http, routes};

const OPENAPI: &str = include_str!("../../../proto/openapi.json");

#[test]
fn the_document_describes_every_route_and_nothing_else() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut described = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let roles: Vec<&str> = operation["x-roles"]
                .as_array()
                .unwrap()
                .iter()
                .map(|role| role.as_str().unwrap())
                .collect();
            described.insert((method.to_uppercase(), path.clone()), roles);
        }
    }
    let names = |operation: Operation| {
        let roles = operation.roles().unwrap_or_default();
        roles.iter().map(|role| role.name()).collect::<Vec<_>>()
    };
    let mut served = BTreeMap::new();
    for route in routes::table() {
        let key = (route.method.to_owned(), route.path.to_owned());
        assert!(
            served.insert(key, names(route.operation)).is_none(),
            "{}",
            route.path
        );
    }
    for path in otlp_http::PATHS {
        let roles = names(Operation::Push);
        served.insert(("POST".to_owned(), path.to_owned()), roles);
    }
    assert_eq!(described, served);
}

#[tokio::test]
async fn a_verdict_has_the_fields_of_the_document() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let schema = &document["components"]["schemas"];
    let keys = |value: &Value| {
        let keys = value.as_object().unwrap().keys().cloned();
        keys.collect::<BTreeSet<_>>()
    };
    let server = engine(State::NoData).await;
    let answer = http(&server, "GET", "/api/v1/deployments/d1/verdict", "", "").await;
    let verdict = answer.json();
    let mut described = keys(&schema["Verdict"]["properties"]);
    assert!(described.remove("shadow"), "only hotfixes have a shadow");
    assert_eq!(keys(&verdict), described);
    assert_eq!(
        keys(&verdict["checks"][0]),
        keys(&schema["Check"]["properties"])
    );
    let states = schema["VerdictState"]["enum"].as_array().unwrap();
    assert!(states.contains(&verdict["verdict"]));
    let stopped = engine(State::Stopped).await;
    let answer = http(&stopped, "GET", "/api/v1/deployments/d1/verdict", "", "").await;
    assert_eq!(
        (answer.status, &answer.json()["verdict"]),
        (503, &json!("NO_DATA"))
    );
    assert_eq!(
        keys(&answer.json()),
        keys(&schema["Withheld"]["properties"])
    );
    let served = http(&server, "GET", "/api/v1/openapi.json", "", "").await;
    assert_eq!((served.status, served.json()), (200, document));
}
