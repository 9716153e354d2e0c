//! Serves the requests of each connection, and closes connections that keep a place for nothing.
//!
//! A connection is held as long as a request is under way: one that has not begun a first request in
//! time, and one that has been idle for long, makes room; while others wait to be accepted, the idle do
//! so soon. Bodies that stop on their way end with an error. All of it is before anybody has said who they
//! are, so that nobody can close the doors by opening connections and saying nothing.

use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, Sleep, sleep_until},
};
use tonic::{Code, Status, codegen::Service};
use tracing::debug;

use super::{
    listener::Listener,
    tls::{Peer, Protocols},
};

/// Whether a body ended with an error because it stopped on its way.
pub(super) fn is_late(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        let status = cause.downcast_ref::<Status>();
        status.is_some_and(|status| status.code() == Code::DeadlineExceeded)
    })
}

/// How long what happens on a connection may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// From its opening to the whole head of its first request.
    pub(super) first: Duration,
    /// Without a request under way.
    pub(super) idle: Duration,
    /// The same while others wait to be accepted.
    pub(super) idle_crowded: Duration,
    /// Without a further piece of a body.
    pub(super) piece: Duration,
    /// For the whole of a body.
    pub(super) body: Duration,
    /// For a client to close what it was asked to.
    pub(super) farewell: Duration,
}

impl Patience {
    /// What is promised: `guide/limits.md` says the same.
    pub(super) const DEFAULT: Self = Self {
        first: Duration::from_secs(5),
        idle: Duration::from_mins(2),
        idle_crowded: Duration::from_secs(5),
        piece: Duration::from_secs(10),
        body: Duration::from_secs(30),
        farewell: Duration::from_secs(2),
    };
}

/// Reflection is a conversation: its requests may come as slowly as a person reads.
const CONVERSATIONS: &str = "/grpc.reflection.";
const CONVERSATION_PATIENCE: Duration = Duration::from_mins(5);

/// HTTP/2: what a connection may have open and send at a time.
const STREAMS_MAX: u32 = 256;
const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
const RESET_STREAMS_MAX: usize = 20;
const LOCAL_RESETS_MAX: usize = 256;
/// HTTP/1.1: heads of requests.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 64 << 10;
/// A peer that is gone is noticed.
const PING_EVERY: Duration = Duration::from_secs(30);
const PONG_PATIENCE: Duration = Duration::from_secs(20);

/// Serves the connections of a listener until `stopping` says so, then finishes what is under way.
pub(super) async fn serve(
    router: Router,
    mut listener: Listener,
    protocols: Protocols,
    stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let crowded = listener.crowded();
    let mut asked = stopping.clone();
    let asked = asked.wait_for(|stopping| *stopping);
    let mut asked = pin!(asked);
    loop {
        let connection = tokio::select! {
            connection = listener.next() => connection,
            // An error means that the engine is gone already.
            _ = &mut asked => break,
        };
        while connections.try_join_next().is_some() {}
        let peer = connection.peer().clone();
        let door = Door::new(router.clone(), peer, Patience::DEFAULT);
        let conditions = Conditions {
            crowded: crowded.clone(),
            stopping: stopping.clone(),
        };
        connections.spawn(converse(connection, door, protocols, conditions));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// What else decides how long a connection is kept.
#[derive(Clone, Debug)]
struct Conditions {
    /// Whether others wait to be accepted.
    crowded: watch::Receiver<bool>,
    /// Whether the engine shuts down.
    stopping: watch::Receiver<bool>,
}

/// Serves one connection until it is closed, or keeps its place for nothing.
async fn converse<I>(io: I, door: Door, protocols: Protocols, mut conditions: Conditions)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (activity, patience) = (Arc::clone(&door.activity), door.patience);
    let builder = builder(protocols);
    let service = TowerToHyperService::new(door);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    tokio::select! {
        ended = connection.as_mut() => return tell(ended),
        () = activity.over(patience, &mut conditions) => {}
    }
    connection.as_mut().graceful_shutdown();
    // What is under way is finished; a connection without a request is gone after the farewell.
    tokio::select! {
        ended = connection.as_mut() => tell(ended),
        () = activity.done(patience.farewell) => {}
    }
}

fn tell(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        debug!(%error, "a connection broke off");
    }
}

