//! Memory of the bodies of data, which one request after the other uses.
//!
//! A body lives until it is durable and put, some milliseconds. Memory that is asked for and given back at that pace
//! goes back to the system in between, which fills it with zeros for the next one.

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;

use super::{
    http_request::{HttpRefusal, read_into},
    idle::{Idle, Lent},
};

/// Memories that wait to be used again.
const IDLE_MAX: usize = 64;
/// What a memory that waits has at most, in bytes.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Where bodies are read to; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Bodies(Idle<Vec<u8>>);

/// A body, whose memory goes back when it is dropped.
struct Held(Lent<Vec<u8>>);

impl Bodies {
    /// Holds no memory yet.
    pub(super) fn new() -> Self {
        Self(Idle::new(IDLE_MAX))
    }

    /// Reads a body of at most `limit` bytes.
    ///
    /// # Errors
    /// It is longer, breaks off, or takes too long; with how it begins, as far as that came.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
    ) -> Result<Bytes, (HttpRefusal, Bytes)> {
        let mut held = Held(self.0.lend(Vec::new));
        let read = read_into(&mut held.0, headers, body, limit).await;
        let bytes = Bytes::from_owner(held);
        match read {
            Ok(()) => Ok(bytes),
            Err(refusal) => Err((refusal, bytes)),
        }
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.clear();
        self.0.shrink_to(KEPT_BYTES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bodies: &Bodies, body: Vec<u8>) -> Bytes {
        let headers = HeaderMap::new();
        let read = bodies.read(&headers, Body::from(body), 1 << 20);
        read.await.expect("a body within the limit")
    }

    #[tokio::test]
    async fn a_memory_is_used_again_once_nobody_holds_the_body() {
        let bodies = Bodies::new();
        let first = read(&bodies, vec![1; 1_000]).await;
        let copy = first.clone();
        drop(first);
        let second = read(&bodies, vec![2; 500]).await;
        assert_eq!(copy, vec![1; 1_000], "still held");
        let place = copy.as_ptr();
        drop(copy);
        let third = read(&bodies, vec![3; 300]).await;
        assert_eq!(third.as_ptr(), place);
        assert_eq!((&second[..], &third[..]), (&[2; 500][..], &[3; 300][..]));
    }

    #[tokio::test]
    async fn a_memory_that_is_far_larger_than_usual_is_given_back() {
        let bodies = Bodies::new();
        let body = vec![7; 2 * KEPT_BYTES_MAX];
        assert_eq!(read(&bodies, body.clone()).await, body);
        let waiting = bodies.0.lend(Vec::new);
        assert!((1..=KEPT_BYTES_MAX).contains(&waiting.capacity()));
    }

    #[tokio::test]
    async fn what_was_refused_leaves_nothing_behind() {
        let bodies = Bodies::new();
        let refused = bodies
            .read(&HeaderMap::new(), Body::from("too much"), 3)
            .await;
        let (refusal, beginning) = refused.unwrap_err();
        assert_eq!((refusal.reason, &beginning[..]), ("too_large", &b""[..]));
        drop(beginning);
        assert_eq!(read(&bodies, b"fine".to_vec()).await, "fine");
    }
}
