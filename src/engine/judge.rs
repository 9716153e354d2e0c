//! A closed bucket → the panels of every check.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    binding::{Feed, Part},
    directory::{Directory, LOG_UNIT, log_group},
    selection::Class,
    service::wants_templates,
};
use crate::{
    detect::{Cell, HostId, TemplateTrack},
    event::{Interval, Kind},
    plan::Selection,
    reduce::{ClosedBucket, LogCount, LossMark, LossSource},
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
        self.hear_logs(&bucket.logs, bucket.interval);
        for service in &mut self.services {
            service.hosts.learn_log_gaps();
        }
        self.spread_logs(&bucket.logs, bucket.interval);
        for loss in &bucket.losses {
            self.note_loss(loss, bucket.interval);
        }
        self.fill_deltas(bucket.interval);
        for service in &mut self.services {
            service.look(bucket.interval);
        }
    }

    fn hear_logs(&mut self, logs: &[LogCount], bucket: Interval) {
        for count in logs {
            for bound in &self.streams[count.stream.0 as usize] {
                let service = &mut self.services[bound.service];
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
                Part::Value(place) | Part::Exposure(place) => {
                    panel.record_loss_at(place, bucket, loss.reason);
                }
                Part::Numerator(place) => {
                    panel.record_numerator_loss_at(place, bucket, loss.reason);
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
