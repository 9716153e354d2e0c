//! `sluice deploy`: tells a running engine about a deployment.

use clap::{Args, Subcommand, ValueEnum};

use super::{
    exit, help, print, promote,
    reach::ServerArguments,
    verdict::{AskError, connect, on_runtime, print_verdict},
};
use crate::{
    event::{Timestamp, read_share},
    gate::Verdict,
    serve::{
        convert::{timestamp_to_pb, verdict_from_pb},
        pb,
    },
};

/// Arguments of `sluice deploy`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    event: Event,
}

#[derive(Debug, Subcommand)]
enum Event {
    /// A version enters a stage: opens its gate
    #[command(disable_version_flag = true, after_help = help::BEGIN)]
    Begin(Box<BeginArguments>),
    /// Reports how a step went
    #[command(after_help = help::STEP)]
    Step(StepArguments),
    /// A person lets the deployment go on: the gate says BYPASSED, never PASS
    #[command(after_help = help::BYPASS)]
    Bypass(BypassArguments),
    /// The deployment is over: closes its gate
    #[command(after_help = help::END)]
    End(EndArguments),
    /// May a version go on? Exits with 0 if nothing is in the way, 3 if something is, 2 on an error
    #[command(disable_version_flag = true, after_help = help::MAY_PROMOTE)]
    MayPromote(Box<promote::Arguments>),
}

#[derive(Debug, Args)]
struct BypassArguments {
    /// Id of the deployment
    deployment: String,
    /// Who decides
    #[arg(long)]
    by: String,
    /// Why
    #[arg(long)]
    reason: String,
    /// Where it is written down
    #[arg(long)]
    ticket: String,
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Args)]
struct BeginArguments {
    /// Service that changes
    #[arg(long)]
    service: String,
    /// Stage that it enters
    #[arg(long)]
    stage: String,
    /// Region, where the stage has regions
    #[arg(long)]
    region: Option<String>,
    /// New version
    #[arg(long)]
    version: String,
    /// Hosts that got the new version first, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = host, value_name = "HOST,…")]
    one_box: Vec<String>,
    /// Hosts still on the old version; without it every other host of the service
    #[arg(long, value_delimiter = ',', value_parser = host, value_name = "HOST,…")]
    fleet: Vec<String>,
    /// Share of an ordinary host's traffic that a one-box host is given: 10% or 0.1
    #[arg(long, default_value_t = 1.0, value_parser = read_share, value_name = "RATIO")]
    weight: f64,
    /// Id of the deployment, unique; without it the engine chooses one
    #[arg(long)]
    id: Option<String>,
    /// Opens the deployment as a hotfix: who
    #[arg(long, requires_all = ["hotfix_reason", "hotfix_ticket", "hotfix_expires"])]
    hotfix_by: Option<String>,
    /// Why
    #[arg(long, requires = "hotfix_by")]
    hotfix_reason: Option<String>,
    /// Where it is written down
    #[arg(long, requires = "hotfix_by")]
    hotfix_ticket: Option<String>,
    /// Until when it holds: RFC 3339, or Unix seconds
    #[arg(long, requires = "hotfix_by", value_name = "TIME")]
    hotfix_expires: Option<Timestamp>,
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Args)]
struct StepArguments {
    /// Id of the deployment
    deployment: String,
    /// Name of the step
    step: String,
    /// How it went
    outcome: Outcome,
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Outcome {
    Passed,
    Failed,
}

#[derive(Debug, Args)]
struct EndArguments {
    /// Id of the deployment
    deployment: String,
    #[command(flatten)]
    server: ServerArguments,
}

/// Reads the name of a host; blanks around it are of whoever wrote the list.
fn host(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a host has no name: is there a comma too many?".to_owned()),
        name => Ok(name.to_owned()),
    }
}

pub(super) fn run(arguments: Arguments) -> u8 {
    let (told, output) = match arguments.event {
        Event::Begin(arguments) => {
            let output = arguments.server.output;
            (on_runtime(begin(*arguments)), output)
        }
        Event::Step(arguments) => {
            let output = arguments.server.output;
            (on_runtime(step(arguments)), output)
        }
        Event::Bypass(arguments) => {
            let output = arguments.server.output;
            (on_runtime(bypass(arguments)), output)
        }
        Event::End(arguments) => {
            let output = arguments.server.output;
            (on_runtime(end(arguments)), output)
        }
        Event::MayPromote(arguments) => return promote::run(*arguments),
    };
    match told {
        Ok(verdict) => print_verdict(&verdict, output, exit::PASS),
        Err(error) => {
            print::error(&error);
            exit::ERROR
        }
    }
}

async fn begin(arguments: BeginArguments) -> Result<Verdict, AskError> {
    let hotfix = arguments.hotfix_by.map(|by| pb::Hotfix {
        by,
        reason: arguments.hotfix_reason.unwrap_or_default(),
        ticket: arguments.hotfix_ticket.unwrap_or_default(),
        expires: arguments.hotfix_expires.map(timestamp_to_pb),
    });
    if arguments.weight == 0.0 {
        // The protocol takes 0 for "not given".
        return Err(AskError::Refused("--weight must be above 0".to_owned()));
    }
    let request = pb::BeginRequest {
        deployment: arguments.id.unwrap_or_default(),
        service: arguments.service,
        stage: arguments.stage,
        region: arguments.region.unwrap_or_default(),
        version: arguments.version,
        one_box: arguments.one_box,
        fleet: arguments.fleet,
        weight: arguments.weight,
        hotfix,
    };
    answer(
        connect(&arguments.server.reach()?)
            .await?
            .begin(request)
            .await?,
    )
}

async fn step(arguments: StepArguments) -> Result<Verdict, AskError> {
    let outcome = match arguments.outcome {
        Outcome::Passed => pb::StepOutcome::Passed,
        Outcome::Failed => pb::StepOutcome::Failed,
    };
    let request = pb::ReportStepRequest {
        deployment: arguments.deployment,
        step: arguments.step,
        outcome: outcome.into(),
    };
    answer(
        connect(&arguments.server.reach()?)
            .await?
            .report_step(request)
            .await?,
    )
}

async fn bypass(arguments: BypassArguments) -> Result<Verdict, AskError> {
    let request = pb::BypassRequest {
        deployment: arguments.deployment,
        by: arguments.by,
        reason: arguments.reason,
        ticket: arguments.ticket,
    };
    answer(
        connect(&arguments.server.reach()?)
            .await?
            .bypass(request)
            .await?,
    )
}

async fn end(arguments: EndArguments) -> Result<Verdict, AskError> {
    let request = pb::EndRequest {
        deployment: arguments.deployment,
    };
    answer(
        connect(&arguments.server.reach()?)
            .await?
            .end(request)
            .await?,
    )
}

fn answer(response: tonic::Response<pb::Verdict>) -> Result<Verdict, AskError> {
    verdict_from_pb(response.into_inner()).map_err(AskError::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_around_a_host_are_not_of_its_name() {
        assert_eq!(host(" h2 "), Ok("h2".to_owned()));
        assert!(host(" ").is_err() && host("").is_err());
    }

    #[test]
    fn a_weight_is_a_ratio() {
        for (text, expected) in [
            ("10%", Some(0.1)),
            ("0.1", Some(0.1)),
            ("1", Some(1.0)),
            ("2.5", Some(2.5)),
            ("150 %", Some(1.5)),
            ("0%", None),
            ("-10%", None),
            ("%", None),
            ("NaN", None),
            ("inf%", None),
            ("10%%", None),
            ("ten", None),
        ] {
            assert_eq!(read_share(text).ok(), expected, "{text}");
        }
    }
}
