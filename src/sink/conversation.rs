//! What a sink was told, and what it is told next; without I/O and clocks.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use crate::{event::Timestamp, serve::Deployment};

/// What one sink was told, compared with what stands.
///
/// It is asked in this order, again and again: [`look`](Self::look), [`next`](Self::next), and one of
/// [`taken`](Self::taken) and [`refused`](Self::refused) when the request was answered. A request that
/// failed is forgotten, and built anew when it is tried again.
pub(super) trait Conversation: Send {
    /// Compares what stands at `now` with what was told. Gives how many notifications were given up,
    /// since what they told is over.
    fn look(&mut self, deployments: &[Arc<Deployment>], now: Timestamp) -> usize;

    /// How many notifications wait.
    fn waiting(&self) -> usize;

    /// How long after a request what stands is to be sent again; `None`: it is told once.
    fn resend(&self) -> Option<Duration>;

    /// The next request: what waits, or, when `is_due`, what is to be sent again. `None`: there is
    /// nothing to tell.
    fn next(&self, now: Timestamp, is_due: bool) -> Option<Letter>;

    /// The sink has taken a request. Says whether that has to be remembered.
    fn taken(&mut self, letter: &Letter, reply: &[u8]) -> bool;

    /// The sink will never take a request, for its status says so. Gives how many notifications are
    /// dropped.
    fn refused(&mut self, letter: &Letter, status: u16) -> usize;

    /// What was told, to be remembered over a restart.
    fn save(&self) -> Value;

    /// Goes on from what was remembered.
    ///
    /// # Errors
    /// It is no memory of such a conversation.
    fn restore(&mut self, saved: Value) -> Result<(), serde_json::Error>;
}

/// A request to a sink.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Letter {
    pub method: http::Method,
    pub url: String,
    /// JSON.
    pub body: Vec<u8>,
    /// Equal for a request that tells the same, so that a receiver can pass over the second.
    pub key: Option<String>,
    /// What it tells: which subject, and what of it.
    pub news: Vec<News>,
}

/// One thing that a request tells.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct News {
    /// A fingerprint, or the id of a deployment.
    pub subject: String,
    /// What is told of it.
    pub told: Told,
}

/// What is told of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It has begun, or fires.
    Begun,
    /// It goes on.
    Again,
    /// It is over, or resolved.
    Over,
}

/// A base URL and a path behind it.
pub(super) fn under(base: &str, path: &str) -> String {
    format!("{}{path}", base.trim_end_matches('/'))
}
