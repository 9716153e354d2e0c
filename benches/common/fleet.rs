//! The series that a load consists of: hosts of one service, each with the same metrics.
//!
//! Ten labels of the lengths that Kubernetes and Prometheus give them, sorted by name. A host is a
//! target group: its series stand together in a request, as a scrape leaves them.

use super::{mix, wire};

/// Series of one host.
pub(crate) const GROUP_SERIES_MAX: usize = 200;
/// Labels of a series.
pub(crate) const LABELS: usize = 10;

const SUBSYSTEMS: [&str; 10] = [
    "http_server",
    "http_client",
    "grpc_server",
    "database_pool",
    "redis_client",
    "kafka_consumer",
    "runtime_memory",
    "process_scheduler",
    "thread_pool",
    "local_cache",
];
const MEASURES: [&str; 5] = [
    "requests_total",
    "bytes_sent_total",
    "active_connections",
    "queue_wait_seconds",
    "utilization_ratio",
];
const CODES: [&str; 4] = ["200", "301", "404", "503"];
const ROUTES: [&str; 8] = [
    "/api/v2/orders",
    "/api/v2/orders/{id}/items",
    "/api/v2/customers/{id}",
    "/api/v2/customers/{id}/addresses",
    "/api/v2/payments/{id}/refund",
    "/api/v2/search",
    "/internal/health",
    "/internal/cache/evict",
];

/// Every series with its labels as remote write 1.0 has them.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// Encoded labels of every generation of every series.
    regions: Vec<u8>,
    /// Where the labels of a series stand, now.
    places: Vec<(usize, u32)>,
    group: usize,
    /// How often the pods of a group were replaced.
    generations: Vec<u32>,
    /// Group that is replaced next.
    next: usize,
    /// Bytes of names and values of all labels of the first generation.
    text_bytes: u64,
}

impl Fleet {
    /// Series that are spread over at least `spread` groups.
    pub(crate) fn new(series: usize, spread: usize) -> Self {
        let group = series.div_ceil(spread.max(1)).clamp(1, GROUP_SERIES_MAX);
        let mut fleet = Self {
            regions: Vec::new(),
            places: Vec::with_capacity(series),
            group,
            generations: vec![0; series.div_ceil(group)],
            next: 0,
            text_bytes: 0,
        };
        for index in 0..series {
            let place = fleet.render(index);
            fleet.places.push(place);
        }
        fleet
    }

    /// Number of series at a time.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Number of groups.
    pub(crate) fn groups(&self) -> usize {
        self.generations.len()
    }

    /// The series of a group.
    pub(crate) fn group(&self, group: usize) -> std::ops::Range<usize> {
        let start = group * self.group;
        start..(start + self.group).min(self.len())
    }

    /// The labels of a series, encoded.
    pub(crate) fn region(&self, index: usize) -> &[u8] {
        let (start, len) = self.places[index];
        &self.regions[start..start + len as usize]
    }

    /// Bytes of the names and values of a series' labels, on average.
    pub(crate) fn text_bytes_mean(&self) -> f64 {
        self.text_bytes as f64 / self.len().max(1) as f64
    }

    /// Replaces the pods of as many groups as hold a share of the series. Returns how many series
    /// are new.
    pub(crate) fn renew(&mut self, share: f64) -> usize {
        let wanted = (share * self.len() as f64).round() as usize;
        let mut renewed = 0;
        while renewed < wanted.min(self.len()) {
            let group = self.next;
            self.next = (self.next + 1) % self.groups();
            self.generations[group] += 1;
            for index in self.group(group) {
                self.places[index] = self.render(index);
                renewed += 1;
            }
        }
        renewed
    }

    /// What a series reads in a round: a counter that grows, or a gauge with noise.
    pub(crate) fn value(&self, index: usize, round: usize) -> f64 {
        let noise = mix((index as u64) << 24 ^ round as u64);
        if self.is_counter(index) {
            let rate = 20 + mix(index as u64) % 500;
            let start = mix(!(index as u64)) % 10_000_000;
            (start + rate * round as u64 + noise % rate) as f64
        } else {
            (mix(index as u64) % 1_000) as f64 + (noise % 1_000) as f64 / 1e3
        }
    }

    /// Whether a series only grows.
    pub(crate) fn is_counter(&self, index: usize) -> bool {
        let (_, measure) = self.metric(index);
        measure.ends_with("_total")
    }

    fn metric(&self, index: usize) -> (&'static str, &'static str) {
        let name = index % self.group / CODES.len();
        let measure = MEASURES[name % MEASURES.len()];
        (
            SUBSYSTEMS[name / MEASURES.len() % SUBSYSTEMS.len()],
            measure,
        )
    }

    fn render(&mut self, index: usize) -> (usize, u32) {
        let group = index / self.group;
        let within = index % self.group;
        let (subsystem, measure) = self.metric(index);
        let address = 0x0a20_0000 + group as u32;
        let [a, b, c, d] = address.to_be_bytes();
        let labels = [
            ("__name__", format!("{subsystem}_{measure}")),
            ("cluster", "prod-eu-west-1-blue".to_owned()),
            ("code", CODES[within % CODES.len()].to_owned()),
            ("container", "checkout-api".to_owned()),
            ("instance", format!("{a}.{b}.{c}.{d}:9102")),
            ("job", "checkout".to_owned()),
            ("namespace", "payments".to_owned()),
            ("pod", pod(group, self.generations[group])),
            ("region", "eu-west-1".to_owned()),
            (
                "route",
                ROUTES[within / CODES.len() % ROUTES.len()].to_owned(),
            ),
        ];
        let start = self.regions.len();
        for (name, value) in &labels {
            wire::label(&mut self.regions, name, value);
            if self.generations[group] == 0 {
                self.text_bytes += (name.len() + value.len()) as u64;
            }
        }
        (start, (self.regions.len() - start) as u32)
    }
}

/// The name that a replica set gives to a pod; generations of one group never share a name.
fn pod(group: usize, generation: u32) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    // A step that shares no factor with the number of names visits each before it comes again.
    let mut number = mix(group as u64) % 27u64.pow(5) + 7_919 * u64::from(generation);
    let mut name = "checkout-api-7c9d8f6b54-".to_owned();
    for _ in 0..5 {
        name.push(char::from(LETTERS[(number % 27) as usize]));
        number /= 27;
    }
    name
}
