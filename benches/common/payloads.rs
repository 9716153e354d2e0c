//! Prepares every request of a load before the clock starts.

use std::{fmt, str::FromStr, thread, time::Duration};

use super::{
    Failure, clock,
    fleet::Fleet,
    http::Url,
    mix, shuffle,
    wire::{self, Reading},
};

/// The message that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `prometheus.WriteRequest`.
    RemoteWrite1,
    /// `io.prometheus.write.v2.Request`.
    RemoteWrite2,
}

/// In which order a connection sends its series, round by round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// As in the round before.
    Same,
    /// Hosts shuffled, each with its series together: scrapes that drift against each other.
    Groups,
    /// Every series anywhere.
    Random,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) series: usize,
    pub(crate) rounds: usize,
    /// Series in a request.
    pub(crate) batch: usize,
    pub(crate) connections: usize,
    pub(crate) protocol: Protocol,
    /// Event time between two rounds.
    pub(crate) step_ms: i64,
    /// Time of the first round against the clock at which sending starts.
    pub(crate) start_ms: i64,
    /// Share of the series that is replaced by new ones before each round but the first.
    pub(crate) churn: f64,
    pub(crate) order: Order,
    pub(crate) seed: u64,
}

/// A whole HTTP request.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) request: Vec<u8>,
    /// Where its body starts.
    pub(crate) body: usize,
    pub(crate) samples: u64,
}

/// All requests of a load.
#[derive(Debug)]
pub(crate) struct Payloads {
    /// By connection and round.
    pub(crate) connections: Vec<Vec<Vec<Payload>>>,
    /// When sending may start, on the clock.
    pub(crate) send_at_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) rounds: usize,
    /// Series that are sent, those that replace others too.
    pub(crate) series: u64,
    pub(crate) samples: u64,
    /// Bytes of all messages before compression.
    pub(crate) raw_bytes: u64,
    /// Bytes of all bodies.
    pub(crate) wire_bytes: u64,
    /// Bytes of the names and values of a series' labels, on average.
    pub(crate) text_bytes_mean: f64,
    /// Bytes of a series' labels as 1.0 encodes them, on average.
    pub(crate) region_bytes_mean: f64,
}

/// Requests of one connection in one round.
struct Part {
    payloads: Vec<Payload>,
    raw_bytes: u64,
}

impl Load {
    /// Prepares all requests. The times of the samples count from a moment shortly after this
    /// returns: it is guessed first, and guessed again if preparing took longer.
    ///
    /// # Errors
    /// The load makes no sense.
    pub(crate) fn prepare(&self, url: &Url) -> Result<Payloads, Failure> {
        if self.series == 0 || self.rounds == 0 || self.batch == 0 || self.connections == 0 {
            return Err(Failure::new(
                "series, rounds, batch and connections have to be at least 1",
            ));
        }
        let trial = clock::now();
        let mut fleet = Fleet::new(self.series, self.connections);
        self.round(&fleet, url, 0, 0);
        let mut guess = trial.elapsed().mul_f64(1.1 * self.rounds as f64) + Duration::from_secs(1);
        loop {
            let send_at_ms = clock::epoch_ms() + guess.as_millis() as i64;
            let payloads = self.build(fleet, url, send_at_ms);
            if clock::epoch_ms() <= send_at_ms {
                return Ok(payloads);
            }
            guess *= 2;
            fleet = Fleet::new(self.series, self.connections);
        }
    }

    fn build(&self, mut fleet: Fleet, url: &Url, send_at_ms: i64) -> Payloads {
        let mut connections: Vec<Vec<Vec<Payload>>> =
            (0..self.connections).map(|_| Vec::new()).collect();
        let regions: usize = (0..fleet.len())
            .map(|index| fleet.region(index).len())
            .sum();
        let mut payloads = Payloads {
            connections: Vec::new(),
            send_at_ms,
            step_ms: self.step_ms,
            rounds: self.rounds,
            series: fleet.len() as u64,
            samples: (self.series * self.rounds) as u64,
            raw_bytes: 0,
            wire_bytes: 0,
            text_bytes_mean: fleet.text_bytes_mean(),
            region_bytes_mean: regions as f64 / fleet.len() as f64,
        };
        for round in 0..self.rounds {
            if 0 < round {
                payloads.series += fleet.renew(self.churn) as u64;
            }
            let at_ms = send_at_ms + self.start_ms + self.step_ms * round as i64;
            let parts = self.round(&fleet, url, round, at_ms);
            for (connection, part) in connections.iter_mut().zip(parts) {
                payloads.raw_bytes += part.raw_bytes;
                payloads.wire_bytes += part
                    .payloads
                    .iter()
                    .map(|payload| (payload.request.len() - payload.body) as u64)
                    .sum::<u64>();
                connection.push(part.payloads);
            }
        }
        payloads.connections = connections;
        payloads
    }

