//! Memory that one request after the other uses.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// Things that wait to be used again. What came back last is lent first: it is still in the caches.
pub(super) struct Idle<T> {
    things: Arc<Mutex<Vec<T>>>,
    max: usize,
}

/// A thing that goes back when it is dropped, unless there are enough.
pub(super) struct Lent<T> {
    thing: Option<T>,
    home: Idle<T>,
}

impl<T> Idle<T> {
    /// Keeps at most so many.
    pub(super) fn new(max: usize) -> Self {
        Self {
            things: Arc::default(),
            max,
        }
    }

    /// Lends one, or one that is made.
    pub(super) fn lend(&self, make: impl FnOnce() -> T) -> Lent<T> {
        let known = self.lock(Vec::pop);
        Lent {
            thing: Some(known.unwrap_or_else(make)),
            home: self.clone(),
        }
    }

    fn lock<R>(&self, with: impl FnOnce(&mut Vec<T>) -> R) -> R {
        with(&mut self.things.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Clone for Idle<T> {
    fn clone(&self) -> Self {
        Self {
            things: Arc::clone(&self.things),
            max: self.max,
        }
    }
}

impl<T> fmt::Debug for Idle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idle")
            .field("things", &self.lock(|things| things.len()))
            .field("max", &self.max)
            .finish()
    }
}

impl<T> Deref for Lent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.thing.as_ref().expect(THERE)
    }
}

impl<T> DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.thing.as_mut().expect(THERE)
    }
}

const THERE: &str = "what is lent goes back only when it is dropped";

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        // What a panic left behind is not trusted.
        let Some(thing) = self.thing.take().filter(|_| !thread::panicking()) else {
            return;
        };
        let max = self.home.max;
        self.home.lock(|things| {
            if things.len() < max {
                things.push(thing);
            }
        });
    }
}

impl<T> fmt::Debug for Lent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn what_came_back_last_is_lent_first_and_no_more_are_kept() {
        let idle = Idle::new(2);
        let [one, two, three] = [1, 2, 3].map(|number| idle.lend(|| number));
        drop(one);
        drop(two);
        drop(three);
        let lent = [0, 0, 0].map(|_| *idle.lend(|| 9));
        assert_eq!(lent, [2; 3], "each goes back at once");
        let (last, first, made) = (idle.lend(|| 9), idle.lend(|| 9), idle.lend(|| 9));
        assert_eq!((*last, *first, *made), (2, 1, 9));
    }

    #[test]
    fn what_a_panic_left_behind_is_not_lent_again() {
        let idle = Idle::new(2);
        let failed = catch_unwind(AssertUnwindSafe(|| {
            let mut lent = idle.lend(|| 1);
            *lent = 7;
            panic!("half done");
        }));
        assert!(failed.is_err());
        assert_eq!(*idle.lend(|| 1), 1);
    }
}
