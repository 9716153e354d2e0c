//! A closed bucket → the panels of every check.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    binding::{Distribution, Feed, Part, ToldVersion},
    combine::{self, CellKey, Contribution, Share},
    directory::{Directory, LOG_UNIT, log_group},
    selection::Class,
    service::{Service, wants_templates},
};
use crate::{
    detect::{Cell, HostId, Place, TemplateTrack},
    event::{Interval, Kind, Timestamp},
    gate::Place as StagePlace,
    plan::Selection,
    reduce::{
        ClosedBucket, HistogramPartial, LogCount, LossMark, LossSource, Partial, SeriesPartial,
        histogram,
    },
};

/// One distribution, or one bucket of a classic one, for one host.
struct Piece<'a> {
    /// The cell of the first quantile; it stands for all of them.
    cell: CellKey,
    quantiles: &'a [(f64, Place)],
    what: PieceKind<'a>,
}

enum PieceKind<'a> {
    Whole(&'a HistogramPartial),
    Classic { le: f64, increase: f64 },
}

impl Directory {
    /// Spreads the bucket that has just closed over the panels.
    pub fn spread(&mut self, bucket: &ClosedBucket) {
        for service in &mut self.services {
            for entry in &mut service.panels {
                entry.panel.clear_templates();
                entry.panel.forget(bucket.interval);
            }
        }
        self.watermark = self.watermark.max(bucket.interval.end);
        if let Some(until) = self.torn_until {
            if until < bucket.interval.end {
                self.torn_until = None;
            }
            for service in &mut self.services {
                for entry in &mut service.panels {
                    entry.panel.tear(bucket.interval);
                }
            }
        }
        self.spread_series(&bucket.series, bucket.interval);
        self.hear_logs(&bucket.logs, bucket.interval);
        for service in &mut self.services {
            service.hosts.learn_log_gaps();
        }
        self.spread_logs(&bucket.logs, bucket.interval);
        for loss in &bucket.losses {
            self.note_loss(loss, bucket.interval);
        }
        for service in &mut self.services {
            service.look(bucket.interval);
        }
    }

    /// Takes the partials of series. A series that makes its cell alone, as most do, is written
    /// where it belongs at once; what several make is collected and summed up.
    fn spread_series(&mut self, series: &[SeriesPartial], bucket: Interval) {
        let Self {
            services,
            bindings,
            scratch: contributions,
            ..
        } = self;
        let mut pieces = Vec::new();
        contributions.clear();
        for SeriesPartial { series, partial } in series {
            for feed in bindings.routes.of(*series) {
                let feed = match feed {
                    Feed::Panel(feed) => feed,
                    Feed::Version(index) => {
                        let told = &bindings.versions[*index as usize];
                        tell_version(services, told, bucket.end);
                        continue;
                    }
                };
                let source = &mut bindings.sources[feed.source as usize];
                let service = &mut services[source.origin.service];
                source.hear(service, bucket);
                let panel = &mut service.panels[feed.panel as usize].panel;
                let cell = |place: Place| CellKey {
                    service: source.origin.service,
                    panel: feed.panel,
                    place,
                    host: source.origin.host,
                };
                let (place, share) = match feed.part {
                    Part::Value(place) if panel.has_one_feeder(place) => {
                        let cell = combine::sole(partial);
                        if cell.is_some_and(|cell| panel.record_at(place, bucket, cell)) {
                            source.moves(service, bucket);
                        }
                        continue;
                    }
                    Part::Value(place) => (place, None),
                    Part::Numerator(place) => (place, Some(Share::Numerator)),
                    Part::Exposure(place) => (place, Some(Share::Exposure)),
                    Part::Quantiles(index) => {
                        let distribution = &bindings.distributions[index as usize];
                        pieces.extend(Piece::new(distribution, partial, cell));
                        continue;
                    }
                };
                contributions.push(Contribution::new(cell(place), partial, share));
            }
        }
        for (key, cell) in combine::cells(contributions).chain(quantile_cells(&mut pieces)) {
            let service = &mut services[key.service];
            let panel = &mut service.panels[key.panel as usize].panel;
            if panel.record_at(key.place, bucket, cell) {
                service.hosts.moved(key.host, bucket);
            }
        }
    }

