//! `sluice serve`: runs the engine.

use std::{
    error::Error,
    io::{IsTerminal, Write, stderr, stdout},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

use super::{exit, print};
use crate::{
    plan::Plan,
    serve::{Addresses, Clock, Ending, Server, Settings},
    source::files,
};

/// How long threads that still decode may hold up the end of the process.
const THREADS_PATIENCE: Duration = Duration::from_millis(500);

/// Arguments of `sluice serve`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration; without it embedded defaults on loopback
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where every input is recorded, in inputs.journal; without it nothing is written
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What is logged to stderr: error, warn, info, debug, or a filter like sluice=debug
    #[arg(
        long,
        env = "SLUICE_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    log: String,
}

pub(super) fn run(arguments: Arguments) -> u8 {
    let plan = match plan(arguments.config.as_deref()) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    if let Err(error) = log_to_stderr(&arguments.log) {
        print::error(&format!("--log {:?}: {error}", arguments.log));
        return exit::ERROR;
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            print::error(&format!("no threads to run on: {error}"));
            return exit::ERROR;
        }
    };
    let settings = Settings {
        plan: Arc::new(plan),
        data_dir: arguments.data_dir,
        clock: Clock::System,
    };
    let code = runtime.block_on(serve(settings));
    runtime.shutdown_timeout(THREADS_PATIENCE);
    code
}

fn plan(file: Option<&Path>) -> Result<Plan, u8> {
    let Some(file) = file else {
        return Ok(Plan::embedded());
    };
    let text = files::text(file).map_err(|error| {
        print::error(&error);
        exit::ERROR
    })?;
    let plan = Plan::parse(&text).map_err(|faults| {
        print::error(&faults);
        exit::ERROR
    })?;
    for warning in plan.warnings() {
        print::warning(&warning);
    }
    Ok(plan)
}

fn log_to_stderr(filter: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let filter = EnvFilter::try_new(filter)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .try_init()
}

async fn serve(settings: Settings) -> u8 {
    // The signals are caught before anybody is told that the engine runs.
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        print::error(&"signals cannot be caught");
        return exit::ERROR;
    };
    let server = match Server::start(settings).await {
        Ok(server) => server,
        Err(error) => {
            let cause = error
                .source()
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            print::error(&format!("{error}{cause}"));
            return exit::ERROR;
        }
    };
    announce(server.addresses());
    let asked = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    match server.run(asked).await {
        Ending::Asked => exit::PASS,
        Ending::Died => {
            print::error(&"the engine stopped by itself, see above");
            exit::ERROR
        }
    }
}

/// One line for programs on stdout, one for people on stderr.
fn announce(addresses: &Addresses) {
    // The engine serves, whether or not anybody reads this.
    drop(writeln!(stdout(), "listening {addresses}"));
    let Addresses {
        grpc,
        http,
        otlp_grpc,
        otlp_http,
    } = addresses;
    drop(writeln!(
        stderr(),
        "sluice {} is ready: web page, remote write and metrics at http://{http}, gates at {grpc}, \
         OTLP at {otlp_grpc} (gRPC) and {otlp_http} (HTTP)",
        env!("CARGO_PKG_VERSION")
    ));
}
