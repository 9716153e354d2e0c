//! What the series of a bucket did → the cells of panels.

use std::cmp::Ordering;

use super::{
    binding::{Bindings, Distribution, Feed, PanelFeed, Part, Sender, Source, ToldVersion},
    combine::{self, CellKey, Contribution, Gathered, Share},
    directory::Directory,
    families::Families,
    service::{CheckPanel, Service},
};
use crate::{
    detect::{Cell, Place},
    event::{Histogram, Interval, Timestamp},
    plan::DetectorPlan,
    reduce::{HistogramPartial, LossReason, Partial, SeriesId, SeriesPartial, histogram},
};

/// What of the bucket that is spread waits for the rest of its cell. The memory is used again.
#[derive(Debug, Default)]
pub(super) struct Spreading {
    contributions: Vec<Contribution>,
    pieces: Vec<Piece>,
    /// What pieces are of.
    histograms: Vec<HistogramPartial>,
}

/// One distribution, or one bucket of a classic one, for one host.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// The cell of the first quantile; it stands for all of them.
    cell: CellKey,
    /// An index of [`Bindings::distributions`].
    distribution: u32,
    what: PieceKind,
}

#[derive(Clone, Copy, Debug)]
enum PieceKind {
    /// An index of [`Spreading::histograms`].
    Whole(usize),
    Classic {
        le: f64,
        increase: f64,
    },
}

/// What feeds tell beside panels.
struct Told<'a> {
    versions: &'a [ToldVersion],
    senders: &'a mut [Sender],
    families: &'a mut Families,
}

impl Directory {
    /// Takes what a series did in a bucket. A series that makes its cell alone, as most do, is written
    /// where it belongs at once; what several make is collected, and summed up when all have come.
    pub(super) fn spread_series(&mut self, did: SeriesPartial, bucket: Interval) {
        let Self {
            services,
            bindings,
            spreading,
            ..
        } = self;
        let Bindings {
            routes,
            sources,
            distributions,
            versions,
            senders,
            families,
            ..
        } = bindings;
        let mut told = Told {
            versions,
            senders,
            families,
        };
        let (is_cut, partial, mut is_kept) = (did.is_cut, did.partial, false);
        for feed in routes.of(did.series) {
            let said = (did.series, &partial, bucket);
            let feed = of_panel(*feed, services, (&mut told, sources), said);
            let Some(feed) = feed else { continue };
            let source = &mut sources[feed.source as usize];
            let service = &mut services[source.origin.service];
            let is_clear = source.hear(service, bucket);
            source.tally.add(did.series, &partial);
            let panel = &mut service.panels[feed.panel as usize].panel;
            if !is_clear {
                let name = &service.hosts.get(source.origin.owner.host).name;
                panel.note_unclear(name, bucket.end);
                continue;
            }
            if is_cut {
                // From the earliest samples nothing follows for the bucket.
                let loss = (bucket, LossReason::OverLimit);
                feed.part.lose(panel, distributions, loss);
                continue;
            }
            let cell = |place| CellKey {
                service: source.origin.service,
                panel: feed.panel,
                place,
                host: source.origin.owner.host,
            };
            let (place, share) = match feed.part {
                Part::Value(place) if panel.has_one_feeder(place) => {
                    let cell = combine::sole(&partial);
                    if cell.is_some_and(|cell| panel.record_at(place, bucket, cell)) {
                        source.moves(service, bucket);
                    }
                    continue;
                }
                Part::Value(place) => (place, None),
                Part::Numerator(place) => (place, Some(Share::Numerator)),
                Part::Exposure(place) => (place, Some(Share::Exposure)),
                Part::Quantiles(index) => {
                    let distribution = (index, &distributions[index as usize]);
                    is_kept |= spreading.keep(distribution, &partial, cell);
                    continue;
                }
            };
            let contribution = Contribution::new(cell(place), &partial, share);
            spreading.contributions.push(contribution);
        }
        if is_kept && let Partial::Histogram(histogram) = partial {
            spreading.histograms.push(histogram);
        }
    }

    /// Sums up what several series made.
    pub(super) fn gather_cells(&mut self, bucket: Interval) {
        let Self {
            services,
            bindings,
            spreading,
            ..
        } = self;
        let quantiles = spreading.quantile_cells(services, bindings, bucket);
        let gathered = combine::gather(&mut spreading.contributions, bucket.span());
        for (key, gathered) in gathered.chain(quantiles) {
            let service = &mut services[key.service];
            let panel = &mut service.panels[key.panel as usize].panel;
            let moved = match gathered {
                Gathered::Cell(cell) => panel.record_at(key.place, bucket, cell),
                Gathered::Ratio(mut words) => {
                    words.is_replaced =
                        words.numerator.is_none() && bindings.is_replaced(&key, bucket.end);
                    panel.record_ratio_at(key.place, bucket, words)
                }
            };
            if moved {
                service.hosts.moved(key.host, bucket);
            }
        }
        spreading.contributions.clear();
    }

