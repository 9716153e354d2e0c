//! Sends a prepared load, and measures what the receiver used meanwhile.

use std::{
    collections::BTreeMap,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use serde::{Deserialize, Serialize};

use super::{
    Failure, clock,
    http::{Connection, Url},
    payloads::{Payload, Payloads},
    process::{Meter, Usage},
    receiver::Receiver,
};

/// How fast rounds follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as the receiver answers: event time runs ahead of the clock.
    FlatOut,
    /// A round when its time has come: buckets close as in production.
    Clock,
}

/// What a load measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Name and version of the receiver.
    pub(crate) receiver: String,
    /// Round 0: every series is new; with what the receiver did about them after its last answer.
    pub(crate) cold: Phase,
    /// The other rounds.
    pub(crate) steady: Phase,
    /// Series that were sent.
    pub(crate) series: u64,
    /// Series that the receiver says a check selects; 0 for receivers without checks.
    pub(crate) selected: u64,
    /// Whether the receiver's own metrics were asked, too.
    pub(crate) verified: bool,
    /// Resident memory before the first request, if a process was metered.
    pub(crate) rss_start_bytes: Option<u64>,
    /// Resident memory when the receiver had come to rest after its last answer.
    pub(crate) rss_end_bytes: Option<u64>,
    pub(crate) raw_bytes_per_sample: f64,
    pub(crate) wire_bytes_per_sample: f64,
    /// Names and values of a series' labels.
    pub(crate) label_bytes_per_series: f64,
}

/// What one phase of a load measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Phase {
    pub(crate) samples: u64,
    pub(crate) requests: u64,
    pub(crate) wall_s: f64,
    /// CPU time of the receiver, if a process was metered.
    pub(crate) cpu_s: Option<f64>,
}

impl Pace {
    /// What a receiver has used when what it put off is done. A paced load has rests for that.
    fn settled(self, meter: Option<Meter>) -> Result<Option<Usage>, Failure> {
        let read = match self {
            Self::FlatOut => Meter::settled,
            Self::Clock => Meter::read,
        };
        meter.map(read).transpose()
    }
}

impl Phase {
    /// CPU time of the receiver per sample, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Option<f64> {
        Some(self.cpu_s? * 1e9 / self.samples.max(1) as f64)
    }

    /// Samples per second of the receiver's CPU time.
    pub(crate) fn per_cpu_second(&self) -> Option<f64> {
        Some(self.samples as f64 / self.cpu_s?)
    }

    /// Samples per second of wall time.
    pub(crate) fn per_second(&self) -> f64 {
        self.samples as f64 / self.wall_s
    }
}

impl Measured {
    /// Memory that the receiver gained per series.
    pub(crate) fn rss_per_series(&self) -> Option<f64> {
        let gained = self.rss_end_bytes? as f64 - self.rss_start_bytes? as f64;
        Some(gained / self.series as f64)
    }
}

/// What the connections of a phase counted together.
#[derive(Debug, Default)]
struct Tally {
    samples: AtomicU64,
    requests: AtomicU64,
    refused: std::sync::Mutex<BTreeMap<u16, u64>>,
    /// The first refusal, as the receiver told it.
    refusal: std::sync::Mutex<Option<String>>,
    /// The first thing that went wrong with a connection or a count.
    fault: std::sync::Mutex<Option<Failure>>,
}

