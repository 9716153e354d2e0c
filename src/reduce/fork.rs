//! A second reducer beside the first, which goes on with other series: for a change of the configuration
//! while the first still has something to finish.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Directory, LossSource, Put, PutScratch, Reducer, Registration, Select, SeriesId, Shards,
    StreamId,
    bucket::Spare,
    logs::LogKey,
    refusals::Refusals,
    selected::Selected,
    shard::Shard,
    standing::{NewStream, Standing},
    unselected::Unselected,
};
use crate::event::{RawBatch, canonical};

/// What a class of log records becomes under another selection: none, one, or several.
pub(super) type Classes<'a> = &'a dyn Fn(u32) -> Vec<u32>;

impl Reducer {
    /// A reducer that knows what this one knows, with the samples of buckets that are open, and from here
    /// on takes in what `select` wants. To be called between two inputs, when every batch before is put
    /// and the buckets of the last tick are closed.
    ///
    /// `classes` gives what a class of log records becomes: none, one, or several. Series and streams are
    /// bound to `directory`, in the order of their ids. Those that nobody selects
    /// any more keep their ids and feed nothing, and what comes of them is passed over; those that are selected only now begin with what comes.
    #[must_use]
    pub fn fork<D: Directory>(
        &self,
        select: &Arc<dyn Select>,
        classes: &dyn Fn(u32) -> Vec<u32>,
        directory: &mut D,
    ) -> Self {
        let shards = Arc::new(self.shards.fork(select, self.epoch.number, classes));
        let mut fork = Self {
            shards,
            resolution: self.resolution,
            epoch: self.epoch,
            next: self.next,
            taken: BTreeMap::new(),
            registry: self.registry.clone(),
            selected: self.selected.clone(),
            streams: self.streams.clone(),
            streams_heard: self.streams_heard.clone(),
            ids: self.ids.clone(),
            templates: self.templates.clone(),
            metadata: Arc::clone(&self.metadata),
            losses: BTreeMap::new(),
            refused: self.refused,
            resets: self.resets,
            late_losses: self.late_losses.clone(),
            duplicates: self.duplicates,
            spare: vec![Spare::default(); self.shards.len()],
            gathered: Vec::new(),
            run: Vec::new(),
            raw: RawBatch::new(self.shards.keys(), canonical::read),
            scratch: PutScratch::default(),
        };
        debug_assert!(self.taken.is_empty(), "what is over is closed");
        for ((source, reason), count) in &self.losses {
            for source in under(*source, classes) {
                let sum: &mut u64 = fork.losses.entry((source, *reason)).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        for index in 0..fork.selected.len() {
            let id = SeriesId(index as u32);
            let labels = fork.registry.labels(id.0, &fork.shards);
            let Selected {
                meta, kind: before, ..
            } = fork.selected[index];
            let (told, kind) = fork.metadata.selected(&**select, &labels, meta, before);
            let bound = directory.bind_series(id, &labels, (told, meta.kind), kind);
            if bound.is_none() {
                directory.refuse_series(id, &labels, kind);
            }
            if kind != before {
                // It was not born now: what it has gained until now is only where it begins.
                let registration = Registration {
                    kind,
                    host_known_since: None.into(),
                };
                fork.selected[index] = Selected::new(meta, registration, fork.closed());
            }
        }
        for id in 0..fork.streams.len() as u32 {
            directory.bind_stream(StreamId(id), &fork.streams.labels(id, &fork.shards));
        }
        fork
    }
}

/// What the source of a loss is under another selection.
fn under(source: LossSource, classes: Classes<'_>) -> Vec<LossSource> {
    match source {
        LossSource::Series(_) => vec![source],
        LossSource::Records(stream, class) => {
            let renamed = renamed(class, classes).into_iter();
            renamed
                .map(|class| LossSource::Records(stream, class))
                .collect()
        }
    }
}

/// What the class of a lost record is under another selection.
fn renamed(class: Option<u32>, classes: Classes<'_>) -> Vec<Option<u32>> {
    let classes = class.map(classes).unwrap_or_default();
    if classes.is_empty() {
        vec![None]
    } else {
        classes.into_iter().map(Some).collect()
    }
}

/// Puts a batch into the shards of every configuration that is at work; what became of it is that of the
/// last.
pub fn put_all<'a>(
    shards: impl IntoIterator<Item = &'a Arc<Shards>>,
    put: impl Fn(&Shards, &mut PutScratch) -> Put,
    scratch: &mut PutScratch,
) -> Put {
    let (mut all, mut latest) = (Put::default(), None);
    for shards in shards {
        all = put(shards, scratch);
        latest = all.latest.max(latest);
    }
    all.latest = latest;
    all
}

impl Shard {
    /// The same shard under another selection; new streams stand in this epoch.
    pub(super) fn fork(&self, select: &dyn Select, epoch: u32, classes: Classes<'_>) -> Self {
        let mut fork = self.clone();
        fork.forget_unselected();
        // What is selected is asked anew, too, and what a limit refused: a start from a saved state knows no
        // better.
        for slot in 0..fork.series.len() as u32 {
            fork.series.value_mut(slot).meta = None;
        }
        fork.ask_refused_again();
        fork.refusals = Refusals::new();
        for losses in fork.all_losses() {
            losses.refused.clear();
            for ((slot, class, reason), count) in std::mem::take(&mut losses.records) {
                for class in renamed(class, classes) {
                    let sum = losses.records.entry((slot, class, reason)).or_default();
                    *sum = sum.saturating_add(count);
                }
            }
        }
        for new in &mut fork.new_series {
            new.kind = select.series(&new.labels, new.meta).unwrap_or(new.kind);
        }
        for slot in 0..fork.streams.len() as u32 {
            let Ok(attributes) = canonical::read([fork.streams.key(slot), &[], &[]]) else {
                continue;
            };
            let wanted = select.stream(&attributes);
            let place = fork.new_streams.len() as u32;
            let stream = fork.streams.value_mut(slot);
            let is_met = stream.classes.is_none() && wanted.is_some() && stream.new.is_none();
            stream.classes = wanted;
            if is_met {
                stream.new = Some(place);
                fork.new_streams.push(NewStream {
                    slot,
                    since: epoch,
                    attributes,
                });
            }
        }
        let streams = &mut fork.streams;
        for bucket in &mut fork.open {
            bucket.logs.rename(|key| {
                let wanted = streams.value(key.stream).classes.as_ref();
                let mut renamed: Vec<u32> =
                    key.classes.iter().flat_map(|of| classes(*of)).collect();
                renamed.retain(|class| wanted.is_some_and(|wanted| wanted.0.contains(class)));
                renamed.sort_unstable();
                renamed.dedup();
                LogKey {
                    classes: renamed,
                    ..key.clone()
                }
            });
        }
        fork
    }

    /// Lets series that a limit refused be new when they come again.
    pub(super) fn ask_refused_again(&mut self) {
        for slot in 0..self.series.len() as u32 {
            let key = self.series.value_mut(slot);
            if let Standing::Refused(_) = key.standing {
                key.standing = Standing::Again;
            }
        }
    }

    /// Forgets the keys that have no slot: those that nobody selects, and those that a limit refuses.
    pub(super) fn forget_unselected(&mut self) {
        self.unselected = Unselected::default();
        self.refusals.forget_keys();
        self.counters.unselected_series = 0;
    }
}

impl Shards {
    fn fork(&self, select: &Arc<dyn Select>, epoch: u32, classes: Classes<'_>) -> Self {
        let shards = (0..self.len()).map(|index| self.lock(index).fork(&**select, epoch, classes));
        self.with(shards.collect(), Arc::clone(select))
    }
}
