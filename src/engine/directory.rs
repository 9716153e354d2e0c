//! Which series and log streams belong to which checks: asked once for each, then remembered.

use std::sync::Arc;

use super::{
    binding::{Bindings, Distribution, Feed, PanelFeed, Part, ToldVersion, Whose},
    births::Teller,
    cells::{Cells, cells},
    namesakes::Owner,
    refused_requests::RefusedRequests,
    roles::Roles,
    selection::{Selector, Way, role, way},
    service::{CheckPanel, Service},
    spreading::Spreading,
    told::Told,
    unshown::is_kin,
    whereabouts::Whereabouts,
};
use crate::{
    detect::{GroupKey, HostId, Stat, View},
    event::{Begin, Interval, Kind, Labels, METRIC_NAME, SeriesMeta, Temporality, Timestamp, Unit},
    gate::{Change, Gate},
    plan::{DetectorPlan, LogSelection, Plan, Selection},
    reduce::{self, Lookers, Reading, Registration, Select, SeriesId, StreamId, Turned},
};

/// The judge half of the core: the services of the plan with what is remembered of them, and where
/// each series and stream belongs.
///
/// Partials of closed buckets go in, with the numbers under which their series were bound; gates are
/// shown what became of them.
#[derive(Debug)]
pub struct Directory {
    plan: Arc<Plan>,
    selector: Arc<Selector>,
    /// In the order of their names.
    pub(super) services: Vec<Service>,
    /// Where each series belongs.
    pub(super) bindings: Bindings,
    /// What of the bucket that is spread is not in its cells yet.
    pub(super) spreading: Spreading,
    /// By stream.
    pub(super) streams: Vec<Vec<StreamBinding>>,
    /// End of the latest closed bucket.
    pub(super) watermark: Timestamp,
    /// Data was lost of which nobody knows whose it was: in any bucket that was open at this time.
    pub(super) torn_until: Option<Timestamp>,
    /// When limits refused whole requests.
    pub(super) refused: RefusedRequests,
    /// Since when series are selected as they are, or have room: of what comes for the first time, it is not
    /// known whether it was there before.
    pub(super) selecting_since: Option<Timestamp>,
}

/// Where a log stream belongs in one service.
#[derive(Debug)]
pub(super) struct StreamBinding {
    pub(super) service: usize,
    pub(super) owner: Owner,
    pub(super) version: Option<Arc<str>>,
    /// Where its labels say that its host is.
    pub(super) told: Whereabouts,
}

