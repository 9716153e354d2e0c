//! Takes a stretch of time out of a journal, so that it can be replayed for itself.

use super::{Body, Entry};
use crate::event::{DeploymentEvent, Timestamp};

/// Chooses the entries of a stretch of time, in order. An entry belongs to the tick before it.
///
/// What a deployer told before of deployments that were open comes first: without it, the stretch
/// would say nothing about them. So does what senders told of metrics by their names.
#[derive(Clone, Debug)]
pub struct Stretch {
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    state: State,
    /// What was told before of deployments that have not ended, in order.
    open: Vec<DeploymentEvent>,
    /// What was told before of metrics by their names: all that the journal holds of it. What is no news stands
    /// there every few hours only.
    metadata: Vec<Body>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Before,
    Within,
    Behind,
}

impl Stretch {
    /// From the first tick at or after `from` up to the first at or after `until`; `None`: from the
    /// start, to the end.
    pub fn new(from: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        let state = match from {
            Some(_) => State::Before,
            None => State::Within,
        };
        Self {
            from,
            until,
            state,
            open: Vec::new(),
            metadata: Vec::new(),
        }
    }

    /// Takes the next entry of the journal. Appends to `out` what belongs to the stretch.
    pub fn take(&mut self, entry: Entry, out: &mut Vec<Entry>) {
        if let Entry::Tick(now) = entry {
            if self.state == State::Before && self.from.is_none_or(|from| from <= now) {
                self.state = State::Within;
                out.extend(self.metadata.drain(..).map(Entry::Batch));
                out.extend(self.open.drain(..).map(Entry::Deployment));
            }
            if self.state == State::Within && self.until.is_some_and(|until| until <= now) {
                self.state = State::Behind;
            }
        }
        match (self.state, entry) {
            (State::Within, entry) => out.push(entry),
            (State::Before, Entry::Deployment(event)) => self.tell(event),
            (State::Before, Entry::Batch(body)) if body.begins_with_metadata() => {
                self.metadata.push(body);
            }
            (State::Before | State::Behind, _) => {}
        }
    }

    /// Whether what comes next belongs to it, or would have.
    pub fn has_begun(&self) -> bool {
        self.state != State::Before
    }

    /// Whether nothing more belongs to it.
    pub fn is_over(&self) -> bool {
        self.state == State::Behind
    }

    fn tell(&mut self, event: DeploymentEvent) {
        match event {
            DeploymentEvent::End(end) => {
                self.open.retain(|open| open.deployment() != end.deployment);
            }
            DeploymentEvent::Begin(_) | DeploymentEvent::Step(_) | DeploymentEvent::Bypass(_) => {
                self.open.push(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Begin, End, Step, StepOutcome};

    fn tick(second: i64) -> Entry {
        Entry::Tick(Timestamp::from_seconds(second))
    }

    fn begin(deployment: &str) -> Entry {
        Entry::Deployment(DeploymentEvent::Begin(Begin {
            at: Timestamp::from_seconds(1),
            deployment: deployment.to_owned(),
            service: "web".to_owned(),
            stage: "prod".to_owned(),
            region: None,
            version: "v1".to_owned(),
            one_box: Vec::new(),
            fleet: Vec::new(),
            weight: 1.0,
            hotfix: None,
        }))
    }

    fn step(deployment: &str) -> Entry {
        Entry::Deployment(DeploymentEvent::Step(Step {
            at: Timestamp::from_seconds(1),
            deployment: deployment.to_owned(),
            step: "tests".to_owned(),
            outcome: StepOutcome::Passed,
        }))
    }

    fn end(deployment: &str) -> Entry {
        Entry::Deployment(DeploymentEvent::End(End {
            at: Timestamp::from_seconds(1),
            deployment: deployment.to_owned(),
        }))
    }

    fn check(from: Option<i64>, until: Option<i64>, expected: &[Entry]) {
        let journal = [
            tick(1),
            begin("a"),
            begin("b"),
            step("a"),
            tick(2),
            end("b"),
            tick(3),
            begin("c"),
            tick(4),
            end("a"),
        ];
        let second = |second: Option<i64>| second.map(Timestamp::from_seconds);
        let mut stretch = Stretch::new(second(from), second(until));
        let mut taken = Vec::new();
        for entry in journal {
            stretch.take(entry, &mut taken);
        }
        assert_eq!(taken, expected);
        assert_eq!(stretch.is_over(), until.is_some_and(|until| until <= 4));
    }

    #[test]
    fn a_stretch_begins_with_all_that_was_told_of_metrics() {
        let body = |first: u8| {
            Entry::Batch(Body {
                format: crate::decode::Format::RemoteWrite1,
                encoding: crate::decode::Encoding::Identity,
                bytes: vec![first, 0].into(),
            })
        };
        let hours = |hours: i64| tick(hours * 3_600);
        let mut stretch = Stretch::new(Some(Timestamp::from_seconds(9 * 3_600)), None);
        let mut taken = Vec::new();
        for entry in [
            hours(1),
            body(0x1a),
            hours(3),
            body(0x1a),
            body(0x0a),
            begin("a"),
            hours(9),
            body(0x0a),
        ] {
            stretch.take(entry, &mut taken);
        }
        let expected = [body(0x1a), body(0x1a), begin("a"), hours(9), body(0x0a)];
        assert_eq!(taken, expected[..]);
        let mut stretch = Stretch::new(Some(Timestamp::from_seconds(11 * 3_600)), None);
        taken.clear();
        for entry in [hours(1), body(0x1a), hours(10), body(0x1a), hours(11)] {
            stretch.take(entry, &mut taken);
        }
        assert_eq!(taken, [body(0x1a), body(0x1a), hours(11)]);
    }

    #[test]
    fn a_stretch_begins_with_what_was_told_of_open_deployments() {
        check(
            Some(3),
            Some(4),
            &[begin("a"), step("a"), tick(3), begin("c")],
        );
        check(
            Some(2),
            Some(3),
            &[begin("a"), begin("b"), step("a"), tick(2), end("b")],
        );
        check(
            Some(4),
            None,
            &[begin("a"), step("a"), begin("c"), tick(4), end("a")],
        );
        check(None, Some(2), &[tick(1), begin("a"), begin("b"), step("a")]);
        check(Some(9), None, &[]);
        check(Some(4), Some(4), &[begin("a"), step("a"), begin("c")]);
    }
}