    /// Deltas that gained nothing are not sent: what is missing from an export of its sender gained nothing in
    /// the time of that. Where nothing of its sender is selected, or nothing of it came, the gap is taken for that
    /// as long as it may be taken for alive. One that never gained anything is not known; where data was
    /// lost of late, nobody knows. Called when both are noted.
    ///
    /// That something else of the same host speaks proves nothing: an agent outlives what it stands beside.
    pub(super) fn fill_deltas(&mut self, bucket: Interval) {
        let Self {
            services, bindings, ..
        } = self;
        // Of several that make one value, first those whose sender is heard: others may have been replaced.
        for is_export in [true, false] {
            for delta in &bindings.deltas {
                let exported = bindings.senders[delta.sender as usize].exported(bucket.end);
                let exported = exported.filter(|_| is_export);
                if is_export && exported.is_none() {
                    continue;
                }
                let source = &mut bindings.sources[delta.source as usize];
                let service = &mut services[source.origin.service];
                if service.is_unclear(&source.origin.owner) {
                    continue;
                }
                let panel = &mut service.panels[delta.panel as usize].panel;
                if panel.gain_nothing_at(delta.place, bucket, exported) && is_export {
                    source.moves(service, bucket);
                }
            }
        }
    }
}

impl PieceKind {
    /// What a partial is of a distribution; `whole`: where it is put if it is all of it.
    fn of(partial: &Partial, le: Option<f64>, whole: usize) -> Option<Self> {
        match (partial, le) {
            (Partial::Histogram(_), _) => Some(Self::Whole(whole)),
            (Partial::Increase(increase), Some(le)) => Some(Self::Classic {
                le,
                increase: increase.increase,
            }),
            (Partial::Increase(_), None) | (Partial::Gauge(_), _) => None,
        }
    }
}

impl Spreading {
    /// Keeps what a series did for a distribution, if it is of one. Says whether it refers to the histogram that
    /// is kept next.
    fn keep(
        &mut self,
        (index, distribution): (u32, &Distribution),
        did: &Partial,
        cell: impl Fn(Place) -> CellKey,
    ) -> bool {
        let next = self.histograms.len();
        let Some(what) = PieceKind::of(did, distribution.le, next) else {
            return false;
        };
        let is_whole = matches!(what, PieceKind::Whole(_));
        if let Some((_, first)) = distribution.quantiles.first() {
            self.pieces.push(Piece {
                cell: cell(*first),
                distribution: index,
                what,
            });
        }
        is_whole
    }

    /// Merges the distributions of each host and takes their quantiles: what is compared, over the bucket bounds that
    /// all hosts share.
    fn quantile_cells(
        &mut self,
        services: &mut [Service],
        bindings: &Bindings,
        bucket: Interval,
    ) -> Vec<(CellKey, Gathered)> {
        let end = bucket.end;
        // Merging counts is exact, so that only equal cells have to stand together.
        self.pieces.sort_by_key(|piece| piece.cell);
        let mut merged: Vec<(Piece, Histogram)> = Vec::new();
        for same in self.pieces.chunk_by(|a, b| a.cell == b.cell) {
            let Some(histogram) = self.merge(same) else {
                continue;
            };
            let panel = panel_of(services, &same[0].cell);
            if let (true, Histogram::Explicit { bounds, .. }) = (is_compared(panel), &histogram) {
                panel.panel.note_buckets(same[0].cell.place, end, bounds);
            }
            merged.push((same[0], histogram));
        }
        let mut cells = Vec::new();
        // Cells of one group stand together.
        let (mut latest, mut shared) = (None, None);
        for (first, mut histogram) in merged {
            let CellKey {
                service,
                panel,
                place,
                ..
            } = first.cell;
            let group = Some((service, panel, place.group()));
            if latest != group {
                let panel = &panel_of(services, &first.cell).panel;
                (latest, shared) = (group, panel.shared_buckets(place, end));
            }
            let mut own = Vec::new();
            if let (Some(shared), Histogram::Explicit { bounds, .. }) = (&shared, &histogram) {
                own.clone_from(bounds);
                histogram = histogram::coarsened(histogram, shared);
            }
            let events = histogram.count();
            let distribution: &Distribution = &bindings.distributions[first.distribution as usize];
            for (quantile, place) in &distribution.quantiles {
                let key = CellKey {
                    place: *place,
                    ..first.cell
                };
                if shared.is_some() && !histogram::tells(&histogram, &own, *quantile) {
                    let panel = &mut panel_of(services, &first.cell).panel;
                    panel.record_loss_at(*place, bucket, LossReason::Incompatible);
                    continue;
                }
                let panel = panel_of(services, &first.cell);
                let limit = highest(panel, place.group());
                let value = match held_against(limit, &histogram, *quantile) {
                    Ok(value) => value,
                    Err(reason) => {
                        panel.panel.record_loss_at(*place, bucket, reason);
                        continue;
                    }
                };
                if let Some(value) = value.filter(|value| value.is_finite()) {
                    let cell = Cell {
                        value,
                        min: value,
                        max: value,
                        events,
                        exposure: None,
                    };
                    cells.push((key, Gathered::Cell(cell)));
                }
            }
        }
        self.pieces.clear();
        self.histograms.clear();
        cells
    }

