//! Series that are something else than they were taken for: what was made of them is forgotten, and they are bound
//! again.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    binding::{Bindings, Feed, PanelFeed, Part},
    directory::Directory,
};
use crate::{
    detect::Place,
    reduce::{Reading, SeriesId, Turned},
};

/// A metric of which what was made of some series is to be forgotten: its service, its panel, and its group there.
type Metric = (usize, u32, usize);

/// Where those series feed it.
#[derive(Debug, Default)]
struct Fed {
    places: BTreeSet<Place>,
    /// Whether other series make values of it as well.
    has_others: bool,
}

impl Directory {
    /// Reads series in another way from now on.
    pub(super) fn reread_series(
        &mut self,
        turned: &[Turned],
        reading: &dyn Fn(SeriesId) -> Reading,
    ) {
        let others: BTreeSet<SeriesId> = turned
            .iter()
            .filter(|turned| turned.is_other)
            .map(|turned| turned.series)
            .collect();
        let mut bound = self.forget_what_was_made_of(&others);
        bound.extend(turned.iter().map(|turned| turned.series));
        // Those that are the same may belong elsewhere, too: others of their name tell another unit.
        let turned = turned.iter().map(|turned| turned.series);
        let same: BTreeSet<SeriesId> = turned.filter(|id| !others.contains(id)).collect();
        let before = self.bindings.cells(&same);
        let is_kin = |id: &SeriesId| {
            let mut feeds = self.bindings.routes.of(*id).iter();
            feeds.any(|feed| matches!(feed, Feed::Kin(..)))
        };
        if others.iter().any(is_kin) {
            // Those of its name must not be taken for silent.
            bound = self.unbind_series();
        } else {
            self.unfeed(&bound);
        }
        for id in bound {
            let feeds = self.bindings.routes.of(id);
            let is_refused = feeds.iter().any(|feed| matches!(feed, Feed::Refused(_)));
            if !is_refused {
                let Reading {
                    labels,
                    meta,
                    own,
                    kind,
                } = reading(id);
                self.bind_told(id, &labels, (meta, own), kind);
            }
        }
        let after = self.bindings.cells(&same);
        self.leave(before.difference(&after).copied().collect());
    }

    /// Takes series that are bound again for none that feed anything.
    fn unfeed(&mut self, series: &BTreeSet<SeriesId>) {
        let Self {
            services, bindings, ..
        } = self;
        let cells = bindings.cells(series);
        for ((service, panel, _), place) in &cells {
            services[*service].panels[*panel as usize]
                .panel
                .unfeed(*place);
        }
        for id in bindings.routes.series().filter(|id| !series.contains(id)) {
            for (metric, place, _) in bindings.fed(id) {
                if cells.contains(&(metric, place)) {
                    let (service, panel, _) = metric;
                    services[service].panels[panel as usize].panel.feed(place);
                }
            }
        }
    }

    /// Forgets what was made at places that series fed and feed no more, unless others do.
    fn leave(&mut self, mut left: BTreeSet<(Metric, Place)>) {
        if left.is_empty() {
            return;
        }
        let mut others = BTreeSet::new();
        for id in self.bindings.routes.series() {
            for (metric, place, _) in self.bindings.fed(id) {
                left.remove(&(metric, place));
                others.insert(metric);
            }
        }
        let now = self.watermark;
        for ((service, panel, group), place) in left {
            let metric = (service, panel, group);
            let service = &mut self.services[service];
            service.forget_traffic_of(panel);
            let panel = &mut service.panels[panel as usize].panel;
            if others.contains(&metric) {
                panel.reread_track(place, now);
            } else {
                panel.reread_group(group, now);
            }
        }
    }

    /// Forgets where all series belong but those that a limit refuses. Gives all.
    fn unbind_series(&mut self) -> BTreeSet<SeriesId> {
        let before = std::mem::take(&mut self.bindings).routes;
        for id in before.series() {
            let refused = before.of(id).iter().copied();
            let refused = refused.filter(|feed| matches!(feed, Feed::Refused(_)));
            self.bindings.routes.bind(id, refused);
        }
        for service in &mut self.services {
            for entry in &mut service.panels {
                entry.panel.unbind();
            }
        }
        before.series().collect()
    }

    /// Forgets what was made of series. Gives others that are to be bound again: those that made something of it
    /// with them.
    fn forget_what_was_made_of(&mut self, series: &BTreeSet<SeriesId>) -> BTreeSet<SeriesId> {
        let bindings = &self.bindings;
        let mut metrics: BTreeMap<Metric, Fed> = BTreeMap::new();
        for id in series {
            for (metric, place, _) in bindings.fed(*id) {
                metrics.entry(metric).or_default().places.insert(place);
            }
        }
        let mut beside = BTreeSet::new();
        if metrics.is_empty() {
            return beside;
        }
        for id in bindings.routes.series().filter(|id| !series.contains(id)) {
            for (metric, place, part) in bindings.fed(id) {
                let Some(fed) = metrics.get_mut(&metric) else {
                    continue;
                };
                let is_value = matches!(part, Part::Value(_) | Part::Quantiles(_));
                fed.has_others |= is_value;
                // Of a ratio both sides are one.
                if !is_value || fed.places.contains(&place) {
                    beside.insert(id);
                }
            }
        }
        let now = self.watermark;
        let Bindings {
            deltas, sources, ..
        } = &mut self.bindings;
        deltas.retain(|delta| {
            let service = sources[delta.source as usize].origin.service;
            let metric = metrics.get(&(service, delta.panel, delta.place.group()));
            metric.is_none_or(|fed| fed.has_others)
        });
        for ((service, panel, group), fed) in metrics {
            let service = &mut self.services[service];
            service.forget_traffic_of(panel);
            let panel = &mut service.panels[panel as usize].panel;
            if fed.has_others {
                for place in fed.places {
                    panel.reread_track(place, now);
                }
            } else {
                panel.reread_group(group, now);
            }
        }
        beside
    }
}

impl Bindings {
    /// The cells that series feed.
    fn cells(&self, series: &BTreeSet<SeriesId>) -> BTreeSet<(Metric, Place)> {
        let fed = series.iter().flat_map(|id| self.fed(*id));
        fed.map(|(metric, place, _)| (metric, place)).collect()
    }

    /// The metrics that a series feeds, and where and how.
    fn fed(&self, series: SeriesId) -> impl Iterator<Item = (Metric, Place, Part)> {
        let feeds = self.routes.of(series).iter();
        feeds.flat_map(|feed| {
            let Feed::Panel(PanelFeed {
                source,
                panel,
                part,
            }) = *feed
            else {
                return Vec::new();
            };
            let service = self.sources[source as usize].origin.service;
            let places: Vec<Place> = match part {
                Part::Value(place) | Part::Numerator(place) | Part::Exposure(place) => vec![place],
                Part::Quantiles(index) => {
                    let quantiles = &self.distributions[index as usize].quantiles;
                    quantiles.iter().map(|(_, place)| *place).collect()
                }
            };
            let of = |place: Place| ((service, panel, place.group()), place, part);
            places.into_iter().map(of).collect()
        })
    }
}

#[cfg(test)]
#[path = "reread_tests.rs"]
mod tests;