impl Directory {
    /// Knows the plan, and nothing else yet.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self {
            selector: Arc::new(Selector::new(Arc::clone(&plan))),
            services: plan
                .services
                .values()
                .map(|service| Service::new(&plan, service))
                .collect(),
            bindings: Bindings::default(),
            spreading: Spreading::default(),
            streams: Vec::new(),
            watermark: Timestamp::MIN,
            torn_until: None,
            refused: RefusedRequests::default(),
            selecting_since: None,
            plan,
        }
    }

    /// The plan that it works by.
    pub(super) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The digest of the plan that it works by.
    pub(super) fn digest(&self) -> &str {
        &self.plan.digest
    }

    /// The part of it that never changes.
    pub fn selector(&self) -> &Arc<Selector> {
        &self.selector
    }

    /// Binds a series that the [`Selector`] selects, as the kind that it gave: from now on its
    /// partials feed panels.
    pub fn bind_series(
        &mut self,
        id: SeriesId,
        labels: &Labels,
        meta: SeriesMeta,
        kind: Kind,
    ) -> Registration {
        self.bind_told(id, labels, (meta, meta.kind), kind)
    }

    /// The same, of a series of which its protocol tells perhaps less than is told.
    pub(super) fn bind_told(
        &mut self,
        id: SeriesId,
        labels: &Labels,
        told: (SeriesMeta, Kind),
        kind: Kind,
    ) -> Registration {
        let selector = Arc::clone(&self.selector);
        let mut feeds = Vec::new();
        let mut host_known_since: Option<Timestamp> = None;
        for service in selector.owners(labels) {
            if let Some(host) = self.bind(service, labels, told, kind, &mut feeds) {
                let first_data = self.services[service].facts[host.0 as usize].first_data;
                host_known_since = match (host_known_since, first_data) {
                    (Some(known), Some(other)) => Some(known.min(other)),
                    (known, other) => known.or(other),
                };
            }
        }
        if let Some(told) = Told::of(labels, &self.plan.labels) {
            feeds.push(
                self.bindings.version(ToldVersion {
                    services: told
                        .is_of_service
                        .then(|| selector.owners(labels).collect()),
                    hosts: told.hosts,
                    version: Arc::from(told.version),
                    labels: labels.clone(),
                }),
            );
        }
        self.bindings.routes.bind(id, feeds);
        // What a host gained before anybody looked is no gain.
        let known_since = host_known_since.map(|known| match self.selecting_since {
            Some(selecting) => known.max(selecting),
            None => known,
        });
        Registration {
            kind,
            host_known_since: known_since.into(),
        }
    }

    /// Binds a log stream that belongs to a service: from now on its records feed panels.
    pub fn bind_stream(&mut self, id: StreamId, attributes: &Labels) {
        let roles = &self.plan.labels;
        let region = role(attributes, &roles.region);
        let host_name = role(attributes, &roles.host).unwrap_or("");
        let version: Option<Arc<str>> = role(attributes, &roles.version).map(Arc::from);
        let mut bindings = Vec::new();
        for index in self.selector.owners(attributes) {
            let service = &mut self.services[index];
            let owner = service.owner(host_name, attributes, self.watermark);
            let told = service.learn(&owner, attributes, region);
            bindings.push(StreamBinding {
                service: index,
                owner,
                told,
                version: version.clone(),
            });
        }
        let index = id.0 as usize;
        if self.streams.len() <= index {
            self.streams.resize_with(index + 1, Vec::new);
        }
        self.streams[index] = bindings;
    }

    /// Registers the hosts that a deployment names, so that their silence is seen.
    pub fn expect_hosts(&mut self, begin: &Begin) {
        let now = self.watermark;
        if let Some(service) = self
            .services
            .iter_mut()
            .find(|entry| entry.plan.name == begin.service)
        {
            for name in begin.one_box.iter().chain(&begin.fleet) {
                service.expect(name, begin.region.as_deref(), now);
            }
        }
    }

    /// Shows the bucket that has just closed to a gate. Says whether its verdict changed.
    pub fn judge(&self, gate: &mut Gate, bucket: Interval) -> Option<Change> {
        if gate.is_settled() {
            return None;
        }
        let service = self
            .services
            .iter()
            .find(|entry| entry.plan.name == gate.begin.service)
            .expect("a gate is opened only for a configured service");
        let roles = Roles::find(service, &gate.begin, gate.grace_until());
        let panels: Vec<usize> = gate
            .checks
            .iter()
            .map(|used| {
                let position = service
                    .panels
                    .iter()
                    .position(|entry| entry.check.name == used.name);
                position.expect("every check of a stage has a panel")
            })
            .collect();
        let references: Vec<Option<Vec<HostId>>> = panels
            .iter()
            .map(|panel| roles.reference(service, &service.panels[*panel].check))
            .collect();
        let gate_began_at = gate.begin.at;
        gate.observe(bucket.end, |index| {
            let entry = &service.panels[panels[index]];
            let view = View {
                bucket,
                panel: &entry.panel,
                hosts: &service.hosts,
                one_box: &roles.one_box,
                fleet: references[index].as_deref().unwrap_or(&roles.fleet),
                request_refused_last: self.refused.last_of(&entry.check),
            };
            let unfit = roles.unfit(&entry.check, bucket.end);
            let unclear = || roles.unclear(service, &entry.panel, gate_began_at);
            (view, unfit.or_else(unclear))
        })
    }

    /// Finds what the series feeds in one service; gives its host, if it feeds anything.
    fn bind(
        &mut self,
        service: usize,
        labels: &Labels,
        (meta, own): (SeriesMeta, Kind),
        kind: Kind,
        feeds: &mut Vec<Feed>,
    ) -> Option<HostId> {
        let entry = &mut self.services[service];
        let Uses { ways, kin } = Uses::of(entry, labels, meta, kind)?;
        let identity = entry.identity.of(labels);
        let (owner, whose) = self.whose(service, labels, meta, kind, feeds);
        let host = owner.host;
        if let Some(is_compared) = kin {
            let families = &mut self.bindings.families;
            if meta.kind != own && Kind::of_name(labels.metric()) != kind {
                families.miss(service, labels.metric());
            }
            let family = families.join((service, host), labels, !is_compared);
            feeds.push(Feed::Kin(whose.source, family));
        }
        let entry = &mut self.services[service];
        for (panel, way) in ways {
            let Selection::Series(selection) = &entry.panels[panel].check.selection else {
                continue;
            };
            let cells = cells(selection, way, &identity);
            let unit = selection.unit.unwrap_or_else(|| told_unit(meta, kind));
            let is_filled = is_filled(kind, &entry.panels[panel].check.detector);
            let target = &mut entry.panels[panel].panel;
            let mut place = |key: &GroupKey, kind: Kind| {
                let group = match cells {
                    // Numerator and denominator are of one group.
                    Cells::Ratio { .. } => target.group_index(key, kind, unit),
                    Cells::Value(_) | Cells::Quantiles { .. } => target.group_of(key, kind, unit),
                };
                target.bind(group, host)
            };
            let feed = |part: Part| {
                Feed::Panel(PanelFeed {
                    source: whose.source,
                    panel: panel as u32,
                    part,
                })
            };
            let delta = |place| whose.delta(panel, place).filter(|_| is_filled);
            match cells {
                Cells::Value(ref key) => {
                    let place = place(key, kind);
                    feeds.push(feed(Part::Value(place)));
                    self.bindings.deltas.extend(delta(place));
                }
                Cells::Ratio {
                    ref key,
                    is_numerator,
                    is_exposure,
                } => {
                    let place = place(key, kind);
                    feeds.extend(is_numerator.then(|| feed(Part::Numerator(place))));
                    feeds.extend(is_exposure.then(|| feed(Part::Exposure(place))));
                    let (place_of, sides) = ((panel as u32, place), (is_numerator, is_exposure));
                    self.bindings.gives(whose.source, place_of, sides);
                    let numerator = delta(place).filter(|_| is_numerator);
                    self.bindings.deltas.extend(numerator);
                }
                Cells::Quantiles { ref keys, le } => {
                    let quantiles = keys
                        .iter()
                        .map(|(quantile, key)| (*quantile, place(key, Kind::Histogram)))
                        .collect();
                    let distribution = Distribution { quantiles, le };
                    feeds.push(feed(self.bindings.distribution(distribution)));
                }
            }
        }
        owner.spot.is_some().then_some(host)
    }

    /// Whose a series is that tells something to a service.
    fn whose(
        &mut self,
        service: usize,
        labels: &Labels,
        meta: SeriesMeta,
        kind: Kind,
        feeds: &mut Vec<Feed>,
    ) -> (Owner, Whose) {
        let roles = &self.plan.labels;
        let entry = &mut self.services[service];
        let name = role(labels, &roles.host).unwrap_or("");
        let owner = entry.owner(name, labels, self.watermark);
        entry.learn(&owner, labels, role(labels, &roles.region));
        let (owner_of, told) = ((service, &owner), meta.temporality);
        let whose = self.bindings.whose(owner_of, labels, told, &roles.version);
        feeds.extend(whose.sender.map(Feed::Sender));
        let teller = Teller::of(labels, kind);
        feeds.extend(teller.map(|teller| Feed::Birth(whose.source, teller)));
        (owner, whose)
    }
}

