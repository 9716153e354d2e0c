//! A small HTTP/1.1 client that keeps its connection: it sends prepared bytes and reads answers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use super::Failure;

/// A receiver that is silent for longer is taken for dead.
const PATIENCE: Duration = Duration::from_mins(2);

/// Where requests go: `http://host:port/path`.
#[derive(Clone, Debug)]
pub(crate) struct Url {
    /// Host and port.
    pub(crate) authority: String,
    pub(crate) path: String,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
    line: Vec<u8>,
}

/// What was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Samples that the receiver says it wrote; remote write 2.0 demands it.
    pub(crate) written: Option<u64>,
    pub(crate) body: Vec<u8>,
}

impl std::str::FromStr for Url {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let bad = || {
            Failure::new(format!(
                "{text:?} is no address: write http://host:port/path"
            ))
        };
        let rest = text.strip_prefix("http://").ok_or_else(bad)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, "api/v1/write"));
        if !authority.contains(':') {
            return Err(bad());
        }
        Ok(Self {
            authority: authority.to_owned(),
            path: format!("/{path}"),
        })
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(crate) fn open(authority: &str) -> Result<Self, Failure> {
        let refused =
            |error: std::io::Error| Failure::new(format!("no connection to {authority}: {error}"));
        let address = authority.to_socket_addrs().map_err(refused)?.next();
        let address = address
            .ok_or_else(|| Failure::new(format!("{authority} is no address that is known")))?;
        let writer = TcpStream::connect(address).map_err(refused)?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(PATIENCE))?;
        writer.set_write_timeout(Some(PATIENCE))?;
        let reader = BufReader::with_capacity(16 << 10, writer.try_clone()?);
        Ok(Self {
            writer,
            reader,
            line: Vec::new(),
        })
    }

    /// Sends a whole request and reads its answer.
    ///
    /// # Errors
    /// The connection broke, or what came is no HTTP.
    pub(crate) fn send(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        self.writer.write_all(request)?;
        self.read()
    }

    fn read(&mut self) -> Result<Answer, Failure> {
        let bad = |what: &str| Failure::new(format!("the answer is no HTTP/1.1: {what}"));
        let first = self.next_line()?;
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| bad(first))?;
        let (mut length, mut is_chunked, mut written) = (0, false, None);
        loop {
            let line = self.next_line()?;
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else {
                return Err(bad(line));
            };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().map_err(|_| bad(value))?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                is_chunked = value.eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("x-prometheus-remote-write-samples-written") {
                written = value.parse().ok();
            }
        }
        let mut body = Vec::new();
        if is_chunked {
            self.read_chunks(&mut body)?;
        } else {
            self.read_piece(&mut body, length)?;
        }
        Ok(Answer {
            status,
            written,
            body,
        })
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> Result<(), Failure> {
        loop {
            let line = self.next_line()?;
            let size = usize::from_str_radix(line, 16)
                .map_err(|_| Failure::new(format!("{line:?} is no size of a chunk")))?;
            self.read_piece(body, size)?;
            self.next_line()?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn read_piece(&mut self, body: &mut Vec<u8>, length: usize) -> Result<(), Failure> {
        let start = body.len();
        body.resize(start + length, 0);
        Ok(self.reader.read_exact(&mut body[start..])?)
    }

    fn next_line(&mut self) -> Result<&str, Failure> {
        self.line.clear();
        if self.reader.read_until(b'\n', &mut self.line)? == 0 {
            return Err(Failure::new("the receiver closed the connection"));
        }
        let line = std::str::from_utf8(&self.line)
            .map_err(|_| Failure::new("the answer's head is no text"))?;
        Ok(line.trim_end())
    }
}

/// Gets a page over a connection of its own.
///
/// # Errors
/// Nobody answers, or not with 200.
pub(crate) fn get(authority: &str, path: &str) -> Result<String, Failure> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let answer = Connection::open(authority)?.send(request.as_bytes())?;
    if answer.status != 200 {
        return Err(Failure::new(format!(
            "http://{authority}{path} answered {}",
            answer.status
        )));
    }
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}
