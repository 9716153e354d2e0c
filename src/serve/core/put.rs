//! Looks up and puts batches: what any number of threads do at once, beside the core.

use std::sync::Arc;

use arc_swap::Guard;

use super::Core;
use crate::{
    event::Raw,
    reduce::{Epoch, Put, PutScratch, Shards, put_all},
};

impl Core {
    /// Looks up the series of a batch that is about to be put.
    pub(in crate::serve) fn resolve(&self, raw: Raw<'_>, scratch: &mut PutScratch) {
        if let Some(shards) = self.newest_shards() {
            shards.resolve(raw, scratch);
        }
    }

    /// The shards of the configuration that is at work.
    pub(in crate::serve) fn newest_shards(&self) -> Option<Arc<Shards>> {
        let shards = self.opened.get()?.shards.load();
        shards.last().cloned()
    }

    /// Puts a batch of which everything was looked up and found; `read` gives its bytes if they are needed
    /// all the same.
    ///
    /// # Panics
    /// As [`Core::put`].
    pub(in crate::serve) fn put_known<'a>(
        &self,
        read: impl FnOnce() -> Raw<'a>,
        epoch: Epoch,
        scratch: &mut PutScratch,
    ) -> Put {
        match &***self.opened_shards() {
            [only] => only.put_known(read, epoch, scratch),
            _ => self.put(read(), epoch, scratch),
        }
    }

    /// Puts a batch that stands in an epoch.
    ///
    /// # Panics
    /// The core is not ready, so that no batch can have a place.
    pub(in crate::serve) fn put(
        &self,
        raw: Raw<'_>,
        epoch: Epoch,
        scratch: &mut PutScratch,
    ) -> Put {
        let shards = self.opened_shards();
        put_all(
            &**shards,
            |shards, scratch| shards.put(raw, epoch, scratch),
            scratch,
        )
    }

    fn opened_shards(&self) -> Guard<Arc<Vec<Arc<Shards>>>> {
        let opened = self.opened.get();
        let opened = opened.expect("a batch has a place once the core is ready");
        opened.shards.load()
    }
}
