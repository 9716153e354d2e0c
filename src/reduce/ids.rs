//! Slots of a shard → ids of series and streams.

use super::key_table::NONE;

/// Slots of one shard → ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    series: Vec<Option<NonMaxId>>,
    streams: Vec<Option<NonMaxId>>,
}

/// An id in 4 bytes, absent or not.
type NonMaxId = std::num::NonZeroU32;

impl Ids {
    pub(super) fn series(&self, slot: u32) -> Option<u32> {
        let id = self.series.get(slot as usize).copied().flatten()?;
        Some(id.get() - 1)
    }

    pub(super) fn stream(&self, slot: u32) -> Option<u32> {
        let id = self.streams.get(slot as usize).copied().flatten()?;
        Some(id.get() - 1)
    }

    /// Gives slots and ids new numbers; those that are gone have none.
    pub(super) fn rename_series(&mut self, slots: &[u32], ids: &[u32]) {
        self.series = renamed(&self.series, slots, ids);
    }

    /// The same for streams.
    pub(super) fn rename_streams(&mut self, slots: &[u32], ids: &[u32]) {
        self.streams = renamed(&self.streams, slots, ids);
    }

    pub(super) fn name_series(&mut self, slot: u32, id: u32) {
        name(&mut self.series, slot, id);
    }

    pub(super) fn name_stream(&mut self, slot: u32, id: u32) {
        name(&mut self.streams, slot, id);
    }
}

fn renamed(before: &[Option<NonMaxId>], slots: &[u32], ids: &[u32]) -> Vec<Option<NonMaxId>> {
    let mut names = Vec::new();
    for (slot, id) in before.iter().enumerate() {
        let id = id.map_or(NONE, |id| ids[id.get() as usize - 1]);
        if slots[slot] != NONE && id != NONE {
            name(&mut names, slots[slot], id);
        }
    }
    names
}

fn name(names: &mut Vec<Option<NonMaxId>>, slot: u32, id: u32) {
    let slot = slot as usize;
    if names.len() <= slot {
        names.resize(slot + 1, None);
    }
    names[slot] = NonMaxId::new(id.wrapping_add(1));
}