/// What a series is to the checks of a service.
struct Uses {
    /// The panels that take it, and how.
    ways: Vec<(usize, Way)>,
    /// Whether it is a cumulative counter that is compared (`true`), or is only of the name of such.
    kin: Option<bool>,
}

impl Uses {
    /// `None`: nothing.
    fn of(service: &Service, labels: &Labels, meta: SeriesMeta, kind: Kind) -> Option<Self> {
        let (mut ways, mut kin) = (Vec::new(), None);
        for (panel, CheckPanel { check, .. }) in service.panels.iter().enumerate() {
            let way = way(&check.selection, labels, kind);
            if is_kin(check, labels, kind, way.as_ref()) {
                kin = kin.max(Some(way.is_some()));
            }
            ways.extend(way.map(|way| (panel, way)));
        }
        let kin = kin.filter(|_| meta.temporality == Temporality::Cumulative);
        (kin.is_some() || !ways.is_empty()).then_some(Self { ways, kin })
    }
}

impl reduce::Directory for Directory {
    fn bind_series(
        &mut self,
        id: SeriesId,
        labels: &Labels,
        told: (SeriesMeta, Kind),
        kind: Kind,
    ) -> Option<Registration> {
        let max = self.plan.limits.series_per_service;
        let owners: Vec<usize> = self.selector.owners(labels).collect();
        let is_full = |owner: &usize| max <= self.services[*owner].series;
        // What no check looks at takes no room from what one does.
        if !self.selector.is_bystander(labels, kind) {
            if owners.iter().any(is_full) {
                return None;
            }
            for owner in owners {
                self.services[owner].series += 1;
            }
        }
        Some(self.bind_told(id, labels, told, kind))
    }

