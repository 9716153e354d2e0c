//! Where the partials of each series go: flat tables, looked up by the number of the series.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{
    births::{Tally, Teller},
    combine::{CellKey, seconds},
    families::Families,
    namesakes::Owner,
    selection::role,
    service::Service,
};
use crate::{
    detect::{HostId, Place},
    event::{Interval, Labels, Span, Temporality, Timestamp},
    reduce::{Partial, SeriesId},
};

/// Where each series belongs. Most series feed one place of one panel.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    pub(super) routes: Routes,
    pub(super) sources: Vec<Source>,
    /// By service and host: indices of `sources`, one for each process. Looked up, never walked.
    by_host: HashMap<(usize, HostId), Vec<u32>, FixedState>,
    pub(super) distributions: Vec<Distribution>,
    /// Hosts and versions that series about them tell.
    pub(super) versions: Vec<ToldVersion>,
    /// Counters that tell nothing where they gained nothing.
    pub(super) deltas: Vec<Delta>,
    pub(super) senders: Vec<Sender>,
    pub(super) families: Families,
    /// Indices of `senders`. Looked up, never walked.
    by_sender: HashMap<(usize, Owner, Labels), u32, FixedState>,
    /// By service, panel and place: what makes a ratio. Looked up, never walked.
    sides: HashMap<(usize, u32, Place), Sides, FixedState>,
}

/// A counter of delta temporality, which is not sent while it gains nothing, and the value that it makes, or
/// whose numerator it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delta {
    /// Whose it is, an index of [`Bindings::sources`].
    pub(super) source: u32,
    /// Who exports it, an index of [`Bindings::senders`].
    pub(super) sender: u32,
    /// Index of the panel in its service.
    pub(super) panel: u32,
    pub(super) place: Place,
}

/// What exports deltas on a host, and of which time it did in the bucket that is spread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    /// End of the latest bucket in which it exported any.
    exported: Timestamp,
    /// The longest time that one of them is of.
    stretch: Span,
}

/// Whose a series is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose {
    /// An index of [`Bindings::sources`].
    pub(super) source: u32,
    /// Who exports it, if it is one of deltas: an index of [`Bindings::senders`].
    pub(super) sender: Option<u32>,
}

/// Whose series make the sides of a ratio: indices of [`Bindings::sources`], each once.
#[derive(Debug, Default)]
struct Sides {
    numerator: Vec<u32>,
    exposure: Vec<u32>,
}

/// Labels of a resource that tell what exports deltas on a host. What replaces a process there goes on for it:
/// that it is another one, as `service.instance.id` tells, does not matter.
const SENDER_LABELS: [&str; 5] = [
    "k8s.container.name",
    "service.name",
    "service.namespace",
    "telemetry.sdk.language",
    "telemetry.sdk.name",
];

/// Labels that tell one process of a host from another. The first that is there counts.
const PROCESS_LABELS: [&str; 2] = ["service.instance.id", "instance"];

/// What each series feeds.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// By series.
    spans: Vec<Feeds>,
    feeds: Vec<Feed>,
}

/// The feeds of a series.
#[derive(Clone, Copy, Debug, Default)]
struct Feeds {
    first: u32,
    count: u32,
}

/// What a series is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Feed {
    /// It feeds a panel.
    Panel(PanelFeed),
    /// It tells the version of a host, an index of [`Bindings::versions`].
    Version(u32),
    /// It shows that who exports it did, an index of [`Bindings::senders`].
    Sender(u32),
    /// It is a cumulative counter of a source, an index of [`Bindings::sources`], and of a family of
    /// [`Bindings::families`].
    Kin(u32, u32),
    /// It tells of births of a process: an index of [`Bindings::sources`].
    Birth(u32, Teller),
    /// A limit refuses it, so that a check that looks at it is blind.
    Refused(Looker),
}

/// A check of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looker {
    /// Its place among the services.
    pub(super) service: u32,
    /// Its place among the checks of the service.
    pub(super) panel: u32,
}

/// One way in which a series feeds a panel.
#[derive(Clone, Copy, Debug)]
pub(super) struct PanelFeed {
    /// Whose it is, an index of [`Bindings::sources`].
    pub(super) source: u32,
    /// Index of the panel in its service.
    pub(super) panel: u32,
    pub(super) part: Part,
}

