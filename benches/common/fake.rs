//! A receiver within the bench's own process, which decodes with prost, to test the loader.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use hashbrown::HashMap;

use super::{Failure, golden, http::Url};

/// What a receiver does to what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// Takes everything.
    Honest,
    /// Answers the third request with 503.
    Refusing,
    /// Answers 204 and loses a sample, as its metrics show.
    Losing,
}

/// A receiver on a free port.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) url: Url,
    state: Arc<Mutex<State>>,
}

/// What came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) samples: u64,
    /// Series with labels of their own.
    pub(crate) series: u64,
    /// Whether the samples of every series came in order of time.
    pub(crate) is_in_order: bool,
}

#[derive(Debug)]
struct State {
    temper: Temper,
    requests: u64,
    samples: u64,
    is_in_order: bool,
    /// The time of the last sample of each series.
    latest: HashMap<golden::Labels, i64>,
}

impl Receiver {
    /// Listens.
    ///
    /// # Errors
    /// There is no free port.
    pub(crate) fn start(temper: Temper) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = Url {
            authority: listener.local_addr()?.to_string(),
            path: "/api/v1/write".to_owned(),
        };
        let state = Arc::new(Mutex::new(State {
            temper,
            requests: 0,
            samples: 0,
            is_in_order: true,
            latest: HashMap::new(),
        }));
        let shared = Arc::clone(&state);
        // It ends with the process, as its connections do.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &state));
            }
        });
        Ok(Self { url, state })
    }

    /// What came until now.
    pub(crate) fn seen(&self) -> Seen {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Seen {
            samples: state.samples,
            series: state.latest.len() as u64,
            is_in_order: state.is_in_order,
        }
    }
}

/// Answers requests until the other end leaves.
fn serve(stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().ok()?;
            }
            head.push(line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let answer = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if head.first()?.starts_with("get /metrics") {
                state.metrics()
            } else {
                state.take(&head, &body)
            }
        };
        writer.write_all(answer.as_bytes()).ok()?;
    }
}

impl State {
    fn metrics(&self) -> String {
        let lost = u64::from(self.temper == Temper::Losing);
        let page = format!(
            "sluice_build_info{{version=\"fake\"}} 1\nsluice_accepted_samples_total {}\n\
             sluice_lost_samples_total{{reason=\"late\"}} {}\n",
            self.samples,
            lost.min(self.requests)
        );
        // Chunked, as Go's servers answer.
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{page}\r\n0\r\n\r\n",
            page.len()
        )
    }

    fn take(&mut self, head: &[String], body: &[u8]) -> String {
        self.requests += 1;
        if self.temper == Temper::Refusing && self.requests == 3 {
            return "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy".to_owned();
        }
        let is_2_0 = head
            .iter()
            .any(|line| line.ends_with("proto=io.prometheus.write.v2.request"));
        let Some(samples) = golden::decode(body, is_2_0) else {
            return "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad".to_owned();
        };
        let count = samples.len();
        for (labels, at_ms) in samples {
            let latest = self.latest.insert(labels, at_ms);
            self.is_in_order &= latest.is_none_or(|latest| latest < at_ms);
        }
        self.samples += count as u64;
        format!(
            "HTTP/1.1 204 No Content\r\nX-Prometheus-Remote-Write-Samples-Written: {count}\r\n\r\n"
        )
    }
}