    /// The versions that are new in the bucket that has just been spread, by service and place.
    pub(super) fn sight(&mut self, bucket: Interval) -> Vec<(String, StagePlace, String)> {
        let mut found = Vec::new();
        for service in &mut self.services {
            let name = service.plan.name.clone();
            let sighted = service.sight(bucket).into_iter();
            found.extend(sighted.map(|(place, version)| (name.clone(), place, version)));
        }
        found
    }

    /// Takes a version at a place for known, or for unknown again.
    pub(super) fn knows(
        &mut self,
        service: &str,
        place: &StagePlace,
        version: &str,
        is_known: bool,
    ) {
        let mut services = self.services.iter_mut();
        if let Some(service) = services.find(|entry| entry.plan.name == service) {
            service.knows(place, version, is_known);
        }
    }

    /// Whether a version is on no host of a place any more, while others are.
    pub(super) fn is_gone(
        &self,
        service: &str,
        place: &StagePlace,
        version: &str,
        now: Timestamp,
    ) -> bool {
        let mut services = self.services.iter();
        let service = services.find(|entry| entry.plan.name == service);
        service.is_none_or(|service| service.is_gone(place, version, now))
    }

    fn hear_logs(&mut self, logs: &[LogCount], bucket: Interval) {
        for count in logs {
            for bound in &self.streams[count.stream.0 as usize] {
                let service = &mut self.services[bound.service];
                service.welcome(bound.host, bucket.start);
                service.heard(bound.host, bound.version.as_ref(), bucket.start, bucket.end);
                service.hosts.heard_log(bound.host, bucket);
            }
        }
    }

    /// Counts the records of each log check per host; a host whose log stream shows life and has
    /// none of them counts zero.
    fn spread_logs(&mut self, logs: &[LogCount], bucket: Interval) {
        let mut counts: BTreeMap<(usize, usize, HostId), u64> = BTreeMap::new();
        for count in logs {
            for class in &count.classes {
                let Class { service, panel, .. } = self.selector().classes()[*class as usize];
                let bound = self.streams[count.stream.0 as usize]
                    .iter()
                    .find(|bound| bound.service == service)
                    .expect("a class is given only to streams of its service");
                let host = bound.host;
                *counts.entry((service, panel, host)).or_insert(0) += count.count;
                let entry = &mut self.services[service].panels[panel];
                if wants_templates(&entry.check.detector) {
                    note_template(&mut entry.panel.templates, count, host, bucket);
                }
            }
        }
        let seconds = bucket.span().seconds_f64();
        let selector = Arc::clone(self.selector());
        for &Class { service, panel, .. } in selector.classes() {
            let entry = &mut self.services[service];
            let Selection::Logs(selection) = &entry.panels[panel].check.selection else {
                continue;
            };
            let key = log_group(selection);
            let group = entry.panels[panel]
                .panel
                .group_index(&key, Kind::Counter, LOG_UNIT);
            for host in entry.by_name.values().copied() {
                let count = counts.get(&(service, panel, host)).copied().unwrap_or(0);
                let shows_life = entry.hosts.is_log_alive(host, bucket.end);
                if count > 0 || shows_life {
                    let value = count as f64 / seconds;
                    let cell = Cell {
                        value,
                        min: value,
                        max: value,
                        events: count as f64,
                        exposure: None,
                    };
                    entry.panels[panel].panel.record(group, host, bucket, cell);
                }
            }
        }
    }

    fn note_loss(&mut self, loss: &LossMark, bucket: Interval) {
        let LossSource::Series(series) = loss.source else {
            return;
        };
        for feed in self.bindings.routes.of(series) {
            let Feed::Panel(feed) = feed else {
                continue;
            };
            let source = &self.bindings.sources[feed.source as usize];
            let service = &mut self.services[source.origin.service];
            let panel = &mut service.panels[feed.panel as usize].panel;
            match feed.part {
                Part::Value(place) | Part::Numerator(place) | Part::Exposure(place) => {
                    panel.record_loss_at(place, bucket, loss.reason);
                }
                Part::Quantiles(index) => {
                    for (_, place) in &self.bindings.distributions[index as usize].quantiles {
                        panel.record_loss_at(*place, bucket, loss.reason);
                    }
                }
            }
        }
    }
}

