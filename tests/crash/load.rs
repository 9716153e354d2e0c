//! Senders that behave as real ones do: they send what is due, and send the same bytes again until they
//! are told that it was taken.
//!
//! Each series has a value every [`STEP`] ms. The twenty values of a bucket are 1, 2, … 19 and a last one
//! that is far off: their mean is what no part of them has, and no bucket in which one counts twice.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use prost::Message;

use super::{
    engine::{Addresses, Site},
    http,
    ledger::Ledger,
    payloads::{ExportResponse, Sample, delta_sums, error_logs, series, write_request},
    random::unix_millis,
};

/// Milliseconds between two samples of a series.
const STEP: i64 = 50;
/// Milliseconds of a bucket.
const BUCKET: i64 = 1_000;
/// Most samples of one series in one body: half a bucket.
const POINTS_MAX: usize = 10;
/// How long a host sends that one deployment is about.
const VISIT: i64 = 6_000;
/// Hosts that are always there.
pub(crate) const HOSTS: [&str; 2] = ["h0", "h1"];
/// Series of each body of noise.
const NOISE: usize = 100;

/// All senders.
#[derive(Debug)]
pub(crate) struct Load {
    site: Arc<Site>,
    pub(crate) ledger: Arc<Ledger>,
    schedule: Mutex<Schedule>,
    /// Notified when `until` changes.
    paced: Condvar,
    /// Samples are sent up to this time.
    until: AtomicI64,
}

#[derive(Debug, Default)]
struct Schedule {
    guests: Vec<Guest>,
    /// How far each lane has come.
    passed: [i64; LANES.len()],
}

/// A host that is there for a while.
#[derive(Clone, Debug)]
struct Guest {
    host: String,
    from: i64,
    until: i64,
    /// When it is too hot, once.
    hot_at: Option<i64>,
}

/// What one sender sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// `probe` and `temperature`, remote write.
    Probe,
    /// `work`, OTLP.
    Work,
    /// Errors, OTLP.
    Logs,
}

const LANES: [Lane; 3] = [Lane::Probe, Lane::Work, Lane::Logs];

/// One request.
struct Request {
    path: &'static str,
    body: Vec<u8>,
    samples: u64,
    logs: u64,
}

impl Load {
    /// Starts all senders.
    pub(crate) fn start(site: &Arc<Site>) -> (Arc<Self>, Vec<JoinHandle<()>>) {
        let load = Arc::new(Self {
            site: Arc::clone(site),
            ledger: Arc::default(),
            schedule: Mutex::default(),
            paced: Condvar::new(),
            until: AtomicI64::new(i64::MAX),
        });
        let start = next_bucket(unix_millis());
        let mut senders = Vec::new();
        for lane in LANES {
            let load = Arc::clone(&load);
            senders.push(thread::spawn(move || load.send_lane(lane, start)));
        }
        for sender in 0..4 {
            let load = Arc::clone(&load);
            senders.push(thread::spawn(move || load.send_noise(sender)));
        }
        (load, senders)
    }

    /// Lets a host send from the next bucket on, until [`Load::visit`] says how long.
    pub(crate) fn invite(&self, host: &str) {
        let mut schedule = self.schedule.lock().unwrap();
        let from = schedule.next();
        schedule.guests.push(Guest {
            host: host.to_owned(),
            from,
            until: i64::MAX,
            hot_at: None,
        });
    }

    /// Lets a host send for the length of a bake; if `hot_after` is given, it is too hot once, so many
    /// milliseconds after the start of the next bucket.
    pub(crate) fn visit(&self, host: &str, hot_after: Option<i64>) {
        let mut schedule = self.schedule.lock().unwrap();
        let from = schedule.next();
        let guest = schedule.guests.iter_mut().find(|guest| guest.host == host);
        let guest = guest.expect("the host was invited");
        guest.until = from + VISIT;
        guest.hot_at = hot_after.map(|after| from + after / STEP * STEP);
    }

