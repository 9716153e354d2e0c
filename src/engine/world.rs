//! All that works by one configuration: the series that it selects, and where they belong.

use std::sync::Arc;

use super::{Directory, Selector};
use crate::{
    event::{Interval, KeyHash},
    plan::Plan,
    reduce::{Epoch, Reducer, ReducerLimits, Select},
};

/// All that works by one configuration. Every batch and tick goes to each.
#[derive(Debug)]
pub(super) struct World {
    pub(super) reducer: Reducer,
    pub(super) directory: Directory,
}

impl World {
    /// One that has seen nothing.
    pub(super) fn new(plan: &Arc<Plan>, keys: KeyHash) -> Self {
        let directory = Directory::new(Arc::clone(plan));
        let select = Arc::<Selector>::clone(directory.selector());
        Self {
            reducer: Reducer::new(plan.resolution, limits(plan), keys, select),
            directory,
        }
    }

    /// One that goes on by another plan with what this one knows.
    pub(super) fn succeed(&self, plan: &Arc<Plan>) -> Self {
        let mut directory = self.directory.succeed(plan);
        let (before, after) = (self.directory.selector(), Arc::clone(directory.selector()));
        let classes = before.classes_in(&after);
        let select: Arc<dyn Select> = after;
        let renamed = |class: u32| classes.get(class as usize).cloned().unwrap_or_default();
        Self {
            reducer: self.reducer.fork(&select, &renamed, &mut directory),
            directory,
        }
    }

    /// Takes a tick: names what is new.
    pub(super) fn advance(&mut self, epoch: Epoch) {
        self.reducer.advance(epoch, &mut self.directory);
        if let Some(now) = epoch.now {
            self.directory.refused.tick(now);
        }
    }

    /// Closes the next bucket that is over, and spreads it over the panels; empty ones are passed over where
    /// nothing looks at them.
    pub(super) fn close_next(&mut self, is_idle: bool) -> Option<Interval> {
        if is_idle {
            let now = self.reducer.epoch().now?;
            let plan = self.directory.plan();
            self.reducer
                .skip_idle(now - plan.lateness - plan.resolution);
        }
        let Self { reducer, directory } = self;
        let interval = reducer.next_over()?;
        directory.open(interval);
        let closed = reducer.close(interval, |partial| {
            directory.spread_series(partial, interval);
        });
        directory.finish(&closed);
        Some(interval)
    }
}

/// The limits of a plan that concern the reducer.
pub(super) fn limits(plan: &Plan) -> ReducerLimits {
    ReducerLimits {
        series: plan.limits.series,
        samples_per_bucket: plan.limits.samples_per_bucket,
        templates: plan.limits.templates,
        future: plan.limits.future,
        labels: plan.limits.labels,
        label_bytes: plan.limits.label_bytes,
    }
}