fn builder(protocols: Protocols) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Not its own limit for heads, which would close a connection as soon between two requests.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_PATIENCE);
    match protocols {
        Protocols::Grpc => builder.http2_only(),
        Protocols::Http => builder,
    }
}

/// Which requests of a connection are under way.
#[derive(Debug)]
struct Activity {
    /// When the connection was opened.
    since: Instant,
    under_way: AtomicUsize,
    changed: Notify,
}

/// A request that is under way, until its answer is sent.
#[derive(Debug)]
struct Flight(Arc<Activity>);

impl Activity {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            under_way: AtomicUsize::new(0),
            changed: Notify::new(),
        }
    }

    fn begin(self: &Arc<Self>) -> Flight {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        Flight(Arc::clone(self))
    }

    fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }

    /// Waits until the connection has been idle for too long, or the engine shuts down.
    async fn over(&self, patience: Patience, conditions: &mut Conditions) {
        let Conditions { crowded, stopping } = conditions;
        let mut idle_since = Some(self.since);
        let mut is_first = true;
        let stopped = stopping.wait_for(|stopping| *stopping);
        let mut stopped = pin!(stopped);
        loop {
            let limit = match (is_first, *crowded.borrow_and_update()) {
                (true, _) => patience.first,
                (false, true) => patience.idle_crowded,
                (false, false) => patience.idle,
            };
            let until = idle_since.map(|since| since + limit);
            tokio::select! {
                // Who has just begun a request is not idle.
                biased;
                () = self.changed.notified() => {
                    is_first = false;
                    idle_since = self.is_idle().then(Instant::now);
                }
                // Whoever tells of it may be gone: then nobody waits.
                Ok(()) = crowded.changed() => {}
                () = expired(until) => return,
                // An error means that the engine is gone already.
                _ = &mut stopped => return,
            }
        }
    }

    /// Waits until nothing has been under way for so long.
    async fn done(&self, farewell: Duration) {
        loop {
            let until = self.is_idle().then(|| Instant::now() + farewell);
            tokio::select! {
                () = self.changed.notified() => {}
                () = expired(until) => return,
            }
        }
    }
}

async fn expired(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

/// What answers the requests of one connection.
#[derive(Clone, Debug)]
struct Door {
    router: Router,
    peer: Peer,
    patience: Patience,
    activity: Arc<Activity>,
}

impl Door {
    fn new(router: Router, peer: Peer, patience: Patience) -> Self {
        Self {
            router,
            peer,
            patience,
            activity: Arc::new(Activity::new()),
        }
    }
}

impl<B> Service<Request<B>> for Door
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response<Held>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let flight = self.activity.begin();
        let (piece, whole) = if request.uri().path().starts_with(CONVERSATIONS) {
            (CONVERSATION_PATIENCE, CONVERSATION_PATIENCE)
        } else {
            (self.patience.piece, self.patience.body)
        };
        let mut request = request.map(|body| Body::new(Timed::new(body, piece, whole)));
        request.extensions_mut().insert(self.peer.clone());
        let answer = self.router.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(response.map(|body| Held {
                body,
                _flight: flight,
            }))
        })
    }
}

/// The body of an answer, whose request is under way until it is sent.
#[derive(Debug)]
struct Held {
    body: Body,
    _flight: Flight,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, which ends with an error when it stops on its way.
struct Timed<B> {
    body: B,
    piece: Duration,
    /// When the next piece has to be there; from the first time that it was waited for.
    until: Option<Pin<Box<Sleep>>>,
    whole: Duration,
    over: Option<Instant>,
}

impl<B> Timed<B> {
    fn new(body: B, piece: Duration, whole: Duration) -> Self {
        Self {
            body,
            piece,
            until: None,
            whole,
            over: None,
        }
    }
}

impl<B> http_body::Body for Timed<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.until = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let now = Instant::now();
        let over = *this.over.get_or_insert(now + this.whole);
        let until = this
            .until
            .get_or_insert_with(|| Box::pin(sleep_until(over.min(now + this.piece))));
        match until.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                // gRPC finds the status in it and answers with it; senders come again.
                let late = Status::deadline_exceeded("the body stopped on its way");
                Poll::Ready(Some(Err(late.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
