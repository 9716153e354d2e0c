//! `sluice serve`: runs the engine.

use std::{
    error::Error,
    io::{ErrorKind, IsTerminal, Write, stderr, stdout},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use clap::Args;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

use super::{demo as player, exit, print};
use crate::{
    plan::Plan,
    serve::{Addresses, Clock, Ending, Server, Settings, StartError},
    sink::Sinks,
    source::{demo, files, timeline::Timeline},
};

/// How long threads that still decode may hold up the end of the process.
const THREADS_PATIENCE: Duration = Duration::from_millis(500);

/// Arguments of `sluice serve`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration; without it embedded defaults on loopback
    #[arg(long, value_name = "FILE", conflicts_with = "demo")]
    config: Option<PathBuf>,
    /// Plays a bundled real recording through the network doors: a bad deployment is failed, a good
    /// one passed
    #[arg(long)]
    demo: bool,
    /// Where every input is recorded, in journal/; without it nothing is written
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What is logged to stderr: error, warn, info, debug, or a filter like sluice=debug
    #[arg(
        long,
        env = "SLUICE_LOG",
        default_value = "info",
        default_value_if("demo", "true", "error"),
        value_name = "FILTER"
    )]
    log: String,
}

pub(super) fn run(arguments: Arguments) -> u8 {
    let prepared = if arguments.demo {
        demo_plan()
    } else {
        plan(arguments.config.as_deref())
    };
    let (plan, timeline) = match prepared {
        Ok(prepared) => prepared,
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
    let hands = Arc::new(AtomicI64::new(0));
    let clock = match &timeline {
        Some(_) => Clock::Manual(Arc::clone(&hands)),
        None => Clock::System,
    };
    let settings = Settings {
        plan: Arc::new(plan),
        data_dir: arguments.data_dir,
        clock,
    };
    let code = runtime.block_on(serve(settings, timeline, &hands));
    runtime.shutdown_timeout(THREADS_PATIENCE);
    code
}

fn demo_plan() -> Result<(Plan, Option<Timeline>), u8> {
    match demo::recording() {
        Ok((plan, timeline)) => Ok((plan, Some(timeline))),
        Err(error) => {
            print::error(&error);
            Err(exit::ERROR)
        }
    }
}

fn plan(file: Option<&Path>) -> Result<(Plan, Option<Timeline>), u8> {
    let Some(file) = file else {
        return Ok((Plan::embedded(), None));
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
    Ok((plan, None))
}

fn log_to_stderr(filter: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let filter = EnvFilter::try_new(filter)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .try_init()
}

async fn serve(settings: Settings, timeline: Option<Timeline>, hands: &AtomicI64) -> u8 {
    // The signals are caught before anybody is told that the engine runs.
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        print::error(&"signals cannot be caught");
        return exit::ERROR;
    };
    let (plan, data_dir) = (Arc::clone(&settings.plan), settings.data_dir.clone());
    let server = match start(settings, timeline.is_some()).await {
        Ok(server) => server,
        Err(error) => {
            print::error(&print::with_cause(&error));
            return exit::ERROR;
        }
    };
    let page = format!("http://{}", server.addresses().http);
    let (feed, counters) = (server.feed(), |sink: &str| server.sink_counters(sink));
    let sinks = match Sinks::start(&plan, data_dir.as_deref(), &page, &feed, counters).await {
        Ok(sinks) => sinks,
        Err(error) => {
            print::error(&print::with_cause(&error));
            return exit::ERROR;
        }
    };
    announce(server.addresses());
    let mut asked: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    if let Some(timeline) = timeline {
        let played = tokio::select! {
            played = player::play(&server, hands, timeline) => Some(played),
            () = &mut asked => None,
        };
        match played {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                print::error(&format!("the demo: {error}"));
                return exit::ERROR;
            }
            None => asked = Box::pin(async {}),
        }
    }
    let ending = server.run(asked).await;
    sinks.stop().await;
    match ending {
        Ending::Asked => exit::PASS,
        Ending::Died => {
            print::error(&"the engine stopped by itself, see above");
            exit::ERROR
        }
    }
}

/// Starts the engine. The demo has no configuration in which an address that is in use could be
/// changed, so it takes free ports instead.
async fn start(settings: Settings, takes_free_ports: bool) -> Result<Server, StartError> {
    match Server::start(settings.clone()).await {
        Err(StartError::Listen { error, .. })
            if takes_free_ports && error.kind() == ErrorKind::AddrInUse =>
        {
            let mut plan = Plan::clone(&settings.plan);
            let listen = &mut plan.listen;
            for address in [
                &mut listen.grpc,
                &mut listen.http,
                &mut listen.otlp_grpc,
                &mut listen.otlp_http,
            ] {
                address.set_port(0);
            }
            Server::start(Settings {
                plan: Arc::new(plan),
                ..settings
            })
            .await
        }
        started => started,
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
