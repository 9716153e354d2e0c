//! Requests over connections of their own, which a kill may cut off anywhere.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::random::DEADLINE;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the answer is JSON")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    request(address, "GET", path, "", b"")
}

pub(crate) fn post(
    address: SocketAddr,
    path: &str,
    content_type: &str,
    body: &[u8],
) -> io::Result<Answer> {
    let header = format!("Content-Type: {content_type}\r\n");
    request(address, "POST", path, &header, body)
}

fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_nodelay(true)?;
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: sluice\r\nConnection: close\r\n\
         Content-Length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    stream.write_all(&request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// `None`: it is cut off.
fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let body = answer[end + 4..].to_vec();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let told = head.lines().find_map(|line| {
        let len = line.strip_prefix("content-length: ")?;
        len.parse::<usize>().ok()
    });
    let is_whole = told.is_none_or(|len| len == body.len());
    is_whole.then_some(Answer { status, head, body })
}