    /// A round of every connection, each prepared by a thread of its own.
    fn round(&self, fleet: &Fleet, url: &Url, round: usize, at_ms: i64) -> Vec<Part> {
        thread::scope(|scope| {
            let parts: Vec<_> = (0..self.connections)
                .map(|connection| {
                    scope.spawn(move || self.part(fleet, url, connection, round, at_ms))
                })
                .collect();
            parts
                .into_iter()
                .map(|part| part.join().expect("preparing a request does not panic"))
                .collect()
        })
    }

    fn part(&self, fleet: &Fleet, url: &Url, connection: usize, round: usize, at_ms: i64) -> Part {
        let mut part = Part {
            payloads: Vec::new(),
            raw_bytes: 0,
        };
        let (mut raw, mut encoder) = (Vec::new(), snap::raw::Encoder::new());
        for indices in self.sequence(fleet, connection, round).chunks(self.batch) {
            let readings = indices.iter().map(|&index| Reading {
                region: fleet.region(index),
                is_counter: fleet.is_counter(index),
                value: fleet.value(index, round),
                at_ms,
            });
            raw.clear();
            match self.protocol {
                Protocol::RemoteWrite1 => wire::request_1_0(&mut raw, readings),
                Protocol::RemoteWrite2 => wire::request_2_0(&mut raw, readings),
            }
            let body = encoder
                .compress_vec(&raw)
                .expect("a request is far below the 4 GiB of a snappy block");
            part.raw_bytes += raw.len() as u64;
            let mut request = self.protocol.head(url, body.len()).into_bytes();
            let start = request.len();
            request.extend_from_slice(&body);
            part.payloads.push(Payload {
                request,
                body: start,
                samples: indices.len() as u64,
            });
        }
        part
    }

    /// The series of a connection in the order of a round. A series never changes its connection,
    /// so that its samples arrive in order of time.
    fn sequence(&self, fleet: &Fleet, connection: usize, round: usize) -> Vec<usize> {
        let mut groups: Vec<usize> = (connection..fleet.groups())
            .step_by(self.connections)
            .collect();
        let seed = mix(self.seed ^ (connection as u64) << 32 ^ round as u64);
        if self.order == Order::Groups {
            shuffle(&mut groups, seed);
        }
        let mut indices: Vec<usize> = groups
            .into_iter()
            .flat_map(|group| fleet.group(group))
            .collect();
        if self.order == Order::Random {
            shuffle(&mut indices, seed);
        }
        indices
    }
}

impl Protocol {
    fn head(self, url: &Url, length: usize) -> String {
        let (content_type, version) = match self {
            Self::RemoteWrite1 => ("application/x-protobuf", "0.1.0"),
            Self::RemoteWrite2 => (
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                "2.0.0",
            ),
        };
        format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: sluice-loader\r\nContent-Encoding: snappy\r\n\
             Content-Type: {content_type}\r\nX-Prometheus-Remote-Write-Version: {version}\r\n\
             Content-Length: {length}\r\n\r\n",
            url.path, url.authority
        )
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RemoteWrite1 => "1.0",
            Self::RemoteWrite2 => "2.0",
        })
    }
}

impl FromStr for Protocol {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        match text {
            "1.0" => Ok(Self::RemoteWrite1),
            "2.0" => Ok(Self::RemoteWrite2),
            other => Err(Failure::new(format!("{other:?} is neither 1.0 nor 2.0"))),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "same",
            Self::Groups => "groups",
            Self::Random => "random",
        })
    }
}

impl FromStr for Order {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        [Self::Same, Self::Groups, Self::Random]
            .into_iter()
            .find(|order| order.to_string() == text)
            .ok_or_else(|| Failure::new(format!("{text:?} is none of same, groups, random")))
    }
}
