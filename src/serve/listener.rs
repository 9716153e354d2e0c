//! Accepts connections, up to a limit, and encrypts them where the configuration says so.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::tls::{Encryption, Peer};

/// How long a listener rests when the system has no more file descriptors.
const REST: Duration = Duration::from_millis(100);

/// How long a client may take to agree on encryption.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
/// Encrypted connections that wait to be served.
const AGREED_MAX: usize = 16;

/// A listener that holds at most so many connections open; more wait to be accepted.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    incoming: Incoming,
    crowded: watch::Receiver<bool>,
}

/// Where connections come from.
#[derive(Debug)]
enum Incoming {
    Plain(Acceptor),
    /// From a task that agrees on encryption with many clients at once: a slow one holds nobody up.
    Encrypted(mpsc::Receiver<Connection>),
}

#[derive(Debug)]
struct Acceptor {
    listener: TcpListener,
    room: Arc<Semaphore>,
    /// Told while no connection can be accepted for want of room.
    crowded: watch::Sender<bool>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    peer: Peer,
    /// Gives its place to the next.
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl Listener {
    /// Listens at an address; port 0 lets the system choose.
    ///
    /// # Errors
    /// The address is in use or not ours.
    pub(super) async fn bind(
        address: SocketAddr,
        connections_max: usize,
        tls: Option<Encryption>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (crowding, crowded) = watch::channel(false);
        let acceptor = Acceptor {
            listener,
            crowded: crowding,
            room: Arc::new(Semaphore::new(
                connections_max.clamp(1, Semaphore::MAX_PERMITS),
            )),
        };
        let incoming = match tls {
            None => Incoming::Plain(acceptor),
            Some(tls) => {
                let (agreed, connections) = mpsc::channel(AGREED_MAX);
                tokio::spawn(encrypt(acceptor, tls, agreed));
                Incoming::Encrypted(connections)
            }
        };
        Ok(Self {
            address,
            incoming,
            crowded,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether no more connections are accepted for want of room.
    pub(super) fn crowded(&self) -> watch::Receiver<bool> {
        self.crowded.clone()
    }

    /// The next connection.
    pub(super) async fn next(&mut self) -> Connection {
        match &mut self.incoming {
            Incoming::Plain(acceptor) => {
                let (stream, _, permit) = acceptor.next().await;
                Connection {
                    stream: Stream::Plain(stream),
                    peer: Peer::default(),
                    _permit: permit,
                }
            }
            Incoming::Encrypted(connections) => match connections.recv().await {
                Some(next) => next,
                // The task lives as long as this end of its channel.
                None => std::future::pending().await,
            },
        }
    }
}

impl Connection {
    /// Who is at the other end.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }
}

/// Agrees on encryption with each client on its own until nobody takes connections any more.
async fn encrypt(acceptor: Acceptor, tls: Encryption, agreed: mpsc::Sender<Connection>) {
    let mut handshakes = JoinSet::new();
    loop {
        let (stream, address, permit) = tokio::select! {
            next = acceptor.next() => next,
            () = agreed.closed() => return,
        };
        while handshakes.try_join_next().is_some() {}
        let (tls, agreed) = (tls.acceptor(), agreed.clone());
        handshakes.spawn(async move {
            match timeout(HANDSHAKE_PATIENCE, tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let certificates = stream.get_ref().1.peer_certificates();
                    let connection = Connection {
                        peer: Peer::of(certificates.and_then(<[_]>::first)),
                        stream: Stream::Encrypted(Box::new(stream)),
                        _permit: permit,
                    };
                    // Nobody takes connections when the engine stops.
                    drop(agreed.send(connection).await);
                }
                Ok(Err(error)) => debug!(%error, %address, "no encryption was agreed on"),
                Err(_) => debug!(%address, "no encryption was agreed on in time"),
            }
        });
    }
}

impl Acceptor {
    /// A place for a connection; while there is none, those that are idle are asked to go.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            return Some(permit);
        }
        self.crowded.send_replace(true);
        // The semaphore is never closed, so that there is always a permit in the end.
        let permit = Arc::clone(&self.room).acquire_owned().await.ok();
        self.crowded.send_replace(false);
        permit
    }

    async fn next(&self) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
        let permit = self.place().await;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // A connection without it is slower, not wrong.
                    drop(stream.set_nodelay(true));
                    return (stream, peer, permit);
                }
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    sleep(REST).await;
                }
            }
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Encrypted(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Encrypted(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
