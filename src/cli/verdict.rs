//! `sluice verdict`: asks a running engine for a verdict, or waits for a final one.

use std::{error::Error, time::Duration};

use clap::Args;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::{
    exit, print,
    reach::{OutputFormat, ServerArguments},
    waiting::Waiting,
};
use crate::{
    gate::{Verdict, VerdictState},
    serve::{
        client::{self, Reach},
        convert::verdict_from_pb,
        pb,
    },
};

/// How long a client waits before it asks a server again that was away.
const RETRY: Duration = Duration::from_secs(1);

/// Arguments of `sluice verdict`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Id of the deployment
    #[arg(value_name = "DEPLOYMENT")]
    deployment: String,
    /// Wait until the verdict is final
    #[arg(long)]
    wait: bool,
    /// Tell what is awaited where no terminal is, too: a line for each change, on stderr
    #[arg(long, requires = "wait")]
    progress: bool,
    /// How long to wait
    #[arg(long, default_value = "30m", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,
    /// Exit with 0 when the deployment was bypassed
    #[arg(long)]
    accept_bypass: bool,
    #[command(flatten)]
    server: ServerArguments,
}

/// Why there is no verdict.
#[derive(Debug)]
pub(super) enum AskError {
    /// Nobody answers: worth another try.
    Away(String),
    /// The server says no.
    Refused(String),
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let asked = on_runtime(async {
        if arguments.wait {
            wait(arguments).await
        } else {
            ask(arguments).await
        }
    });
    match asked {
        Ok(verdict) => print_verdict(
            &verdict,
            arguments.server.output,
            exit_code(verdict.verdict, arguments.accept_bypass),
        ),
        Err(error) => {
            print::error(&error);
            exit::ERROR
        }
    }
}

/// Runs a client to its end.
pub(super) fn on_runtime<T>(
    client: impl Future<Output = Result<T, AskError>>,
) -> Result<T, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(client),
        Err(error) => Err(AskError::Refused(format!("no runtime: {error}"))),
    }
}

/// Prints the verdict on stdout. Gives the exit code: the given one, if it could be printed.
pub(super) fn print_verdict(verdict: &Verdict, output: OutputFormat, code: u8) -> u8 {
    let text = match output {
        OutputFormat::Text => print::verdict_block(verdict).trim_start().to_owned(),
        OutputFormat::Json => print::json(verdict),
    };
    print::answered(print::answer(&(text + "\n")), code)
}

fn exit_code(state: VerdictState, accept_bypass: bool) -> u8 {
    match state {
        VerdictState::Pass => exit::PASS,
        VerdictState::Fail => exit::FAIL,
        VerdictState::Pending => exit::PENDING,
        VerdictState::NoData => exit::NO_DATA,
        VerdictState::Bypassed if accept_bypass => exit::PASS,
        VerdictState::Bypassed => exit::BYPASSED,
    }
}

async fn ask(arguments: &Arguments) -> Result<Verdict, AskError> {
    let mut gates = connect(&arguments.server.reach()?).await?;
    let request = pb::GetVerdictRequest {
        deployment: arguments.deployment.clone(),
    };
    let verdict = gates.get_verdict(request).await?.into_inner();
    verdict_from_pb(verdict).map_err(AskError::Refused)
}

/// Waits for a final verdict. A server that goes away is asked again until the time is over; what
/// it said before it went is then no answer.
async fn wait(arguments: &Arguments) -> Result<Verdict, AskError> {
    let reach = arguments.server.reach()?;
    let mut watch = Watch {
        waiting: Waiting::begin(&arguments.deployment, arguments.timeout, arguments.progress),
        last: None,
    };
    let watching = async {
        loop {
            match watch.until_final(&reach, &arguments.deployment).await {
                Ok(()) => return,
                Err(AskError::Away(reason)) => {
                    watch.waiting.lose(&reason);
                    watch.last = Some(Err(AskError::Away(reason)));
                }
                Err(refused @ AskError::Refused(_)) => {
                    watch.last = Some(Err(refused));
                    return;
                }
            }
            sleep(RETRY).await;
        }
    };
    // At the timeout the verdict as it stands is the answer.
    drop(timeout(arguments.timeout, watching).await);
    watch.waiting.end();
    match watch.last {
        Some(last) => last,
        // The time was over before anybody could answer: then it is as without waiting.
        None => ask(arguments).await,
    }
}

