//! A closed bucket → the panels of every check.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    binding::{Bindings, Distribution, Feed, Looker, Part},
    directory::{Directory, LOG_UNIT, log_group},
    selection::Class,
    service::{Service, wants_templates},
};
use crate::{
    detect::{Cell, HostId, Panel, TemplateTrack, template_severity},
    event::{Interval, Kind},
    plan::Selection,
    reduce::{ClosedBucket, LogCount, LossMark, LossReason, LossSource, StreamId, TEMPLATE_OTHER},
};

impl Directory {
    /// Spreads a bucket that has just closed over the panels, all of it at once.
    pub fn spread(&mut self, bucket: &ClosedBucket) {
        self.open(bucket.interval);
        for partial in &bucket.series {
            self.spread_series(partial.clone(), bucket.interval);
        }
        self.finish(bucket);
    }

    /// Begins a bucket, before anything of it is spread.
    pub(super) fn open(&mut self, bucket: Interval) {
        for service in &mut self.services {
            for entry in &mut service.panels {
                entry.panel.clear_templates();
                entry.panel.forget(bucket);
            }
        }
        self.watermark = self.watermark.max(bucket.end);
        if let Some(until) = self.torn_until {
            if until < bucket.end {
                self.torn_until = None;
            }
            for service in &mut self.services {
                for entry in &mut service.panels {
                    entry.panel.tear(bucket);
                }
            }
        }
    }

    /// Spreads what a bucket holds beside its series, and looks at the whole.
    pub(super) fn finish(&mut self, bucket: &ClosedBucket) {
        self.gather_cells(bucket.interval);
        self.bindings.live(&mut self.services, bucket.interval);
        self.hear_logs(&bucket.logs, bucket.interval);
        for service in &mut self.services {
            service.hosts.learn_log_gaps();
        }
        self.spread_logs(&bucket.logs, bucket.interval);
        for loss in &bucket.losses {
            self.note_loss(loss, bucket.interval);
        }
        self.fill_deltas(bucket.interval);
        self.fill_unshown(bucket.interval);
        for service in &mut self.services {
            service.look(bucket.interval);
        }
    }

    fn hear_logs(&mut self, logs: &[LogCount], bucket: Interval) {
        for count in logs {
            for bound in &self.streams[count.stream.0 as usize] {
                let service = &mut self.services[bound.service];
                if service.is_unclear(&bound.owner) {
                    continue;
                }
                let host = bound.owner.host;
                service.heard(host, bound.version.as_ref(), bucket.start, bucket.end);
                service.hosts.heard_log(host, count.severity, bucket);
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
                let host = bound.owner.host;
                let service_of = &mut self.services[service];
                if service_of.is_unclear(&bound.owner) {
                    let name = &service_of.hosts.get(host).name;
                    let panel = &mut service_of.panels[panel].panel;
                    panel.note_unclear(name, bucket.end);
                    continue;
                }
                add(
                    counts.entry((service, panel, host)).or_default(),
                    count.count,
                );
                let entry = &mut self.services[service].panels[panel];
                if wants_templates(&entry.check.detector)
                    && (*count.template != *TEMPLATE_OTHER
                        || template_severity(&entry.check) <= count.severity)
                {
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
            for host in entry.by_name.values().flatten().copied() {
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
        let series = match loss.source {
            LossSource::Series(series) => series,
            LossSource::Records(_, None) => return,
            LossSource::Records(stream, Some(class)) => {
                return self.note_lost_record(stream, class, loss.reason, bucket);
            }
        };
        let Bindings {
            routes,
            sources,
            distributions,
            ..
        } = &self.bindings;
        for feed in routes.of(series) {
            let feed = match feed {
                Feed::Panel(feed) => feed,
                Feed::Kin(source, _) => {
                    let origin = &sources[*source as usize].origin;
                    let facts = &mut self.services[origin.service].facts;
                    facts[origin.owner.host.0 as usize].lose(loss.reason, bucket.end);
                    continue;
                }
                Feed::Version(_) | Feed::Sender(_) | Feed::Birth(..) | Feed::Refused(_) => continue,
            };
            let source = &sources[feed.source as usize];
            let service = &mut self.services[source.origin.service];
            let is_unclear = service.is_unclear(&source.origin.owner);
            let panel = &mut service.panels[feed.panel as usize].panel;
            if is_unclear {
                let name = &service.hosts.get(source.origin.owner.host).name;
                panel.note_unclear(name, bucket.end);
                continue;
            }
            feed.part.lose(panel, distributions, (bucket, loss.reason));
        }
    }

    /// Notes that records which a log check selects could not be used.
    fn note_lost_record(
        &mut self,
        stream: StreamId,
        class: u32,
        reason: LossReason,
        bucket: Interval,
    ) {
        let selector = Arc::clone(self.selector());
        let Some(&Class { service, panel, .. }) = selector.classes().get(class as usize) else {
            return;
        };
        let mut bound = self.streams[stream.0 as usize].iter();
        let Some(bound) = bound.find(|bound| bound.service == service) else {
            return;
        };
        let service = &mut self.services[service];
        let is_unclear = service.is_unclear(&bound.owner);
        let entry = &mut service.panels[panel];
        if is_unclear {
            let name = &service.hosts.get(bound.owner.host).name;
            entry.panel.note_unclear(name, bucket.end);
            return;
        }
        if let Selection::Logs(selection) = &entry.check.selection {
            let key = log_group(selection);
            let group = entry.panel.group_index(&key, Kind::Counter, LOG_UNIT);
            entry
                .panel
                .record_loss(group, bound.owner.host, bucket, reason);
        }
    }
}

impl Looker {
    /// What the check sees.
    pub(super) fn panel(self, services: &mut [Service]) -> &mut Panel {
        &mut services[self.service as usize].panels[self.panel as usize].panel
    }
}

impl Part {
    /// Notes in a panel that data of what it feeds was lost.
    pub(super) fn lose(
        self,
        panel: &mut Panel,
        distributions: &[Distribution],
        (bucket, reason): (Interval, LossReason),
    ) {
        match self {
            Self::Value(place) | Self::Exposure(place) => {
                panel.record_loss_at(place, bucket, reason);
            }
            Self::Numerator(place) => panel.record_numerator_loss_at(place, bucket, reason),
            Self::Quantiles(index) => {
                for (_, place) in &distributions[index as usize].quantiles {
                    panel.record_loss_at(*place, bucket, reason);
                }
            }
        }
    }
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
        Ok(index) => add(&mut track.now[index].1, count.count),
        Err(index) => track.now.insert(index, (host, count.count)),
    }
}

/// Adds a count that a sender told, and that may be anything.
fn add(sum: &mut u64, count: u64) {
    *sum = sum.saturating_add(count);
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
