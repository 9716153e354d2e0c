//! Fleet hosts that go and come.

use std::collections::VecDeque;

use super::{FreshTest, PERSIST, Recent, Said};
use crate::detect::{
    Group, HostId,
    compare::{
        reading::Reader,
        reference::{settled, speaks},
    },
};

impl Recent {
    pub(super) fn new(host: HostId, block: usize) -> Self {
        Self {
            host,
            place: 0.0,
            values: VecDeque::with_capacity(block),
        }
    }
}

impl FreshTest {
    /// Begins in the midst of a bake, beside the fleet hosts that are here. One-box hosts are measured from where
    /// they usually are: that of the others is not known.
    pub(in crate::detect::compare) fn begin_anew(
        mut self,
        reader: &Reader<'_>,
        group: &Group,
        places: &[(HostId, f64)],
    ) -> Self {
        for recent in &mut self.one_box {
            let mut known = places.iter().filter(|(host, _)| *host == recent.host);
            recent.place = known.next().map_or(0.0, |(_, place)| *place);
        }
        self.fleet.clear();
        self.adopt(reader, group);
        self
    }

    /// Takes in the fleet hosts that came and have settled, and lets those go that said nothing for a block.
    pub(super) fn adopt(&mut self, reader: &Reader<'_>, group: &Group) {
        let block = self.block;
        let is_here = |recent: &Recent| {
            let mut values = recent.values.iter();
            recent.values.len() < block || values.any(Said::is_any)
        };
        self.fleet.retain(is_here);
        let mut known: Vec<HostId> = self.fleet().collect();
        known.sort_unstable();
        let come = settled(reader, group).into_iter();
        let come = come.filter(|host| known.binary_search(host).is_err());
        self.fleet.extend(come.map(|host| Recent::new(host, block)));
    }

    /// The fleet hosts that it compares with.
    pub(in crate::detect::compare) fn fleet(&self) -> impl Iterator<Item = HostId> {
        self.fleet.iter().map(|recent| recent.host)
    }

    /// Whether harm would have been found by now, and fleet hosts still speak.
    pub(in crate::detect::compare) fn sees(&self, reader: &Reader<'_>, group: &Group) -> bool {
        let mut fleet = self.fleet();
        PERSIST <= self.held && fleet.any(|host| speaks(reader, group, host))
    }
}
