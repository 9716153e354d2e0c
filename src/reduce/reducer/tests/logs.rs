//! What becomes of log records.

use super::*;

#[test]
fn log_records_are_counted_by_stream_severity_template_and_class() {
    let mut world = World::new(LIMITS);
    let mut logs = vec![
        record("a", 1.0, Severity::ERROR, "order 17 failed"),
        record("a", 2.0, Severity::ERROR, "order 18 failed"),
        record("a", 3.0, Severity::INFO, "order 19 done"),
        record("b", 4.0, Severity::INFO, "order 20 done"),
        record("", 5.0, Severity::INFO, "of no service"),
    ];
    logs[2].count = 4;
    let batch = Batch {
        logs,
        ..Batch::default()
    };
    world.ingest(&batch);
    let closed = close_all(&mut world, 10.0);
    let counts: Vec<_> = closed[0]
        .logs
        .iter()
        .map(|log| {
            (
                log.stream.0,
                log.severity,
                &*log.template,
                &log.classes[..],
                log.count,
            )
        })
        .collect();
    assert_eq!(
        counts,
        [
            (0, Severity::INFO, "order <*> done", &[][..], 4),
            (0, Severity::ERROR, "order <*> failed", &[7], 2),
            (1, Severity::INFO, "order <*> done", &[], 1),
        ]
    );
    let counters = world.reducer.counters();
    assert_eq!(
        (
            counters.logs_accepted,
            counters.logs_unselected,
            counters.streams,
            counters.templates
        ),
        (7, 1, 3, 2)
    );
    assert_eq!(world.reducer.stream(StreamId(1)).get("app"), Some("b"));
}

#[test]
fn templates_over_the_limit_are_counted_together() {
    let limits = ReducerLimits {
        templates: 2,
        ..LIMITS
    };
    let mut world = World::new(limits);
    let mut templates = |bodies: &[&str], seconds: f64| {
        let logs = bodies
            .iter()
            .map(|body| record("a", seconds, Severity::INFO, body));
        let batch = Batch {
            logs: logs.collect(),
            ..Batch::default()
        };
        world.ingest(&batch);
        world.advance(at(seconds + 20.0));
        world.reducer.skip_idle(at(seconds));
        let closed: Vec<_> = std::iter::from_fn(|| world.reducer.close_next()).collect();
        let logs = closed.into_iter().flat_map(|bucket| bucket.logs);
        logs.map(|log| format!("{} {}", log.template, log.count))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        templates(&["d", "c", "b", "c"], 1.0),
        ["<other> 1", "b 1", "c 2"]
    );
    assert_eq!(templates(&["a", "c", "d"], 31.0), ["<other> 2", "c 1"]);
    // After a day of silence a template makes room.
    assert_eq!(templates(&["c"], 80_000.0), ["c 1"]);
    assert_eq!(
        templates(&["c", "d", "e"], 90_000.0),
        ["<other> 1", "c 1", "d 1"]
    );
}

#[test]
fn absurd_counts_saturate() {
    let mut world = World::new(LIMITS);
    let mut logs = vec![record("a", 1.0, Severity::INFO, "x"); 2];
    logs.extend(vec![record("", 1.0, Severity::INFO, "x"); 2]);
    logs.extend(vec![record("a", -99.0, Severity::INFO, "x"); 2]);
    for log in &mut logs {
        log.count = u64::MAX;
    }
    assert_eq!(close_all(&mut world, 0.0), []);
    let batch = Batch {
        logs,
        ..Batch::default()
    };
    world.ingest(&batch);
    let closed = close_all(&mut world, 10.0);
    assert_eq!(closed[0].logs[0].count, u64::MAX);
    assert_eq!(losses(&closed), [(LossReason::Late, u64::MAX)]);
}
