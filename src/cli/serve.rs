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
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::{demo as player, exit, log_filter::LogFilter, print};
use crate::{
    plan::Plan,
    serve::{
        Addresses, Clock, ConfigSource, Ending, ReloadError, Reloader, Server, Settings, StartError,
    },
    sink::{SinkError, Sinks},
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
        print::error(&format!("--log {:?} (SLUICE_LOG): {error}", arguments.log));
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
        source: arguments.config.map(|file| ConfigSource { file, read }),
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
    let plan = read(file).map_err(|problem| {
        print::error(&problem);
        exit::ERROR
    })?;
    for warning in plan.warnings() {
        print::warning(&warning);
    }
    Ok((plan, None))
}

/// Reads a configuration, also while the engine runs.
fn read(file: &Path) -> Result<Plan, ReloadError> {
    let text = files::text(file).map_err(|error| ReloadError::Unusable(error.to_string()))?;
    let plan = files::plan(&text).map_err(ReloadError::Faults)?;
    Sinks::check(&plan).map_err(|error| ReloadError::Unusable(print::with_cause(&error)))?;
    Ok(plan)
}

fn log_to_stderr(filter: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let LogFilter { filter, warning } = LogFilter::read(filter)?;
    if let Some(warning) = warning {
        print::warning(&warning);
    }
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .try_init()
}

async fn serve(settings: Settings, timeline: Option<Timeline>, hands: &AtomicI64) -> u8 {
    // The signals are caught before anybody is told that the engine runs.
    // A terminal that is closed ends the demo. An engine without a file has nothing to read anew: it says so and
    // goes on.
    let hangup = timeline.is_none().then(|| signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(hangup)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        hangup.transpose(),
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
    let told = Told {
        data_dir,
        page: format!("http://{}", server.addresses().http),
        reloader: server.reloader(),
    };
    let sinks = match told.start(&plan).await {
        Ok(sinks) => sinks,
        Err(error) => {
            print::error(&print::with_cause(&error));
            return exit::ERROR;
        }
    };
    let (stop_sinks, stopping) = oneshot::channel();
    let sinks = tokio::spawn(told.keep(sinks, plan, stopping));
    if let Some(hangup) = hangup {
        tokio::spawn(reload_at(hangup, server.reloader()));
    }
    announce(server.addresses(), server.is_ready());
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
    drop(stop_sinks);
    // A task that panicked has told of itself.
    drop(sinks.await);
    match ending {
        Ending::Asked => exit::PASS,
        Ending::Died => {
            print::error(&"the engine stopped by itself, see above");
            exit::ERROR
        }
    }
}

/// Who is told of verdicts, as the configuration says.
struct Told {
    data_dir: Option<PathBuf>,
    page: String,
    reloader: Reloader,
}

impl Told {
    async fn start(&self, plan: &Plan) -> Result<Sinks, SinkError> {
        let (feed, counters) = (self.reloader.feed(), |sink: &str| {
            self.reloader.sink_counters(sink)
        });
        Sinks::start(plan, self.data_dir.as_deref(), &self.page, &feed, counters).await
    }

    /// Starts the sinks anew whenever the configuration names others, until it is told to stop.
    async fn keep(self, sinks: Sinks, plan: Arc<Plan>, mut stopping: oneshot::Receiver<()>) {
        let (mut sinks, mut plan) = (Some(sinks), plan);
        let mut plans = self.reloader.plans();
        loop {
            tokio::select! {
                // An error is the end as well.
                _ = &mut stopping => break,
                changed = plans.changed() => if changed.is_err() { break },
            }
            let next = Arc::clone(&plans.borrow_and_update());
            let is_same = next.sinks == plan.sinks
                && next.verdict_topics == plan.verdict_topics
                && next.external_url == plan.external_url;
            plan = next;
            if is_same && sinks.is_some() {
                continue;
            }
            if let Some(sinks) = sinks.take() {
                sinks.stop().await;
            }
            match self.start(&plan).await {
                Ok(started) => sinks = Some(started),
                Err(error) => tracing::error!(
                    error = print::with_cause(&error),
                    "nobody is told of verdicts until the configuration is read anew"
                ),
            }
        }
        if let Some(sinks) = sinks {
            sinks.stop().await;
        }
    }
}

/// Reads the configuration anew at each SIGHUP; the log tells what came of it.
async fn reload_at(mut hangup: Signal, reloader: Reloader) {
    while hangup.recv().await.is_some() {
        drop(reloader.reload("SIGHUP").await);
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
fn announce(addresses: &Addresses, is_ready: bool) {
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
        "sluice {} {}: web page, remote write and metrics at http://{http}, gates at {grpc}, \
         OTLP at {otlp_grpc} (gRPC) and {otlp_http} (HTTP)",
        env!("CARGO_PKG_VERSION"),
        if is_ready {
            "is ready"
        } else {
            "listens, and is ready once it has read its journal (see /-/ready)"
        }
    ));
}
