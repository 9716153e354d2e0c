//! What a counter's points become, case by case.

use crate::reduce::{IncreasePartial, Partial};

use super::*;

struct CounterCase {
    name: &'static str,
    host_known_since: Option<f64>,
    temporality: Temporality,
    /// Time, start, value.
    points: &'static [(f64, Option<f64>, f64)],
    /// Start of the bucket, increase, seconds, resets.
    expected: &'static [(f64, f64, f64, u32)],
}

const CASE: CounterCase = CounterCase {
    name: "",
    host_known_since: None,
    temporality: Temporality::Cumulative,
    points: &[],
    expected: &[],
};

const COUNTERS: &[CounterCase] = &[
    CounterCase {
        name: "growth belongs to the bucket of the later point",
        points: &[(5.0, None, 100.0), (15.0, None, 103.0), (25.0, None, 103.0)],
        expected: &[(10.0, 3.0, 10.0, 0), (20.0, 0.0, 10.0, 0)],
        ..CASE
    },
    CounterCase {
        name: "several points of a bucket are summed",
        points: &[
            (1.0, None, 1.0),
            (4.0, None, 3.0),
            (9.0, None, 4.0),
            (12.0, None, 9.0),
        ],
        expected: &[(0.0, 3.0, 8.0, 0), (10.0, 5.0, 3.0, 0)],
        ..CASE
    },
    CounterCase {
        name: "a fall is a restart, compared with the point before",
        points: &[(5.0, None, 4.0), (15.0, None, 10.0), (25.0, None, 6.0)],
        expected: &[(10.0, 6.0, 10.0, 0), (20.0, 6.0, 10.0, 1)],
        ..CASE
    },
    CounterCase {
        name: "a gap makes the time longer",
        points: &[(5.0, None, 4.0), (65.0, None, 10.0)],
        expected: &[(60.0, 6.0, 60.0, 0)],
        ..CASE
    },
    CounterCase {
        name: "a later start is a restart even if the value grew",
        points: &[(5.0, Some(-1000.0), 4.0), (15.0, Some(11.0), 10.0)],
        expected: &[(10.0, 10.0, 4.0, 1)],
        ..CASE
    },
    CounterCase {
        name: "a quick restart of a young process is one",
        points: &[(5.0, Some(4.8), 4.0), (15.0, Some(5.5), 10.0)],
        expected: &[(0.0, 4.0, 0.2, 0), (10.0, 10.0, 9.5, 1)],
        ..CASE
    },
    CounterCase {
        name: "a start that wanders by milliseconds is none",
        points: &[(5.0, Some(-1000.0), 4.0), (15.0, Some(-999.99), 10.0)],
        expected: &[(10.0, 6.0, 10.0, 0)],
        ..CASE
    },
    CounterCase {
        name: "a start that appears after the point before is a restart",
        points: &[(5.0, None, 4.0), (15.0, Some(12.0), 10.0)],
        expected: &[(10.0, 10.0, 3.0, 1)],
        ..CASE
    },
    CounterCase {
        name: "a first value without a start on a new host is a baseline",
        host_known_since: Some(-10.0),
        points: &[(5.0, None, 4.0)],
        ..CASE
    },
    CounterCase {
        name: "a first value without a start on a known host was born now",
        host_known_since: Some(-400.0),
        points: &[(5.0, None, 1.0), (15.0, None, 3.0)],
        expected: &[(0.0, 1.0, 10.0, 0), (10.0, 2.0, 10.0, 0)],
        ..CASE
    },
    CounterCase {
        name: "a recent start is a birth",
        points: &[(5.0, Some(-15.0), 8.0)],
        expected: &[(0.0, 8.0, 20.0, 0)],
        ..CASE
    },
    CounterCase {
        name: "a start after the host was first seen is a birth",
        host_known_since: Some(-5000.0),
        points: &[(5.0, Some(-995.0), 8.0)],
        expected: &[(0.0, 8.0, 1000.0, 0)],
        ..CASE
    },
    CounterCase {
        name: "an old start on a host that was seen later is a baseline",
        host_known_since: Some(-500.0),
        points: &[(5.0, Some(-995.0), 8.0), (15.0, Some(-995.0), 9.0)],
        expected: &[(10.0, 1.0, 10.0, 0)],
        ..CASE
    },
    CounterCase {
        name: "a start that equals the time is not known",
        points: &[(5.0, Some(5.0), 8.0), (15.0, Some(5.0), 9.0)],
        expected: &[(10.0, 1.0, 10.0, 0)],
        ..CASE
    },
    CounterCase {
        name: "the re-sent point of a shutdown waits for company",
        points: &[(9.95, None, 1.0), (10.03, None, 2.0), (25.0, None, 5.0)],
        expected: &[(20.0, 4.0, 15.05, 0)],
        ..CASE
    },
    CounterCase {
        name: "delta points are increases",
        temporality: Temporality::Delta,
        points: &[
            (5.0, None, 4.0),
            (15.0, None, 2.0),
            (17.0, Some(16.0), 1.0),
            (25.0, None, -3.0),
        ],
        expected: &[(0.0, 4.0, 10.0, 0), (10.0, 3.0, 11.0, 0)],
        ..CASE
    },
    CounterCase {
        name: "a delta that tells the start of its process was gained since the point before",
        temporality: Temporality::Delta,
        points: &[
            (5.0, Some(-995.0), 4.0),
            (15.0, Some(-995.0), 50.0),
            (25.0, Some(-995.0), 60.0),
        ],
        expected: &[
            (0.0, 4.0, 1000.0, 0),
            (10.0, 50.0, 10.0, 0),
            (20.0, 60.0, 10.0, 0),
        ],
        ..CASE
    },
];

#[test]
fn counters_become_increases() {
    for case in COUNTERS {
        let mut world = World::new(LIMITS);
        world.asked.host_known_since = case.host_known_since.map(at);
        let points = case
            .points
            .iter()
            .map(|(seconds, start, value)| point(*seconds, *start, Value::Number(*value)));
        let batch = block("counter", case.temporality, points.collect());
        world.ingest(&batch);
        let got: Vec<(f64, f64, f64, u32)> = partials(&close_all(&mut world, 100.0))
            .into_iter()
            .map(|(start, partial)| match partial {
                Partial::Increase(IncreasePartial {
                    increase,
                    seconds,
                    resets,
                    life: _,
                }) => (start, increase, (seconds * 1e6).round() / 1e6, resets),
                Partial::Gauge(_) | Partial::Histogram(_) => panic!("{}", case.name),
            })
            .collect();
        assert_eq!(got, case.expected, "{}", case.name);
        let resets: u32 = case.expected.iter().map(|expected| expected.3).sum();
        assert_eq!(
            world.reducer.counters().resets,
            u64::from(resets),
            "{}",
            case.name
        );
    }
}