/// How a series feeds a panel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// It is the value, or one of several that make it.
    Value(Place),
    /// It is added to what is divided by the exposure.
    Numerator(Place),
    /// It is added to the exposure.
    Exposure(Place),
    /// It is (a part of) a distribution, an index of [`Bindings::distributions`].
    Quantiles(u32),
}

/// A distribution, or one bucket of a classic one.
#[derive(Debug)]
pub(super) struct Distribution {
    /// The quantiles that are asked for, and where they go. At least one.
    pub(super) quantiles: Vec<(f64, Place)>,
    /// The upper bound of a classic bucket.
    pub(super) le: Option<f64>,
}

/// A version that a series about a host tells.
#[derive(Debug)]
pub(super) struct ToldVersion {
    /// The services that it is about; `None`: all that have the host.
    pub(super) services: Option<Vec<usize>>,
    pub(super) hosts: Vec<String>,
    pub(super) version: Arc<str>,
    /// Of the series: hosts of one name may differ in some.
    pub(super) labels: Labels,
}

/// A process on a host of a service, with the version that its labels tell.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) service: usize,
    pub(super) owner: Owner,
    pub(super) version: Option<Arc<str>>,
    /// What tells it from others of its version.
    pub(super) process: Option<Arc<str>>,
}

/// An origin, and what was noted of it in the bucket that is spread: once for all of its series.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) origin: Origin,
    /// End of the latest bucket in which it was heard.
    pub(super) heard: Timestamp,
    /// End of the latest bucket in which something of it moved.
    pub(super) moved: Timestamp,
    /// Whether nobody knew in the bucket in which it was heard whose it is.
    is_unclear: bool,
    /// What its series said of its life in the bucket that is spread.
    pub(super) tally: Tally,
}

impl Bindings {
    /// The source of what has these labels on a host with a version, which is added if it is new.
    fn source(
        &mut self,
        service: usize,
        owner: &Owner,
        version: Option<&str>,
        labels: &Labels,
    ) -> u32 {
        let process = PROCESS_LABELS.iter().find_map(|name| labels.get(name));
        let known = self.by_host.entry((service, owner.host)).or_default();
        let is_it = |index: &&u32| {
            let origin = &self.sources[**index as usize].origin;
            origin.version.as_deref() == version
                && origin.process.as_deref() == process
                && origin.owner == *owner
        };
        if let Some(index) = known.iter().find(is_it) {
            return *index;
        }
        let index = index_of(self.sources.len());
        known.push(index);
        self.sources.push(Source {
            origin: Origin {
                service,
                owner: owner.clone(),
                version: version.map(Arc::from),
                process: process.map(Arc::from),
            },
            heard: Timestamp::MIN,
            moved: Timestamp::MIN,
            is_unclear: false,
            tally: Tally::default(),
        });
        index
    }

    /// Whose a series with these labels is, with its owner in a service. Labels with one of these names tell its
    /// version.
    pub(super) fn whose(
        &mut self,
        (service, owner): (usize, &Owner),
        labels: &Labels,
        temporality: Temporality,
        version: &[String],
    ) -> Whose {
        let told = role(labels, version);
        let is_delta = temporality == Temporality::Delta;
        Whose {
            source: self.source(service, owner, told, labels),
            sender: is_delta.then(|| self.sender(service, owner, labels, version)),
        }
    }

    /// Who exports deltas with these labels on a host, which is added if it is new.
    fn sender(
        &mut self,
        service: usize,
        owner: &Owner,
        labels: &Labels,
        version: &[String],
    ) -> u32 {
        let tells = |name: &str| {
            SENDER_LABELS.contains(&name) || version.iter().any(|version| version == name)
        };
        let key = (service, owner.clone(), labels.retain(tells));
        let next = index_of(self.senders.len());
        let index = *self.by_sender.entry(key).or_insert(next);
        if index == next {
            self.senders.push(Sender {
                exported: Timestamp::MIN,
                stretch: Span::ZERO,
            });
        }
        index
    }

    /// Notes that a source gives to the numerator, to the exposure, or to both sides of the ratio at a place.
    pub(super) fn gives(
        &mut self,
        source: u32,
        (panel, place): (u32, Place),
        (is_numerator, is_exposure): (bool, bool),
    ) {
        let service = self.sources[source as usize].origin.service;
        let sides = self.sides.entry((service, panel, place)).or_default();
        let Sides {
            numerator,
            exposure,
        } = sides;
        for (side, is_of_it) in [(numerator, is_numerator), (exposure, is_exposure)] {
            if is_of_it && !side.contains(&source) {
                side.push(source);
            }
        }
    }