/// What a waiting client has seen.
struct Watch {
    waiting: Waiting,
    /// What the server said last.
    last: Option<Result<Verdict, AskError>>,
}

impl Watch {
    async fn until_final(&mut self, reach: &Reach, deployment: &str) -> Result<(), AskError> {
        let mut gates = connect(reach).await?;
        let request = pb::WatchVerdictRequest {
            deployment: deployment.to_owned(),
        };
        let mut verdicts = gates.watch_verdict(request).await?.into_inner();
        while let Some(verdict) = verdicts.message().await? {
            let verdict = verdict_from_pb(verdict).map_err(AskError::Refused)?;
            let is_final = verdict.is_final;
            if !is_final {
                self.waiting.show(&verdict);
            }
            self.last = Some(Ok(verdict));
            if is_final {
                return Ok(());
            }
        }
        Err(AskError::Away(
            "the server closed the stream before the verdict was final".to_owned(),
        ))
    }
}

/// Connects to an engine.
pub(super) async fn connect(reach: &Reach) -> Result<client::Gates, AskError> {
    let connected = client::connect(reach).await;
    connected.map_err(|error| away(&reach.server, &error))
}

/// Nobody can be reached there.
fn away(server: &str, error: &dyn Error) -> AskError {
    let mut message = format!("no engine answers at {server}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        // Some errors are called as their cause is.
        let words = cause.to_string();
        if !message.ends_with(&words) {
            message.push_str(": ");
            message.push_str(&words);
        }
        source = cause.source();
    }
    let hints = [
        // The first bytes of an answer that is not encrypted make no sense as TLS.
        (
            "InvalidContentType",
            "what answers there is not encrypted: leave https:// and --ca-file out",
        ),
        (
            "CaUsedAsEndEntity",
            "the engine shows the certificate of an authority: give it one that the authority signed (openssl: \
             basicConstraints=CA:FALSE)",
        ),
        (
            "http2 error",
            "what answers there may be encrypted: try https:// with --ca-file",
        ),
    ];
    let hint = hints.iter().find(|(sign, _)| message.contains(sign));
    if let Some((_, hint)) = hint {
        message.push_str("; ");
        message.push_str(hint);
    }
    AskError::Away(message)
}

impl From<Status> for AskError {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        // Asking again would not make a web server of it speak gRPC.
        if message.starts_with("grpc-status header missing")
            || message.contains("invalid compression flag")
        {
            return Self::Refused(
                "what answers there speaks HTTP, but not gRPC: name the gRPC port with --server (7070 unless \
                 listen.grpc says otherwise)"
                    .to_owned(),
            );
        }
        match status.code() {
            Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::Internal
            | Code::Aborted
            | Code::DeadlineExceeded
            | Code::DataLoss => Self::Away(message),
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => Self::Refused(message),
        }
    }
}

impl std::fmt::Display for AskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Away(message) | Self::Refused(message) => f.write_str(message),
        }
    }
}

/// Reads `90s`, `15m`, `12h`, `7d`, `500ms`, or several of them one after the other.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write it as 90s, 15m, 12h or 7d");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|letter: char| !letter.is_ascii_digit())
            .ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = Duration::from_millis(number.checked_mul(millis).ok_or_else(wrong)?);
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_port_is_answered_with_the_flag_that_there_is() {
        let refused = AskError::from(Status::unknown("grpc-status header missing, mapped"));
        let told = refused.to_string();
        assert!(matches!(refused, AskError::Refused(_)), "{told}");
        assert!(
            told.contains("--server") && !told.contains("--url"),
            "{told}"
        );
    }

    #[test]
    fn durations_are_read_as_in_the_configuration() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("12h", 43_200),
            ("7d", 604_800),
            ("1h30m", 5_400),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for text in [
            "",
            "5",
            "m",
            "5x",
            "-5m",
            "5 m",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_pass_exits_with_zero_unless_a_bypass_is_accepted() {
        for (state, code, accepting) in [
            (VerdictState::Pass, 0, 0),
            (VerdictState::Fail, 1, 1),
            (VerdictState::Pending, 3, 3),
            (VerdictState::NoData, 4, 4),
            (VerdictState::Bypassed, 5, 0),
        ] {
            assert_eq!(
                (exit_code(state, false), exit_code(state, true)),
                (code, accepting)
            );
        }
    }
}
