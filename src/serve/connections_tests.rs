//! Connections that keep a place for nothing make room. Time is paused: it passes only while everybody
//! waits.

use axum::{
    extract::Request as AxumRequest,
    response::IntoResponse,
    routing::{get, post},
};
use futures_util::stream;
use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::serve::http_request::read_body;

const PATIENCE: Patience = Patience::DEFAULT;

/// A connection to doors of this test, and what tells it of crowds and of the end.
struct Caller {
    stream: DuplexStream,
    crowded: watch::Sender<bool>,
    stopping: watch::Sender<bool>,
    served: JoinHandle<()>,
    since: Instant,
}

fn router() -> Router {
    let endless = || async {
        let pieces = stream::unfold(0_u32, |sent| async move {
            match sent {
                0 => Some((Ok::<_, Infallible>(Bytes::from_static(b"first")), 1)),
                1 => {
                    sleep_until(Instant::now() + Duration::from_hours(1)).await;
                    Some((Ok(Bytes::from_static(b"last")), 2))
                }
                _ => None,
            }
        });
        Body::from_stream(pieces).into_response()
    };
    let taken = |request: AxumRequest| async {
        let (head, body) = request.into_parts();
        match read_body(&head.headers, body, 1 << 10).await {
            Ok(bytes) => format!("{} bytes", bytes.len()).into_response(),
            Err(refusal) => refusal.into_response(),
        }
    };
    Router::new()
        .route("/", get(|| async { StatusCode::NO_CONTENT }))
        .route("/endless", get(endless))
        .route("/take", post(taken))
}

fn call(protocols: Protocols) -> Caller {
    let (stream, theirs) = duplex(64 << 10);
    let (crowded, is_crowded) = watch::channel(false);
    let (stopping, is_stopping) = watch::channel(false);
    let door = Door::new(router(), Peer::default(), PATIENCE);
    let conditions = Conditions {
        crowded: is_crowded,
        stopping: is_stopping,
    };
    Caller {
        stream,
        crowded,
        stopping,
        served: tokio::spawn(converse(theirs, door, protocols, conditions)),
        since: Instant::now(),
    }
}

impl Caller {
    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until this has come.
    async fn hear(&mut self, text: &str) -> String {
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains(text) {
            let read = self.stream.read_buf(&mut heard).await.unwrap();
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&heard));
        }
        String::from_utf8(heard).unwrap()
    }

    /// Waits until the connection is closed; after how many seconds that was.
    async fn closed(mut self) -> u64 {
        let mut rest = Vec::new();
        // Also a connection that is reset is closed.
        drop(self.stream.read_to_end(&mut rest).await);
        self.served.await.unwrap();
        self.since.elapsed().as_secs()
    }
}

/// Lets time pass once everybody waits.
async fn pass(time: Duration) {
    sleep_until(Instant::now() + time).await;
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed() {
    for protocols in [Protocols::Http, Protocols::Grpc] {
        let seconds = call(protocols).closed().await;
        assert!((5..=8).contains(&seconds), "{protocols:?}: {seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_no_request() {
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for said in ["G", "GET / HTTP/1.1\r\nHost: x\r\n", "PRI * HT", preface] {
        let mut caller = call(Protocols::Http);
        caller.say(said).await;
        pass(Duration::from_secs(4)).await;
        if said.starts_with("GET") {
            caller.say("X-More: 1\r\n").await;
        }
        let seconds = caller.closed().await;
        assert!((5..=8).contains(&seconds), "{said:?}: {seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_for_a_while_unless_others_wait() {
    let mut caller = call(Protocols::Http);
    for _ in 0..3 {
        caller.say(GET).await;
        caller.hear("204 No Content").await;
        pass(Duration::from_secs(100)).await;
    }
    let seconds = caller.closed().await;
    assert!((320..=323).contains(&seconds), "{seconds}");

    let mut caller = call(Protocols::Http);
    caller.say(GET).await;
    caller.hear("204 No Content").await;
    pass(Duration::from_mins(1)).await;
    caller.crowded.send_replace(true);
    let seconds = caller.closed().await;
    assert!((60..=63).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_is_under_way_until_its_end() {
    let mut caller = call(Protocols::Http);
    caller.say("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    caller.hear("first").await;
    caller.crowded.send_replace(true);
    caller.stopping.send_replace(true);
    caller.hear("last").await;
    let seconds = caller.closed().await;
    assert!((3_600..=3_603).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_or_drips_is_refused() {
    const POST: &str = "POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n";
    let mut caller = call(Protocols::Http);
    caller.say(&format!("{POST}1234")).await;
    let answer = caller.hear("not all within 30s").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(caller.since.elapsed().as_secs(), 10);

    let mut caller = call(Protocols::Http);
    caller.say(POST).await;
    let mut pieces = 0;
    let answer = loop {
        match timeout(Duration::from_secs(9), caller.hear("not all within 30s")).await {
            Ok(answer) => break answer,
            Err(_) => caller.say("1").await,
        }
        pieces += 1;
    };
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!((pieces, caller.since.elapsed().as_secs()), (3, 30));

    let mut caller = call(Protocols::Http);
    caller.say(&format!("{POST}12345")).await;
    pass(Duration::from_secs(9)).await;
    caller.say("6789").await;
    assert!(caller.hear("9 bytes").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_at_once_when_the_engine_stops() {
    let mut caller = call(Protocols::Http);
    caller.say(GET).await;
    caller.hear("204 No Content").await;
    caller.stopping.send_replace(true);
    assert_eq!(caller.closed().await, 0);
}

#[tokio::test(start_paused = true)]
async fn callers_that_say_nothing_do_not_close_the_doors() {
    let nowhere = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(nowhere, 2, None).await.unwrap();
    let address = listener.address();
    let (stop, stopping) = watch::channel(false);
    let served = tokio::spawn(serve(router(), listener, Protocols::Http, stopping));
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut caller = TcpStream::connect(address).await.unwrap();
    caller
        .write_all(
            GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
        .await
        .unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    stop.send_replace(true);
    served.await.unwrap();
    drop(silent);
}