    fn merge(&self, pieces: &[Piece]) -> Option<Histogram> {
        let mut classic: Vec<(f64, f64)> = Vec::new();
        let mut whole: Vec<&HistogramPartial> = Vec::new();
        for piece in pieces {
            match piece.what {
                PieceKind::Whole(index) => whole.push(&self.histograms[index]),
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
}

fn panel_of<'a>(services: &'a mut [Service], cell: &CellKey) -> &'a mut CheckPanel {
    &mut services[cell.service].panels[cell.panel as usize]
}

/// A quantile as far as it can be held against the highest value in range.
///
/// # Errors
/// It lies beyond its buckets, and nobody knows whether it is in range.
fn held_against(
    limit: Option<f64>,
    histogram: &Histogram,
    quantile: f64,
) -> Result<Option<f64>, LossReason> {
    let bound = histogram::beyond(histogram, quantile);
    match bound
        .zip(limit)
        .map(|(bound, limit)| (bound, bound.total_cmp(&limit)))
    {
        Some((_, Ordering::Less)) => Err(LossReason::BeyondBuckets),
        // It is above the limit, by nobody knows how much.
        Some((bound, Ordering::Equal)) => Ok(Some(bound.next_up())),
        Some((_, Ordering::Greater)) | None => Ok(histogram::quantile(histogram, quantile)),
    }
}

/// The highest value in range of a check with such a limit, in the unit of one of its metrics.
fn highest(panel: &CheckPanel, group: usize) -> Option<f64> {
    let DetectorPlan::Bounds { max, .. } = panel.check.detector else {
        return None;
    };
    max.map(|limit| limit.of(panel.panel.group(group).unit))
}

fn is_compared(panel: &CheckPanel) -> bool {
    matches!(panel.check.detector, DetectorPlan::Compare { .. })
}

/// The feed of a panel; what any other feed is for is done.
fn of_panel(
    feed: Feed,
    services: &mut [Service],
    (told, sources): (&mut Told<'_>, &mut [Source]),
    (series, partial, bucket): (SeriesId, &Partial, Interval),
) -> Option<PanelFeed> {
    let end = bucket.end;
    match feed {
        Feed::Panel(feed) => return Some(feed),
        Feed::Version(index) => tell_version(services, &told.versions[index as usize], end),
        Feed::Sender(index) => told.senders[index as usize].export(end, partial),
        Feed::Birth(index, teller) => {
            let source = &mut sources[index as usize];
            source.hear(&mut services[source.origin.service], bucket);
            source.tally.hear(teller, partial);
        }
        Feed::Kin(index, family) => {
            let source = &mut sources[index as usize];
            let service = &mut services[source.origin.service];
            if source.hear(service, bucket) {
                source.tally.add(series, partial);
                told.families.hear(family, partial, end);
                if 0.0 < partial.gained() {
                    source.moves(service, bucket);
                }
            }
        }
        Feed::Refused(looker) => looker.panel(services).refuse(end),
    }
    None
}

/// Tells the services that a series is about of the version of their host.
fn tell_version(services: &mut [Service], told: &ToldVersion, end: Timestamp) {
    for (index, service) in services.iter_mut().enumerate() {
        let about = told.services.as_ref();
        if about.is_none_or(|about| about.contains(&index)) {
            for host in &told.hosts {
                service.told_version(host, &told.labels, &told.version, end);
            }
        }
    }
}

#[cfg(test)]
#[path = "buckets_tests.rs"]
mod buckets_tests;
#[cfg(test)]
#[path = "exports_tests.rs"]
mod exports_tests;
#[cfg(test)]
#[path = "senders_tests.rs"]
mod senders_tests;