    /// Whether all that ever gave the numerator of a ratio gave to its exposure as well, and nothing of them is
    /// in the bucket with this end: then what gives the exposure now has taken their place.
    pub(super) fn is_replaced(&self, key: &CellKey, end: Timestamp) -> bool {
        let sides = self.sides.get(&(key.service, key.panel, key.place));
        sides.is_some_and(|sides| {
            sides.numerator.iter().all(|source| {
                let known = &self.sources[*source as usize];
                let is_unclear = known.is_unclear || known.origin.owner.spot.is_none();
                is_unclear || (sides.exposure.contains(source) && known.heard != end)
            })
        })
    }

    /// Adds a version that a series about a host tells.
    pub(super) fn version(&mut self, told: ToldVersion) -> Feed {
        let index = index_of(self.versions.len());
        self.versions.push(told);
        Feed::Version(index)
    }

    /// Adds a distribution.
    pub(super) fn distribution(&mut self, distribution: Distribution) -> Part {
        let index = index_of(self.distributions.len());
        self.distributions.push(distribution);
        Part::Quantiles(index)
    }
}

impl Routes {
    /// Binds a series. What it fed before, it feeds no more.
    pub(super) fn bind(&mut self, series: SeriesId, feeds: impl IntoIterator<Item = Feed>) {
        let first = self.feeds.len();
        self.feeds.extend(feeds);
        let index = series.0 as usize;
        if self.spans.len() <= index {
            self.spans.resize(index + 1, Feeds::default());
        }
        self.spans[index] = Feeds {
            first: index_of(first),
            count: index_of(self.feeds.len() - first),
        };
    }

    /// All that are bound, ascending.
    pub(super) fn series(&self) -> impl Iterator<Item = SeriesId> {
        (0..index_of(self.spans.len())).map(SeriesId)
    }

    /// What the series feeds.
    pub(super) fn of(&self, series: SeriesId) -> &[Feed] {
        let Feeds { first, count } = self
            .spans
            .get(series.0 as usize)
            .copied()
            .unwrap_or_default();
        &self.feeds[first as usize..(first + count) as usize]
    }
}

impl Whose {
    /// A value that the series makes, or whose numerator it is, if it is one of deltas.
    pub(super) fn delta(self, panel: usize, place: Place) -> Option<Delta> {
        let Self { source, sender } = self;
        sender.map(|sender| Delta {
            source,
            sender,
            panel: panel as u32,
            place,
        })
    }
}

impl Sender {
    /// Notes that it exported something in a bucket with this end.
    pub(super) fn export(&mut self, end: Timestamp, partial: &Partial) {
        let Some(seconds) = seconds(partial) else {
            return;
        };
        if self.exported != end {
            (self.exported, self.stretch) = (end, Span::ZERO);
        }
        let stretch = Span::from_nanos((1e9 * seconds) as i64);
        self.stretch = self.stretch.max(stretch);
    }

    /// Of which time it exported something in the bucket with this end.
    pub(super) fn exported(&self, end: Timestamp) -> Option<Span> {
        (self.exported == end).then_some(self.stretch)
    }
}

impl Source {
    /// Notes that data of it was in the bucket. Says whether it is known whose it is.
    pub(super) fn hear(&mut self, service: &mut Service, bucket: Interval) -> bool {
        if self.heard != bucket.end {
            self.heard = bucket.end;
            self.tally = Tally::default();
            let Origin { owner, version, .. } = &self.origin;
            self.is_unclear = service.is_unclear(owner);
            if !self.is_unclear {
                service.heard(owner.host, version.as_ref(), bucket.start, bucket.end);
                if let Some(process) = &self.origin.process {
                    service.heard_process(owner.host, process, bucket.end);
                }
            }
        }
        !self.is_unclear
    }

    /// Whether it was heard in the bucket with this end, and it is known whose it is.
    pub(super) fn has_said(&self, end: Timestamp) -> bool {
        self.heard == end && !self.is_unclear
    }

    /// Notes that something of it moved in the bucket.
    pub(super) fn moves(&mut self, service: &mut Service, bucket: Interval) {
        if self.moved != bucket.end {
            self.moved = bucket.end;
            service.hosts.moved(self.origin.owner.host, bucket);
        }
    }
}

fn index_of(len: usize) -> u32 {
    u32::try_from(len).expect("what series feed is numbered in 32 bits")
}
