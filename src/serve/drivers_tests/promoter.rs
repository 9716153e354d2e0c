//! `GitOps` Promoter, by the web request of a commit status.

use std::net::SocketAddr;

use serde_json::Value;

use super::{Act, Answer, GO, path, reach, yaml};

const PROMOTER: &str = include_str!("../../../fixtures/doors/gitops-promoter.yaml");

/// What Promoter knows of an environment from its last reconciliation.
#[derive(Clone, Copy, Debug)]
struct Environment<'a> {
    phase: &'a str,
    last_successful: &'a str,
    active: &'a str,
}

/// The expression of the fixture: whether the commit status is a success, from the answer to this
/// reconciliation's request, if there was one. `None`: it cannot be evaluated, and the phase stays.
fn promoter_expression(answer: Option<&Answer>, environment: Environment<'_>) -> Option<bool> {
    let status = yaml(PROMOTER);
    let expression = status["spec"]["success"]["when"]["expression"].as_str();
    assert_eq!(
        expression.unwrap(),
        "Response != nil ? Response.StatusCode == 200 && Response.Body.verdict == \"PASS\" : \
         Phase == \"success\" && \
         find(WebRequestCommitStatus.Status.Environments, {.Branch == Branch}).LastSuccessfulSha == \
         find(PromotionStrategy.Status.Environments, {.Branch == Branch}).Active.Hydrated.Sha"
    );
    let Some(answer) = answer else {
        let is_same = environment.last_successful == environment.active;
        return Some(environment.phase == "success" && is_same);
    };
    if answer.status != 200 {
        return Some(false);
    }
    // A body that is no JSON is a text, which has no members.
    let document: Value = serde_json::from_str(&answer.body).ok()?;
    Some(document["verdict"] == "PASS")
}

pub(super) async fn act(at: SocketAddr) -> Act {
    let status = yaml(PROMOTER);
    let request = &status["spec"]["httpRequest"];
    assert_eq!(request["methodTemplate"], "GET");
    let url = path(request["urlTemplate"].as_str().unwrap());
    let Some(answer) = reach(at, "GET", &url, GO, "").await else {
        return Act::Hold;
    };
    let environment = Environment {
        phase: "",
        last_successful: "",
        active: "d1",
    };
    match promoter_expression(Some(&answer), environment) {
        Some(true) => Act::Go,
        Some(false) | None => Act::Hold,
    }
}

#[test]
fn between_two_requests_of_promoter_a_pass_stands_for_its_own_commit_only() {
    for (phase, last_successful, is_success) in [
        ("", "", false),
        ("pending", "", false),
        ("pending", "d1", false),
        ("success", "d1", true),
        ("success", "d0", false),
    ] {
        let environment = Environment {
            phase,
            last_successful,
            active: "d1",
        };
        let said = promoter_expression(None, environment);
        assert_eq!(said, Some(is_success), "{environment:?}");
    }
}
