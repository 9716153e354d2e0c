//! Where the partials of each series go: flat tables, looked up by the number of the series.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::service::Service;
use crate::{
    detect::{HostId, Place},
    event::{Interval, Timestamp},
    reduce::SeriesId,
};

/// Where each series belongs. Most series feed one place of one panel.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    pub(super) routes: Routes,
    pub(super) sources: Vec<Source>,
    /// By service and host: indices of `sources`, one for each version. Looked up, never walked.
    by_host: HashMap<(usize, HostId), Vec<u32>, FixedState>,
    pub(super) distributions: Vec<Distribution>,
    /// Hosts and versions that series about them tell.
    pub(super) versions: Vec<ToldVersion>,
    /// Counters that tell nothing where they gained nothing.
    pub(super) deltas: Vec<Delta>,
}

/// A value that a counter of delta temporality makes, which is not sent while it gains nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delta {
    /// Whose it is, an index of [`Bindings::sources`].
    pub(super) source: u32,
    /// Index of the panel in its service.
    pub(super) panel: u32,
    pub(super) place: Place,
}

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
}

/// A host of a service, with the version that its labels tell.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) service: usize,
    pub(super) host: HostId,
    pub(super) version: Option<Arc<str>>,
}

/// An origin, and what was noted of it in the bucket that is spread: once for all of its series.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) origin: Origin,
    /// End of the latest bucket in which it was heard.
    pub(super) heard: Timestamp,
    /// End of the latest bucket in which something of it moved.
    pub(super) moved: Timestamp,
}

impl Bindings {
    /// The source of a host with a version, which is added if it is new.
    pub(super) fn source(&mut self, service: usize, host: HostId, version: Option<&str>) -> u32 {
        let known = self.by_host.entry((service, host)).or_default();
        let is_it = |index: &&u32| {
            let origin = &self.sources[**index as usize].origin;
            origin.version.as_deref() == version
        };
        if let Some(index) = known.iter().find(is_it) {
            return *index;
        }
        let index = index_of(self.sources.len());
        known.push(index);
        self.sources.push(Source {
            origin: Origin {
                service,
                host,
                version: version.map(Arc::from),
            },
            heard: Timestamp::MIN,
            moved: Timestamp::MIN,
        });
        index
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

impl Source {
    /// Notes that data of it was in the bucket.
    pub(super) fn hear(&mut self, service: &mut Service, bucket: Interval) {
        if self.heard != bucket.end {
            self.heard = bucket.end;
            let Origin { host, version, .. } = &self.origin;
            service.heard(*host, version.as_ref(), bucket.start, bucket.end);
        }
    }

    /// Notes that something of it moved in the bucket.
    pub(super) fn moves(&mut self, service: &mut Service, bucket: Interval) {
        if self.moved != bucket.end {
            self.moved = bucket.end;
            service.hosts.moved(self.origin.host, bucket);
        }
    }
}

fn index_of(len: usize) -> u32 {
    u32::try_from(len).expect("what series feed is numbered in 32 bits")
}