/// Sends everything: round 0, then the rest. `on_moment` is told "steady" between the two, and "sent"
/// after the last answer.
///
/// # Errors
/// A connection broke, an answer was not 2xx, or the receiver did not take all samples.
pub(crate) fn drive(
    url: &Url,
    payloads: &Payloads,
    pid: Option<u32>,
    pace: Pace,
    mut on_moment: impl FnMut(&str),
) -> Result<Measured, Failure> {
    let receiver = Receiver::ask(&url.authority);
    let before = receiver.counts()?;
    let meter = pid.map(Meter::new).transpose()?;
    let settled = || pace.settled(meter);
    // Not earlier: who opens a connection and says nothing is sent away.
    clock::rest_until(payloads.send_at_ms);
    let mut connections = Vec::new();
    for _ in &payloads.connections {
        connections.push(Connection::open(&url.authority)?);
    }
    let barrier = Barrier::new(connections.len() + 1);
    let (cold, steady) = (Tally::default(), Tally::default());
    let mut walls = [0.0; 2];
    let start = meter.map(Meter::read).transpose()?;
    let usages: [Option<Usage>; 3] = thread::scope(|scope| {
        for (connection, rounds) in connections.into_iter().zip(&payloads.connections) {
            let (barrier, tallies) = (&barrier, [&cold, &steady]);
            let due_ms = move |round| match pace {
                Pace::FlatOut => payloads.send_at_ms,
                Pace::Clock => payloads.send_at_ms + payloads.step_ms * round as i64,
            };
            scope.spawn(move || send_rounds(connection, rounds, due_ms, barrier, tallies));
        }
        let phase = || {
            let started = clock::now();
            barrier.wait();
            barrier.wait();
            started.elapsed().as_secs_f64()
        };
        walls[0] = phase();
        // Until then its series are not known, as they are for as long as they live afterwards.
        let known = receiver.verify(before, cold.samples.load(Ordering::Relaxed));
        let middle = known.and_then(|_| settled());
        on_moment("steady");
        walls[1] = phase();
        on_moment("sent");
        let end = settled();
        Ok::<_, Failure>([start, middle?, end?])
    })?;
    let cpu = |from: usize| Some(usages[from + 1]?.cpu_s - usages[from]?.cpu_s);
    let refusals = refusals(&cold, &steady);
    let cold = cold.phase(walls[0], cpu(0))?;
    let steady = steady.phase(walls[1], cpu(1))?;
    refusals?;
    let sent = cold.samples + steady.samples;
    assert_eq!(sent, payloads.samples, "what was not refused was sent");
    let taken = receiver.verify(before, sent)?;
    Ok(Measured {
        receiver: receiver.name,
        cold,
        steady,
        series: payloads.series,
        selected: taken.selected,
        verified: before.is_some(),
        rss_start_bytes: usages[0].map(|usage| usage.rss_bytes),
        rss_end_bytes: usages[2].map(|usage| usage.rss_bytes),
        raw_bytes_per_sample: payloads.raw_bytes as f64 / payloads.samples as f64,
        wire_bytes_per_sample: payloads.wire_bytes as f64 / payloads.samples as f64,
        label_bytes_per_series: payloads.text_bytes_mean,
    })
}

/// Sends the rounds of one connection. It waits before each phase and behind it.
fn send_rounds(
    mut connection: Connection,
    rounds: &[Vec<Payload>],
    due_ms: impl Fn(usize) -> i64,
    barrier: &Barrier,
    [cold, steady]: [&Tally; 2],
) {
    barrier.wait();
    for (round, requests) in rounds.iter().enumerate() {
        clock::rest_until(due_ms(round));
        if round == 0 {
            cold.send(&mut connection, requests);
            barrier.wait();
            barrier.wait();
        } else {
            steady.send(&mut connection, requests);
        }
    }
    barrier.wait();
}

/// Fails if a request of either phase was not answered with 2xx.
fn refusals(cold: &Tally, steady: &Tally) -> Result<(), Failure> {
    let refusals: Vec<String> = [("cold", cold), ("steady", steady)]
        .into_iter()
        .filter_map(|(name, tally)| tally.refusals(name))
        .collect();
    if refusals.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "what was measured is void: {}",
        refusals.join("; ")
    )))
}

impl Tally {
    /// Sends requests one after the other. A refusal is counted; once one connection has failed, none
    /// goes on.
    fn send(&self, connection: &mut Connection, requests: &[Payload]) {
        for payload in requests {
            if lock(&self.fault).is_some() {
                return;
            }
            if let Err(failure) = self.exchange(connection, payload) {
                lock(&self.fault).get_or_insert(failure);
            }
        }
    }

    fn exchange(&self, connection: &mut Connection, payload: &Payload) -> Result<(), Failure> {
        let answer = connection.send(&payload.request)?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        if !(200..300).contains(&answer.status) {
            *lock(&self.refused).entry(answer.status).or_insert(0) += 1;
            let told = || String::from_utf8_lossy(&answer.body).trim().to_owned();
            lock(&self.refusal).get_or_insert_with(told);
            return Ok(());
        }
        if let Some(written) = answer.written
            && written != payload.samples
        {
            return Err(Failure::new(format!(
                "a request of {} samples was answered with {}, but {written} were written",
                payload.samples, answer.status
            )));
        }
        self.samples.fetch_add(payload.samples, Ordering::Relaxed);
        Ok(())
    }

    /// Says how many requests were not answered with 2xx; `None` if all were.
    fn refusals(&self, name: &str) -> Option<String> {
        let refused = lock(&self.refused);
        let count: u64 = refused.values().sum();
        let statuses: Vec<String> = refused
            .iter()
            .map(|(status, count)| format!("{status} x {count}"))
            .collect();
        (0 < count).then(|| {
            format!(
                "{name}: {count} of {} requests were not answered with 2xx ({}), the first with {:?}",
                self.requests.load(Ordering::Relaxed),
                statuses.join(", "),
                lock(&self.refusal).as_deref().unwrap_or_default()
            )
        })
    }

    fn phase(self, wall_s: f64, cpu_s: Option<f64>) -> Result<Phase, Failure> {
        if let Some(failure) = lock(&self.fault).take() {
            return Err(failure);
        }
        Ok(Phase {
            samples: self.samples.into_inner(),
            requests: self.requests.into_inner(),
            wall_s,
            cpu_s,
        })
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
