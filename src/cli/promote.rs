//! `sluice deploy may-promote`: asks whether a version may go on, before it starts.

use clap::Args;
use serde_json::json;

use super::{
    exit, print,
    reach::{OutputFormat, ServerArguments},
    verdict::{AskError, connect, on_runtime},
};
use crate::serve::{convert::timestamp_from_pb, pb};

/// Arguments of `sluice deploy may-promote`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Service that changes
    #[arg(long)]
    service: String,
    /// Version that would go on
    #[arg(long)]
    version: String,
    /// Stage that it would leave; without it it would enter the first
    #[arg(long, default_value = "", hide_default_value = true)]
    stage: String,
    /// Region that it would leave; without it all regions of the stage
    #[arg(long, default_value = "", hide_default_value = true)]
    region: String,
    /// Where it would go; without it what comes behind in the pipeline
    #[arg(long, default_value = "", hide_default_value = true)]
    to_stage: String,
    /// Region where it would go; without it what comes behind
    #[arg(long, default_value = "", hide_default_value = true)]
    to_region: String,
    /// Takes BYPASSED for a pass
    #[arg(long)]
    accept_bypass: bool,
    #[command(flatten)]
    server: ServerArguments,
}

pub(super) fn run(arguments: Arguments) -> u8 {
    let output = arguments.server.output;
    let answer = match on_runtime(ask(arguments)) {
        Ok(answer) => answer,
        Err(error) => {
            print::error(&error);
            return exit::ERROR;
        }
    };
    let text = match output {
        OutputFormat::Text => in_words(&answer),
        OutputFormat::Json => document(&answer),
    };
    print::answered(print::answer(&(text + "\n")), code(&answer))
}

/// Only a plain yes is 0: what is in the way, and a contradiction, are not.
fn code(answer: &pb::MayPromoteResponse) -> u8 {
    if answer.allowed && answer.blockers.is_empty() {
        exit::PASS
    } else {
        exit::PENDING
    }
}

async fn ask(arguments: Arguments) -> Result<pb::MayPromoteResponse, AskError> {
    let reach = arguments.server.reach()?;
    let request = pb::MayPromoteRequest {
        service: arguments.service,
        version: arguments.version,
        stage: arguments.stage,
        region: arguments.region,
        to_stage: arguments.to_stage,
        to_region: arguments.to_region,
        accept_bypass: arguments.accept_bypass,
    };
    let answer = connect(&reach).await?.may_promote(request).await?;
    Ok(answer.into_inner())
}

fn target(answer: &pb::MayPromoteResponse) -> String {
    match (answer.to_stage.as_str(), answer.to_region.as_str()) {
        ("", _) => "nothing comes behind".to_owned(),
        (stage, "") => format!("to {stage}"),
        (stage, region) => format!("to {stage} {region}"),
    }
}

fn in_words(answer: &pb::MayPromoteResponse) -> String {
    let word = if code(answer) == exit::PASS {
        "GO"
    } else {
        "HOLD"
    };
    let mut lines = vec![print::clean(&format!("{word}  {}", target(answer)))];
    for blocker in &answer.blockers {
        let clears = blocker.clears_at.as_ref().map_or_else(String::new, |at| {
            format!(", until {}", timestamp_from_pb(at).next_whole_second())
        });
        let line = format!("{}: {}{clears}", blocker.kind, blocker.reason);
        lines.push(format!("  {}", print::clean(&line)));
    }
    lines.join("\n")
}

fn document(answer: &pb::MayPromoteResponse) -> String {
    let blockers: Vec<_> = answer
        .blockers
        .iter()
        .map(|blocker| {
            let clears_at = blocker.clears_at.as_ref().map(timestamp_from_pb);
            json!({"kind": blocker.kind, "reason": blocker.reason, "clears_at": clears_at})
        })
        .collect();
    print::json(&json!({
        "allowed": code(answer) == exit::PASS,
        "to_stage": answer.to_stage,
        "to_region": answer.to_region,
        "blockers": blockers,
        "at": answer.at.as_ref().map(timestamp_from_pb),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_without_a_blocker_is_zero() {
        let blocker = || pb::Blocker {
            kind: "not_passed".to_owned(),
            reason: "beta has not passed".to_owned(),
            clears_at: None,
        };
        for (allowed, blockers, expected) in [
            (true, vec![], 0),
            (false, vec![], 3),
            (false, vec![blocker()], 3),
            // An engine that contradicts itself is not believed.
            (true, vec![blocker()], 3),
        ] {
            let answer = pb::MayPromoteResponse {
                allowed,
                blockers,
                ..pb::MayPromoteResponse::default()
            };
            assert_eq!(code(&answer), expected, "{answer:?}");
            assert_eq!(in_words(&answer).starts_with("GO"), expected == 0);
        }
        assert_eq!(code(&pb::MayPromoteResponse::default()), 3);
    }
}