    /// Lets the senders end with whole buckets, when all guests have sent what they had to.
    pub(crate) fn finish(&self) {
        let schedule = self.schedule.lock().unwrap();
        let visits = schedule.guests.iter().map(|guest| guest.until);
        let until = visits.max().unwrap_or(0).max(schedule.next());
        self.until.store(until, Ordering::Release);
        self.paced.notify_all();
    }

    fn send_lane(&self, lane: Lane, start: i64) {
        let mut next = start;
        while next < self.until.load(Ordering::Acquire) {
            let Some(due) = self.due(lane, next) else {
                continue;
            };
            self.deliver(&self.request(lane, &due));
            next = due.last().unwrap() + STEP;
        }
    }

    /// The times of what is due; blocks for a step if nothing is.
    fn due(&self, lane: Lane, next: i64) -> Option<Vec<i64>> {
        let until = self.until.load(Ordering::Acquire);
        let end = (unix_millis() + 1).min(until);
        let times = (next..end).step_by(STEP as usize).take(POINTS_MAX);
        let times: Vec<i64> = times.collect();
        let mut schedule = self.schedule.lock().unwrap();
        if let Some(last) = times.last() {
            schedule.passed[lane as usize] = *last;
            return Some(times);
        }
        let step = Duration::from_millis(STEP as u64);
        drop(self.paced.wait_timeout(schedule, step).unwrap());
        None
    }

    /// What all hosts that are there have to say of some times.
    fn request(&self, lane: Lane, times: &[i64]) -> Request {
        let schedule = self.schedule.lock().unwrap();
        let guests = schedule.guests.iter().map(|guest| {
            let visit = guest.from..guest.until;
            let times: Vec<i64> = times
                .iter()
                .copied()
                .filter(|t| visit.contains(t))
                .collect();
            (guest.host.clone(), guest.hot_at, times)
        });
        let always = HOSTS.map(|host| (host.to_owned(), None, times.to_vec()));
        let mut hosts: Vec<_> = always.into_iter().chain(guests).collect();
        drop(schedule);
        hosts.retain(|(_, _, times)| !times.is_empty());
        let points: usize = hosts.iter().map(|(_, _, times)| times.len()).sum();
        let points = points as u64;
        match lane {
            Lane::Probe => {
                let mut all = Vec::new();
                for (host, hot_at, times) in &hosts {
                    all.push(series("probe", host, values(times, -190.0)));
                    let heat = |millis: &i64| Sample {
                        value: if Some(*millis) == *hot_at {
                            180.0
                        } else {
                            50.0
                        },
                        timestamp: *millis,
                    };
                    all.push(series(
                        "temperature",
                        host,
                        times.iter().map(heat).collect(),
                    ));
                }
                Request::remote_write(write_request(all), 2 * points)
            }
            Lane::Work => {
                let gains = hosts
                    .iter()
                    .map(|(host, _, times)| (host.as_str(), values(times, 1_000.0)));
                Request {
                    path: "/v1/metrics",
                    body: delta_sums("work", &gains.collect::<Vec<_>>(), STEP),
                    samples: points,
                    logs: 0,
                }
            }
            Lane::Logs => {
                let times = hosts
                    .iter()
                    .map(|(host, _, times)| (host.as_str(), &times[..]));
                Request {
                    path: "/v1/logs",
                    body: error_logs(&times.collect::<Vec<_>>()),
                    samples: 0,
                    logs: points,
                }
            }
        }
    }

    /// As much as the engine takes.
    fn send_noise(&self, sender: usize) {
        let mut last = 0;
        while self.until.load(Ordering::Acquire) == i64::MAX {
            last = unix_millis().max(last + 1);
            let one = |host: usize| {
                let sample = Sample {
                    value: host as f64,
                    timestamp: last,
                };
                series("noise", &format!("n{sender}-{host}"), vec![sample])
            };
            let body = write_request((0..NOISE).map(one).collect());
            self.deliver(&Request::remote_write(body, NOISE as u64));
        }
    }