    fn refuse_series(&mut self, id: SeriesId, labels: &Labels, kind: Kind) {
        let lookers = self.selector.lookers(labels, kind);
        let blind = lookers
            .0
            .iter()
            .filter_map(|index| self.selector.looker(*index));
        let feeds: Vec<Feed> = blind.map(Feed::Refused).collect();
        self.bindings.routes.bind(id, feeds);
    }

    fn refuse(&mut self, lookers: &Lookers, at: Timestamp) {
        for index in &*lookers.0 {
            if let Some(looker) = self.selector.looker(*index) {
                looker.panel(&mut self.services).refuse(at);
            }
        }
    }

    fn reread(&mut self, turned: &[Turned], reading: &dyn Fn(SeriesId) -> Reading) {
        self.reread_series(turned, reading);
    }

    fn bind_stream(&mut self, id: StreamId, attributes: &Labels) {
        self.bind_stream(id, attributes);
    }
}

/// Whether a gap of a series of deltas means that nothing was gained, for a check with this detector. What
/// falls silent is absent: that is what one for absence asks.
fn is_filled(kind: Kind, detector: &DetectorPlan) -> bool {
    kind == Kind::Counter && !matches!(detector, DetectorPlan::Absent { .. })
}

/// The unit that the protocol tells. The `1` of UCUM means a share of a gauge; a counter of it counts things.
fn told_unit(meta: SeriesMeta, kind: Kind) -> Unit {
    if kind == Kind::Counter && meta.unit == Unit::Ratio {
        Unit::Count
    } else {
        meta.unit
    }
}

/// The group that holds the counts of a log check.
pub(super) fn log_group(selection: &LogSelection) -> GroupKey {
    let mut name = match selection.severity {
        Some(severity) => format!("logs {severity}"),
        None => "logs".to_owned(),
    };
    if let Some(body) = &selection.body {
        name = format!("{name} /{}/", body.0.as_str());
    }
    GroupKey {
        labels: Labels::new([(METRIC_NAME, name)]),
        stat: Stat::Value,
        ..GroupKey::default()
    }
}

/// The unit of log counts.
pub(super) const LOG_UNIT: Unit = Unit::Count;

#[cfg(test)]
#[path = "blind_tests.rs"]
mod tests;
