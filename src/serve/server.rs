//! Starts the engine with all its doors, and stops it in order.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::{Router, middleware};
use tokio::{
    sync::{broadcast, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::{codec::CompressionEncoding, service::Routes};
use tonic_health::pb::health_server::HealthServer;
use tracing::{info, warn};

use super::{
    access::Guard,
    clock::{Clock, Stopwatch},
    clock_step::{self, ClockSteps},
    connections,
    core::{Core, Ending, RECOVERY_PATIENCE, Unavailable},
    feed::Feed,
    gates::{self, GatesService},
    guard,
    health::HealthService,
    intake::Intake,
    listener::Listener,
    metrics::Metrics,
    otlp_grpc::{
        OtlpLogs, OtlpMetrics, correct_status,
        services::{
            logs_service_server::LogsServiceServer, metrics_service_server::MetricsServiceServer,
        },
    },
    otlp_http,
    pb::gates_server::GatesServer,
    recovery::{JournalSettings, Recovery},
    reload::{self, Reloader, Reloading},
    routes,
    shared::Shared,
    sink_counters::SinkCounters,
    sources::{Reach, Sources, World},
    start_error::StartError,
    tls::{Encryption, Protocols},
    watch::Places,
};
use crate::{
    engine::Selector,
    event::{KeyHash, Span, Timestamp},
    gate::Verdict,
    journal::Limits,
    plan::Plan,
    reduce::Select,
};

/// The protocol files, for reflection.
pub(super) const DESCRIPTORS: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/sluice.v1.descriptors.bin"));

/// How long requests that are under way may take when the engine stops.
const DRAIN_PATIENCE: Duration = Duration::from_secs(7);
/// How long the core may take to end after that.
const CORE_PATIENCE: Duration = Duration::from_secs(2);
/// Ticks come at least this often.
const TICK_MAX: Duration = Duration::from_secs(1);

/// What an engine is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The configuration.
    pub plan: Arc<Plan>,
    /// Where the journal and the saved states are; `None`: nothing outlasts the process.
    pub data_dir: Option<PathBuf>,
    /// Where time comes from.
    pub clock: Clock,
    /// Where the configuration is read anew; `None`: it is not.
    pub source: Option<reload::Source>,
}

/// Where the engine listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The gates' gRPC API.
    pub grpc: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
    /// OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
}

/// A running engine.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    addresses: Addresses,
    stop: watch::Sender<bool>,
    doors: JoinSet<()>,
}

