//! What the core knows of one service: its hosts, and a panel for each of its checks.

use std::{collections::BTreeMap, sync::Arc};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::{
    births::Lives,
    health::Health,
    identity::Identity,
    namesakes::Owner,
    selection::{checks, matches_all},
    sightings::{GONE, SeenVersions},
    spot::{Spot, SpotLabels},
    whereabouts::Whereabouts,
};
use crate::{
    detect::{HostBook, HostId, Panel, ratio_time},
    event::{Labels, Span, Timestamp},
    plan::{Check, DetectorPlan, Plan, Selection, ServicePlan},
    reduce::LossReason,
};

/// What the core knows of one service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) plan: ServicePlan,
    /// The checks that its stages use, ascending by name, each with what it sees.
    pub(super) panels: Vec<CheckPanel>,
    pub(super) hosts: HostBook,
    /// Every host of `hosts` once, but those that are gone; those of one name in the order of where they are.
    pub(super) by_name: BTreeMap<Arc<str>, Vec<HostId>>,
    /// The same with those that are gone, in the order of their ids, for the look-up of each new series.
    pub(super) ids: HashMap<Arc<str>, Vec<HostId>, FixedState>,
    /// By host.
    pub(super) facts: Vec<HostFacts>,
    /// Series that are bound to it.
    pub(super) series: usize,
    /// What is watched whether or not a deployment is under way.
    pub(super) health: Health,
    /// Versions that were seen, where a new one opens a gate.
    pub(super) sightings: SeenVersions,
    /// What tells hosts of one name apart.
    pub(super) spots: SpotLabels,
    /// What makes series of different hosts comparable.
    pub(super) identity: Identity,
}

/// A check and what it sees.
#[derive(Debug)]
pub(super) struct CheckPanel {
    pub(super) check: Check,
    pub(super) panel: Panel,
}

/// What labels and samples tell about a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct HostFacts {
    /// Its region; the smallest where its series disagree.
    pub(super) region: Option<Arc<str>>,
    /// Versions it was seen with of late.
    pub(super) versions: BTreeMap<Arc<str>, Ran>,
    /// By stage of the service: whether a series of the host fulfils the stage's `match`.
    pub(super) stages: Vec<bool>,
    /// Where its labels say that it is, one beside the other where its series disagree.
    #[serde(skip)]
    pub(super) told: Whereabouts,
    /// What tells it from others of its name.
    pub(super) spot: Spot,
    /// Whether there are others of its name.
    #[serde(skip)]
    pub(super) has_namesakes: bool,
    /// Its processes, where their names differ from its own, that were heard of late.
    pub(super) processes: BTreeMap<Arc<str>, Ran>,
    /// End of the latest bucket that told that data of its counters was lost.
    pub(super) lost: Option<Timestamp>,
    /// What is remembered of the lives of its processes.
    pub(super) lives: Lives,
    /// Start of the first bucket with data of it.
    pub(super) first_data: Option<Timestamp>,
    /// End of the latest bucket with data of it.
    pub(super) last_data: Option<Timestamp>,
}

/// When a host ran a version.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Ran {
    /// End of the first bucket in which it was seen with it.
    pub(super) first: Timestamp,
    /// End of the latest.
    pub(super) last: Timestamp,
}

/// How many buckets of the past a check sees: 6 hours at the default resolution.
const PANEL_DEPTH: usize = 2_160;

impl Service {
    pub(super) fn new(plan: &Plan, service: &ServicePlan) -> Self {
        let panels: Vec<CheckPanel> = checks(plan, service)
            .map(|check| CheckPanel {
                check: check.clone(),
                panel: Panel::new(plan.resolution, depth(check, plan.resolution)),
            })
            .collect();
        Self {
            plan: service.clone(),
            health: Health::new(plan, service, &panels),
            sightings: SeenVersions::default(),
            panels,
            hosts: HostBook::default(),
            by_name: BTreeMap::new(),
            ids: HashMap::with_hasher(FixedState::default()),
            facts: Vec::new(),
            series: 0,
            spots: SpotLabels::new(&plan.labels, service),
            identity: Identity::new(&plan.labels, service),
        }
    }

    /// Learns what the labels of a series tell about its host. Gives where they say that it is. Nothing is
    /// learned where it may be of another host.
    pub(super) fn learn(
        &mut self,
        owner: &Owner,
        labels: &Labels,
        region: Option<&str>,
    ) -> Whereabouts {
        if owner.spot.is_none() {
            return Whereabouts::default();
        }
        let facts = &mut self.facts[owner.host.0 as usize];
        let told = Whereabouts::of(labels, region, &self.plan.stages);
        facts.told.add(&told);
        if let Some(region) = region
            && facts.region.as_deref().is_none_or(|known| region < known)
        {
            facts.region = Some(region.into());
        }
        for (known, stage) in facts.stages.iter_mut().zip(&self.plan.stages) {
            *known |= matches_all(&stage.matchers, labels);
        }
        told
    }

