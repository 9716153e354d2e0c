//! Finds out by which configuration a journal is judged from its begin on.

use super::{Entry, PlanChange, Position};

/// What a journal tells of the configurations that it was written under. Whoever reads it knows this
/// before the first input: a start under another configuration judges all that stands before anew.
///
/// A journal that tells of none is judged by whatever configuration it is read under. So is one of a
/// version that recorded no starts: of those it knows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// The last start under another configuration.
    pub start: Option<(Position, PlanChange)>,
    /// The first change behind it while the engine ran.
    pub first: Option<(Position, PlanChange)>,
}

impl Course {
    /// Notes the next entry.
    pub fn note(&mut self, position: Position, entry: Entry) {
        match entry {
            Entry::Start(change) => {
                self.start = Some((position, change));
                self.first = None;
            }
            Entry::Plan(change) => {
                self.first.get_or_insert((position, change));
            }
            Entry::Batch(_)
            | Entry::Deployment(_)
            | Entry::Tick(_)
            | Entry::Consumed(_)
            | Entry::Lost(_)
            | Entry::OverLimit(_) => {}
        }
    }

    /// Whether an entry tells of a configuration that nothing is judged by any more.
    pub fn is_void(&self, position: Position, entry: &Entry) -> bool {
        let is_of_plans = matches!(entry, Entry::Plan(_) | Entry::Start(_));
        let start = self.start.as_ref();
        is_of_plans && start.is_some_and(|(start, _)| position <= *start)
    }
}

impl FromIterator<(Position, Entry)> for Course {
    fn from_iter<I: IntoIterator<Item = (Position, Entry)>>(entries: I) -> Self {
        let mut course = Self::default();
        for (position, entry) in entries {
            course.note(position, entry);
        }
        course
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    fn change(from: &str, to: &str) -> PlanChange {
        PlanChange {
            from_digest: from.to_owned(),
            from: String::new(),
            to_digest: to.to_owned(),
            to: String::new(),
            reload: None,
        }
    }

    fn check(entries: &[Entry], start: Option<&str>, first: Option<&str>, void: &[bool]) {
        let places = (0..).map(|offset| Position { segment: 1, offset });
        let placed: Vec<(Position, Entry)> = places.zip(entries.iter().cloned()).collect();
        let course: Course = placed.iter().cloned().collect();
        let to = |change: &Option<(Position, PlanChange)>| {
            let change = change.as_ref();
            change.map(|(_, change)| format!("{}-{}", change.from_digest, change.to_digest))
        };
        assert_eq!(to(&course.start).as_deref(), start);
        assert_eq!(to(&course.first).as_deref(), first);
        let of_entry = placed.iter().map(|(at, entry)| course.is_void(*at, entry));
        assert_eq!(of_entry.collect::<Vec<_>>(), void);
    }

    #[test]
    fn a_start_makes_what_was_taken_before_void() {
        let tick = Entry::Tick(Timestamp::from_seconds(1));
        let plan = |from, to| Entry::Plan(change(from, to));
        let start = |from, to| Entry::Start(change(from, to));
        check(&[], None, None, &[]);
        check(
            &[plan("a", "b"), tick.clone(), plan("b", "c")],
            None,
            Some("a-b"),
            &[false; 3],
        );
        check(
            &[plan("a", "b"), start("b", "c"), tick.clone()],
            Some("b-c"),
            None,
            &[true, true, false],
        );
        check(
            &[
                start("a", "b"),
                plan("b", "c"),
                start("c", "d"),
                tick,
                plan("d", "e"),
                plan("e", "f"),
            ],
            Some("c-d"),
            Some("d-e"),
            &[true, true, true, false, false, false],
        );
    }
}