impl Server {
    /// Starts an engine. It is ready when this returns, unless it has much of a journal to read: see
    /// [`Server::is_ready`].
    ///
    /// # Errors
    /// An address is in use, or the data directory cannot be used.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let Settings {
            plan,
            data_dir,
            clock,
            source,
        } = settings;
        let sources = Sources::new(&plan, data_dir.is_some()).map_err(StartError::Sources)?;
        if let Some((key, address)) = plan.exposed() {
            return Err(StartError::Exposed { key, address });
        }
        let guard = Guard::new(&plan.access).map_err(StartError::Access)?;
        let encryption = encryption(&plan)?;
        let (listeners, addresses) = bind_all(&plan, &encryption).await?;
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let keys = KeyHash::new(RandomState::new().hash_one(0)).for_threads(threads);
        let started_at = clock.now();
        let mut recovery = data_dir
            .as_deref()
            .map(|path| Recovery::open(path, &plan, keys, journal_settings(&plan, started_at)))
            .transpose()
            .map_err(StartError::Recovery)?;
        if let Some(recovery) = &mut recovery {
            recovery.refetch_by(sources.refetch(&plan).map_err(StartError::Sources)?);
        } else {
            warn!("state is kept in memory only: without --data-dir a restart forgets everything");
        }
        let core = Core::start(&plan, keys, recovery).map_err(StartError::Core)?;
        // A long recovery does not hold up the doors: they say that it is under way.
        match timeout(RECOVERY_PATIENCE, core.ready()).await {
            Ok(Ok(())) if sources.reach() == Reach::Clock => first_tick(&core, started_at).await?,
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(StartError::Stopped),
            Err(_) => warn!("the journal is being read: verdicts are PENDING until that is done"),
        }
        let metrics = Arc::new(Metrics::new(started_at));
        let selector = Selector::new(Arc::clone(&plan));
        let intake = Intake::new(
            core.clone(),
            Arc::clone(&metrics),
            &plan,
            selector.stream_labels().clone(),
        );
        let (stop, stopping) = watch::channel(false);
        let ports = encryption.into_iter().flatten().collect();
        let reloading = Reloading::new(source, ports, &plan, started_at);
        let places = Places::of(plan.limits.connections);
        let shared = Arc::new(Shared {
            plan: ArcSwap::new(plan),
            clock,
            core,
            intake,
            guard: ArcSwap::from_pointee(guard),
            reloading,
            sources: Arc::new(sources),
            metrics,
            places,
            stopping,
        });

        let doors = open_doors(&shared, listeners)?;
        Ok(Self {
            shared,
            addresses,
            stop,
            doors,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Whether it takes inputs; not while it reads its journal.
    pub fn is_ready(&self) -> bool {
        self.shared.core.is_ready()
    }

    /// Every change of a verdict from now on, in order.
    pub fn changes(&self) -> broadcast::Receiver<Arc<Verdict>> {
        self.shared.published().changes()
    }

    /// What reads the configuration anew.
    pub fn reloader(&self) -> Reloader {
        Reloader(Arc::clone(&self.shared))
    }

    /// Deployments as they stand, for what tells others of them.
    pub fn feed(&self) -> Feed {
        Feed::new(self.shared.published(), &self.shared.clock)
    }

    /// The counters of a sink, which `/metrics` shows from now on.
    pub fn sink_counters(&self, sink: &str) -> Arc<SinkCounters> {
        self.shared.metrics.sinks.of(sink)
    }

    /// Moves the core to the clock's present, once what is fetched has come there, and waits until it
    /// is there.
    ///
    /// # Errors
    /// The engine has stopped.
    pub async fn tick(&self) -> Result<(), Unavailable> {
        self.shared.sources.caught_up().await;
        self.shared.look_at_clock();
        self.shared.core.tick(self.shared.clock.now()).await
    }

    /// Runs until `asked` comes or the core dies, then stops: no new connections, requests that are
    /// under way are finished, the journal is flushed.
    pub async fn run(mut self, asked: impl Future<Output = ()>) -> Ending {
        tokio::select! {
            () = asked => info!("stopping"),
            _ = Core::ended(self.shared.core.ending()) => {}
        }
        self.stop.send_replace(true);
        let doors = &mut self.doors;
        let drained = async { while doors.join_next().await.is_some() {} };
        if timeout(DRAIN_PATIENCE, drained).await.is_err() {
            warn!("some requests were cut off: they took too long");
            self.doors.abort_all();
        }
        // A core that still reads its journal has taken nothing that could be lost.
        let late = if self.shared.core.is_ready() {
            Ending::Died
        } else {
            Ending::Asked
        };
        self.shared.core.stop().await;
        let ended = Core::ended(self.shared.core.ending());
        timeout(CORE_PATIENCE, ended).await.unwrap_or(late)
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// Moves the core to the present. On a full disk an engine starts all the same, and says what is wrong
/// until there is room.
async fn first_tick(core: &Core, now: Timestamp) -> Result<(), StartError> {
    match core.tick(now).await {
        Err(unavailable) if unavailable.is_final() => Err(StartError::Stopped),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn journal_settings(plan: &Plan, started_at: Timestamp) -> JournalSettings {
    let journal = &plan.journal;
    JournalSettings {
        limits: Limits {
            bytes_max: plan.limits.journal_bytes as u64,
            keep: journal.keep,
            ..Limits::default()
        },
        snapshot_every: journal.snapshot_every,
        commit_delay: Duration::from_nanos(journal.commit_delay.nanos().max(0) as u64),
        started_at,
    }
}

/// How connections are encrypted where gRPC is spoken, and where HTTP is.
fn encryption(plan: &Plan) -> Result<[Option<Encryption>; 2], StartError> {
    let of = |protocols| {
        let tls = plan.tls.as_ref();
        let encryption = tls.map(|tls| Encryption::new(tls, protocols));
        encryption.transpose().map_err(StartError::Access)
    };
    Ok([of(Protocols::Grpc)?, of(Protocols::Http)?])
}

/// Listens at each address, in the order of [`Addresses`].
async fn bind_all(
    plan: &Plan,
    [grpc, http]: &[Option<Encryption>; 2],
) -> Result<([Listener; 4], Addresses), StartError> {
    let connections = plan.limits.connections;
    let bind = async |key, address, tls: &Option<Encryption>| {
        let listener = Listener::bind(address, connections, tls.clone()).await;
        listener.map_err(|error| StartError::Listen {
            key,
            address,
            error,
        })
    };
    let listen = &plan.listen;
    let listeners = [
        bind("listen.grpc", listen.grpc, grpc).await?,
        bind("listen.http", listen.http, http).await?,
        bind("listen.otlp_grpc", listen.otlp_grpc, grpc).await?,
        bind("listen.otlp_http", listen.otlp_http, http).await?,
    ];
    let [grpc, http, otlp_grpc, otlp_http] = listeners.each_ref().map(Listener::address);
    let addresses = Addresses {
        grpc,
        http,
        otlp_grpc,
        otlp_http,
    };
    Ok((listeners, addresses))
}

/// Serves on each listener, in the order of [`Addresses`], and starts the clock.
fn open_doors(
    shared: &Arc<Shared>,
    [grpc, http, otlp_grpc, otlp_http]: [Listener; 4],
) -> Result<JoinSet<()>, StartError> {
    let share = || Arc::clone(shared);
    let mut doors = JoinSet::new();
    let mut open = |router: Router, listener: Listener, protocols: Protocols| {
        let stopping = shared.stopping.clone();
        doors.spawn(connections::serve(router, listener, protocols, stopping));
    };
    open(gates_router(shared)?, grpc, Protocols::Grpc);
    open(otlp_router(shared), otlp_grpc, Protocols::Grpc);
    open(routes::router(share()), http, Protocols::Http);
    open(otlp_http::routes(share()), otlp_http, Protocols::Http);
    let sources = Arc::clone(&shared.sources);
    let world = World {
        plan: shared.plan(),
        clock: shared.clock.clone(),
        stop: shared.stopping.clone(),
    };
    doors.spawn(sources.run(shared.core.clone(), world));
    match &shared.clock {
        Clock::System => drop(doors.spawn(tick_by_the_clock(share()))),
        Clock::Manual(_) => {}
    }
    Ok(doors)
}

fn gates_router(shared: &Arc<Shared>) -> Result<Router, StartError> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1().map_err(StartError::Reflection)?;
    let v1alpha = reflection().build_v1alpha();
    let gates = GatesServer::new(GatesService(Arc::clone(shared)))
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd);
    let routes = Routes::new(gates)
        .add_service(HealthServer::new(HealthService(Arc::clone(shared))))
        .add_service(v1)
        .add_service(v1alpha.map_err(StartError::Reflection)?)
        .into_axum_router()
        .layer(middleware::from_fn(gates::correct_status))
        .layer(middleware::from_fn_with_state(
            Arc::clone(shared),
            guard::grpc,
        ));
    Ok(routes)
}

fn otlp_router(shared: &Arc<Shared>) -> Router {
    let limit = shared.plan().limits.decompressed_bytes;
    let metrics = MetricsServiceServer::new(OtlpMetrics(Arc::clone(shared)))
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(limit);
    let logs = LogsServiceServer::new(OtlpLogs(Arc::clone(shared)))
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(limit);
    Routes::new(metrics)
        .add_service(logs)
        .into_axum_router()
        .layer(middleware::from_fn_with_state(
            Arc::clone(shared),
            guard::grpc,
        ))
        .layer(middleware::from_fn_with_state(
            Arc::clone(shared),
            correct_status,
        ))
}

async fn stopping(mut stopping: watch::Receiver<bool>) {
    // An error means that the engine is gone already.
    drop(stopping.wait_for(|stopping| *stopping).await);
}

async fn tick_by_the_clock(shared: Arc<Shared>) {
    let resolution = u64::try_from(shared.plan().resolution.nanos()).unwrap_or(u64::MAX);
    let mut ticks = interval(Duration::from_nanos(resolution.max(1_000_000)).min(TICK_MAX));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stopping = stopping(shared.stopping.clone());
    tokio::pin!(stopping);
    let mut latest = None;
    let mut reach = shared.sources.reaches();
    let (running, mut steps) = (Stopwatch::start(), ClockSteps::default());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // Its sender lives as long as the engine.
            Ok(()) = reach.changed() => {}
            () = &mut stopping => return,
        }
        if let Some(step) = steps.look(shared.clock.now(), running.elapsed()) {
            clock_step::tell(step);
        }
        shared.look_at_clock();
        // A clock that was set back must not take event time back.
        latest = latest.max(shared.core.recovered_at());
        let Some(now) = next_tick(&shared, latest) else {
            continue;
        };
        latest = Some(now);
        match shared.core.tick(now).await {
            Err(unavailable) if unavailable.is_final() => return,
            // Time stands still while a tick cannot be recorded, and goes on with the next that can.
            Ok(()) | Err(_) => {}
        }
    }
}

/// The time of the tick after `latest`; `None`: time stands still.
fn next_tick(shared: &Shared, latest: Option<Timestamp>) -> Option<Timestamp> {
    let (reach, clock) = (shared.sources.reach(), shared.clock.now());
    let next = match reach {
        Reach::Nowhere => None,
        Reach::Until(reached) => Some(reached.min(clock)).filter(|next| latest < Some(*next)),
        Reach::Clock => Some(latest.map_or(clock, |latest| latest.max(clock))),
    };
    let is_far =
        |at: Timestamp| clock - at >= Span::from_nanos(shared.plan().limits.future.nanos() / 2);
    let is_far_behind = reach != Reach::Clock && next.or(latest).is_some_and(is_far);
    shared.core.set_far_behind(is_far_behind);
    next
}

/// One line, as `sluice serve` prints it.
impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "grpc={} http={} otlp_grpc={} otlp_http={}",
            self.grpc, self.http, self.otlp_grpc, self.otlp_http
        )
    }
}