    /// Notes that data of the host, with the version that its labels tell, was in the bucket. A host that was
    /// gone is one of the service again: its series may have stayed, or be bound before they say anything.
    pub(super) fn heard(
        &mut self,
        host: HostId,
        version: Option<&Arc<str>>,
        start: Timestamp,
        end: Timestamp,
    ) {
        self.welcome(host, start);
        let facts = &mut self.facts[host.0 as usize];
        facts.first_data.get_or_insert(start);
        facts.last_data = Some(end);
        if let Some(version) = version {
            facts.runs(version, end);
        }
    }

    /// Notes that a process of the host was heard in a bucket with this end.
    pub(super) fn heard_process(&mut self, host: HostId, process: &Arc<str>, end: Timestamp) {
        if *self.hosts.get(host).name != **process {
            run(&mut self.facts[host.0 as usize].processes, process, end);
        }
    }

    /// Notes the version of a host that a series about it told, with these labels; what nobody has heard is no
    /// host.
    pub(super) fn told_version(
        &mut self,
        host: &str,
        labels: &Labels,
        version: &Arc<str>,
        end: Timestamp,
    ) {
        if let Some(id) = self.meant(host, labels) {
            self.facts[id.0 as usize].runs(version, end);
        }
    }
}

impl HostFacts {
    fn runs(&mut self, version: &Arc<str>, end: Timestamp) {
        run(&mut self.versions, version, end);
    }

    /// Notes that a bucket with this end told that data of its counters was lost. A sender that says that a
    /// counter ended, or tells a value twice, loses nothing.
    pub(super) fn lose(&mut self, reason: LossReason, end: Timestamp) {
        if !matches!(reason, LossReason::Stale | LossReason::Duplicate) {
            self.lost = Some(end);
        }
    }

    /// The version that the host runs, as far as its labels tell: the one seen last; of two seen
    /// at once, the greater name.
    pub(super) fn version(&self) -> Option<&str> {
        self.versions
            .iter()
            .max_by_key(|(_, ran)| ran.last)
            .map(|(version, _)| &**version)
    }
}

/// Notes that what has this name ran in a bucket with this end.
fn run(known: &mut BTreeMap<Arc<str>, Ran>, name: &Arc<str>, end: Timestamp) {
    if let Some(ran) = known.get_mut(name) {
        ran.last = end;
    } else {
        // With every deployment another comes: none is asked for once it is gone.
        known.retain(|_, ran| end < ran.last + GONE);
        let ran = Ran {
            first: end,
            last: end,
        };
        known.insert(Arc::clone(name), ran);
    }
}

/// Whether the check looks for templates.
pub(super) fn wants_templates(detector: &DetectorPlan) -> bool {
    matches!(detector, DetectorPlan::NewTemplate)
}

/// How many buckets of the past the detector of a check reads. Each costs 4 bytes for each metric
/// and host, and as many again where the check divides.
pub(super) fn depth(check: &Check, resolution: Span) -> usize {
    match (&check.detector, &check.selection) {
        // A ratio is of a part of the time that it has to be out of range for.
        (DetectorPlan::Bounds { for_at_least, .. }, Selection::Series(series))
            if series.per.is_some() =>
        {
            ratio_time(*for_at_least).div_ceil(resolution).max(1)
        }
        // They look at the bucket that has just closed, and remember themselves what came before.
        (DetectorPlan::NewTemplate, _)
        | (DetectorPlan::Bounds { .. } | DetectorPlan::Absent { .. }, Selection::Series(_)) => 0,
        // The records of the time that the limits are for.
        (DetectorPlan::Bounds { within, .. }, Selection::Logs(_)) => within.div_ceil(resolution),
        // When its records came last is told by their counts alone: a count of zero is data.
        (DetectorPlan::Absent { .. }, Selection::Logs(_))
        // The past up to the deployment is what they judge by.
        | (
            DetectorPlan::Sigma { .. } | DetectorPlan::Compare { .. } | DetectorPlan::Load { .. },
            _,
        ) => PANEL_DEPTH,
        // Also a window that is longer than the usual past must be seen as a whole.
        (DetectorPlan::Derivative { over, .. }, _) => PANEL_DEPTH.max(over.div_ceil(resolution)),
    }
}