    /// Sends the same bytes until they are taken.
    fn deliver(&self, request: &Request) {
        loop {
            let at = self.site.at();
            let body = &request.body;
            self.ledger.send(body, request.samples, request.logs);
            match request.send(at) {
                Ok(answer) if answer.status == 503 => {
                    assert!(answer.head.contains("retry-after: "), "{answer:?}");
                    self.ledger.turn_away();
                    self.site.back_off(at);
                }
                Ok(answer) => {
                    match request.rejected(&answer) {
                        0 => self.ledger.acknowledge(body),
                        rejected => self.ledger.come_late(rejected),
                    }
                    return;
                }
                Err(_) => {
                    self.ledger.miss_answer();
                    self.site.back_off(at);
                }
            }
        }
    }
}

impl Schedule {
    /// The start of the next bucket of which no sender has sent anything.
    fn next(&self) -> i64 {
        let passed = self.passed.into_iter().max().unwrap();
        next_bucket(unix_millis().max(passed))
    }
}

impl Request {
    fn remote_write(body: Vec<u8>, samples: u64) -> Self {
        Self {
            path: "/api/v1/write",
            body,
            samples,
            logs: 0,
        }
    }

    fn is_otlp(&self) -> bool {
        self.path.starts_with("/v1/")
    }

    fn send(&self, at: Addresses) -> std::io::Result<http::Answer> {
        let address = if self.is_otlp() {
            at.otlp_http
        } else {
            at.http
        };
        http::post(address, self.path, "application/x-protobuf", &self.body)
    }

    /// How much of a request the engine says it did not take, though it answered.
    fn rejected(&self, answer: &http::Answer) -> u64 {
        let text = answer.text();
        match (self.is_otlp(), answer.status) {
            (true, 200) => {
                let response = ExportResponse::decode(&answer.body[..]).unwrap();
                let partial = response.partial_success.unwrap_or_default();
                assert!(
                    partial.rejected == 0 || partial.message.contains("late"),
                    "{partial:?}"
                );
                partial.rejected.cast_unsigned()
            }
            (false, 204) => 0,
            (false, 400) if text.contains("late") => self.samples,
            _ => panic!("{} for {}: {text}", answer.status, self.path),
        }
    }
}

/// A value for each time: the last of a bucket is `off`.
fn values(times: &[i64], off: f64) -> Vec<Sample> {
    let value = |millis: &i64| {
        let place = millis.rem_euclid(BUCKET) / STEP;
        let is_last = place == BUCKET / STEP - 1;
        Sample {
            value: if is_last { off } else { (place + 1) as f64 },
            timestamp: *millis,
        }
    };
    times.iter().map(value).collect()
}

/// The start of the first bucket that starts after a time.
fn next_bucket(millis: i64) -> i64 {
    (millis.div_euclid(BUCKET) + 1) * BUCKET
}

#[test]
fn the_mean_of_a_bucket_tells_whether_it_is_whole() {
    let times: Vec<i64> = (0..BUCKET / STEP).map(|place| place * STEP).collect();
    for (off, mean) in [(-190.0, 0.0), (1_000.0, 59.5)] {
        let whole: Vec<f64> = values(&times, off).iter().map(|s| s.value).collect();
        let mean_of = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        assert_eq!(mean_of(&whole), mean);
        let mut seen = BTreeSet::new();
        for first in 0..whole.len() {
            for end in first + 1..=whole.len() {
                if end - first == whole.len() {
                    continue;
                }
                let lost = [&whole[..first], &whole[end..]].concat();
                let doubled = [&whole[..], &whole[first..end]].concat();
                for values in [lost, doubled] {
                    let off = mean_of(&values) - mean;
                    assert!(0.01 < off.abs(), "{first}..{end}: {off}");
                    seen.insert(off.to_bits());
                }
            }
        }
        assert!(300 < seen.len());
    }
}