impl<'a> Piece<'a> {
    fn new(
        distribution: &'a Distribution,
        partial: &'a Partial,
        cell: impl Fn(Place) -> CellKey,
    ) -> Option<Self> {
        let what = match (partial, distribution.le) {
            (Partial::Histogram(added), _) => PieceKind::Whole(added),
            (Partial::Increase(increase), Some(le)) => PieceKind::Classic {
                le,
                increase: increase.increase,
            },
            (Partial::Increase(_), None) | (Partial::Gauge(_), _) => return None,
        };
        let (_, first) = distribution.quantiles.first()?;
        Some(Self {
            cell: cell(*first),
            quantiles: &distribution.quantiles,
            what,
        })
    }
}

/// Tells the services that a series is about of the version of their host.
fn tell_version(services: &mut [Service], told: &ToldVersion, end: Timestamp) {
    for (index, service) in services.iter_mut().enumerate() {
        let about = told.services.as_ref();
        if about.is_none_or(|about| about.contains(&index)) {
            for host in &told.hosts {
                service.told_version(host, &told.version, end);
            }
        }
    }
}

/// Merges the distributions of each host and takes their quantiles.
fn quantile_cells(pieces: &mut [Piece<'_>]) -> Vec<(CellKey, Cell)> {
    // Merging counts is exact, so that only equal cells have to stand together.
    pieces.sort_by_key(|piece| piece.cell);
    let mut cells = Vec::new();
    for same in pieces.chunk_by(|a, b| a.cell == b.cell) {
        let Some(first) = same.first() else { continue };
        let Some(merged) = merge(same) else { continue };
        let events = merged.count();
        for (quantile, place) in first.quantiles {
            let value = histogram::quantile(&merged, *quantile).filter(|value| value.is_finite());
            if let Some(value) = value {
                let key = CellKey {
                    place: *place,
                    ..first.cell
                };
                cells.push((
                    key,
                    Cell {
                        value,
                        min: value,
                        max: value,
                        events,
                        exposure: None,
                    },
                ));
            }
        }
    }
    cells
}

fn merge(pieces: &[Piece<'_>]) -> Option<crate::event::Histogram> {
    let mut classic: Vec<(f64, f64)> = Vec::new();
    let mut whole: Vec<&HistogramPartial> = Vec::new();
    for piece in pieces {
        match piece.what {
            PieceKind::Whole(added) => whole.push(added),
            PieceKind::Classic { le, increase } => classic.push((le, increase)),
        }
    }
    if !classic.is_empty() {
        classic.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let summed = classic
            .chunk_by(|a, b| a.0 == b.0)
            .map(|same| (same[0].0, same.iter().map(|(_, increase)| increase).sum()))
            .collect();
        return histogram::from_cumulative_buckets(summed);
    }
    whole.sort_by(|a, b| {
        a.histogram
            .count()
            .total_cmp(&b.histogram.count())
            .then(a.seconds.total_cmp(&b.seconds))
            .then_with(|| format!("{:?}", a.histogram).cmp(&format!("{:?}", b.histogram)))
    });
    let mut whole = whole.into_iter();
    let mut merged = whole.next()?.histogram.clone();
    for added in whole {
        // Distributions with other bounds cannot be added up: those like the first stand.
        let _unlike = histogram::merge(&mut merged, &added.histogram);
    }
    Some(merged)
}

fn note_template(
    templates: &mut BTreeMap<Arc<str>, TemplateTrack>,
    count: &LogCount,
    host: HostId,
    bucket: Interval,
) {
    let track = templates
        .entry(Arc::clone(&count.template))
        .or_insert_with(|| TemplateTrack {
            first_seen: bucket.start,
            last_seen: bucket.end,
            severity: count.severity,
            now: Vec::new(),
        });
    track.last_seen = bucket.end;
    track.severity = track.severity.max(count.severity);
    match track.now.binary_search_by_key(&host, |(known, _)| *known) {
        Ok(index) => track.now[index].1 += count.count,
        Err(index) => track.now.insert(index, (host, count.count)),
    }
}
