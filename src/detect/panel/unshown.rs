//! Counters that a process has not shown yet, because they have gained nothing.

use std::collections::BTreeMap;

use super::{Group, HostId, Panel, Place, Track};
use crate::{
    detect::{Cell, Stat, track::Feeders},
    event::{Interval, Kind, Labels, METRIC_NAME, Span, Timestamp},
};

/// What spoke on a host, in a bucket, beside a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Who.
    pub kin: Kin,
    /// Whether it tells that the process began anew.
    pub has_begun: bool,
}

/// Which counters of a host spoke in a bucket, from what tells least to what tells most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kin {
    /// None that tells anything of the one that is meant.
    Silent,
    /// Only such of other names.
    Others,
    /// Some of the same name.
    Speaks,
}

/// How far back one looks whether a counter is rare, and in fewer than how many buckets of that time the usual
/// host counts something if it is.
const RARE_WITHIN: Span = Span::from_hours(1);
const RARE_BUCKETS: usize = 12;

/// Counters that a host never had and that are remembered for it all the same, unless it has more of its own.
const ADDED_MAX: usize = 64;

impl Panel {
    /// Takes the counters that are missing in the bucket for such that have gained nothing, if their process
    /// began anew since they spoke. `spoke` says whether counters of a host spoke in the bucket, and then whether
    /// anything of it began; `beside` what did beside one of this name, whose last data are up to this time.
    pub fn fill_unshown(
        &mut self,
        bucket: Interval,
        spoke: impl Fn(HostId) -> Option<bool>,
        beside: impl Fn(HostId, &str, Timestamp) -> Option<Beside>,
    ) {
        let (mut begun, mut missing) = (Vec::new(), Vec::new());
        for (index, group) in (0..).zip(&self.groups) {
            if !is_counter(group) {
                continue;
            }
            for (slot, track) in (0..).zip(&group.tracks) {
                let Some(has_begun) = spoke(track.host).filter(|_| track.is_fed()) else {
                    continue;
                };
                let is_missing = track.last_seen != bucket.end;
                if !is_missing && !has_begun {
                    continue;
                }
                let name = group.key.labels.metric();
                let Some(beside) = beside(track.host, name, track.last_seen) else {
                    continue;
                };
                let place = Place { group: index, slot };
                if beside.has_begun {
                    begun.push(place);
                }
                if is_missing && (track.is_anew || beside.has_begun) {
                    missing.push((place, beside.kin));
                }
            }
        }
        for place in begun {
            self.track_mut(place).is_anew = true;
        }
        let mut rare = BTreeMap::new();
        missing.retain(|(place, kin)| {
            let name = self.groups[place.group as usize].key.labels.metric();
            self.is_nothing(name, *kin, &mut rare, bucket.end)
        });
        for (place, _) in missing {
            self.gain_nothing_anew(place, bucket);
        }
    }

    /// Takes counters that some of these hosts (the one-box, the fleet) never had for such that have gained
    /// nothing in the bucket. Those that the fleet has, if they are rare; those that were so of late still are,
    /// whatever the fleet counts since. And errors that only the one-box has, for the fleet, if others of their
    /// name, told apart by the same labels, speak there: of what else is new nobody knows whether the version
    /// before could have shown it.
    /// `beside` says what spoke beside one of this name.
    pub fn add_unshown(
        &mut self,
        bucket: Interval,
        [one_box, fleet]: [&[HostId]; 2],
        beside: impl Fn(HostId, &str) -> Option<Kin>,
    ) {
        let hosts: Vec<HostId> = one_box.iter().chain(fleet).copied().collect();
        let hosts = &hosts[..];
        let mut lacking: Vec<(u32, HostId)> = Vec::new();
        let mut rare = BTreeMap::new();
        for index in self.by_key.values() {
            let group = &self.groups[*index];
            if !is_counter(group) {
                continue;
            }
            let has = |host: &HostId| group.track(*host).is_some_and(Track::is_fed);
            let mut is_rare = None;
            let mut is_had = || fleet.iter().any(has) && self.is_rare(group, bucket.end);
            let name = group.key.labels.metric();
            let is_news = tells_errors(&group.key.labels) && one_box.iter().any(has);
            let is_news = is_news && self.is_told_apart(group, fleet);
            for host in hosts {
                let slot = group.slot(*host);
                let known = slot.map(|slot| &group.tracks[slot as usize]);
                let was_added = match known {
                    Some(track)
                        if track.feeders != Feeders::None || track.last_seen == bucket.end =>
                    {
                        continue;
                    }
                    Some(track) => bucket.end <= track.last_seen + RARE_WITHIN,
                    None => false,
                };
                let kin = beside(*host, name);
                let is_news = is_news && kin == Some(Kin::Speaks) && fleet.contains(host);
                if !was_added && !is_news && !*is_rare.get_or_insert_with(&mut is_had) {
                    continue;
                }
                if kin.is_some_and(|kin| self.is_nothing(name, kin, &mut rare, bucket.end)) {
                    lacking.push((*index as u32, *host));
                }
            }
        }
        if lacking.is_empty() {
            return;
        }
        let mut room = self.room(hosts);
        for (group, host) in lacking {
            let room = room.entry(host).or_default();
            let is_new = self.groups[group as usize].slot(host).is_none();
            if is_new && *room == 0 {
                continue;
            }
            *room -= usize::from(is_new);
            self.add_nothing(group as usize, host, bucket);
        }
    }

    /// Whether hosts have others of the name of a counter, told apart by the same labels.
    fn is_told_apart(&self, group: &Group, hosts: &[HostId]) -> bool {
        let metric = group.key.labels.metric();
        let is_alike = |other: &&Group| {
            let is_of_name = is_counter(other) && other.key.labels.metric() == metric;
            is_of_name && names(&other.key.labels).eq(names(&group.key.labels))
        };
        let mut alike = self.groups.iter().filter(is_alike);
        alike.any(|other| {
            let mut tracks = hosts.iter().filter_map(|host| other.track(*host));
            tracks.any(Track::is_fed)
        })
    }

    /// How many counters more may be added for each host.
    fn room(&self, hosts: &[HostId]) -> BTreeMap<HostId, usize> {
        let of = |host: &HostId| {
            let tracks = self.groups.iter().filter_map(|group| group.track(*host));
            let (own, added): (Vec<&Track>, Vec<&Track>) = tracks.partition(|track| track.is_fed());
            let room = own.len().max(ADDED_MAX).saturating_sub(added.len());
            (*host, room)
        };
        hosts.iter().map(of).collect()
    }

    /// Whether a counter of this name that is missing has gained nothing, by what spoke beside it. That only
    /// counters of other names did says nothing of one that is seldom silent: it may be gone. `rare` remembers
    /// the answers by name.
    fn is_nothing(
        &self,
        name: &str,
        kin: Kin,
        rare: &mut BTreeMap<String, bool>,
        end: Timestamp,
    ) -> bool {
        match kin {
            Kin::Speaks => true,
            Kin::Silent => false,
            Kin::Others => {
                if let Some(known) = rare.get(name) {
                    return *known;
                }
                let mut groups = self.groups.iter().filter(|group| is_counter(group));
                let is_rare = groups
                    .all(|group| group.key.labels.metric() != name || self.is_rare(group, end));
                rare.insert(name.to_owned(), is_rare);
                is_rare
            }
        }
    }

    /// Whether the usual host counted something in few buckets of late. Hosts that show it since a process began
    /// count only where there are no others.
    fn is_rare(&self, group: &Group, end: Timestamp) -> bool {
        let since = end - RARE_WITHIN;
        let counted = |track: &Track| {
            let values = track.values(self.resolution, since, end);
            values.filter(|value| 0.0 < *value).count()
        };
        let of = |is_anew: bool| -> Vec<usize> {
            let tracks = group.tracks.iter();
            let tracks = tracks.filter(|track| track.has_data() && since < track.last_seen);
            tracks
                .filter(|track| track.is_anew == is_anew)
                .map(counted)
                .collect()
        };
        let mut usual = of(false);
        if usual.is_empty() {
            usual = of(true);
        }
        usual.sort_unstable();
        let middle = usual.get(usual.len() / 2);
        middle.is_none_or(|middle| *middle < RARE_BUCKETS)
    }

    fn gain_nothing_anew(&mut self, place: Place, bucket: Interval) {
        let (resolution, depth) = (self.resolution, self.depth);
        let track = self.track_mut(place);
        track.record(resolution, depth, bucket, Cell::default());
        track.is_anew = true;
    }

    /// Adds a bucket in which a host gained nothing of a counter that it never had: in its past neither, as long
    /// as that of a counter beside it.
    fn add_nothing(&mut self, group: usize, host: HostId, bucket: Interval) {
        let zeros = self
            .model(group, host, bucket)
            .map(|model| model.zeros(host));
        let is_new = self.groups[group].slot(host).is_none();
        let place = self.place(group, host);
        match zeros.filter(|_| is_new) {
            Some(zeros) => *self.track_mut(place) = zeros,
            None => self.gain_nothing_anew(place, bucket),
        }
    }

    /// A counter of the host that spoke in the bucket, of the same name if there is one: that with most data.
    fn model(&self, group: usize, host: HostId, bucket: Interval) -> Option<&Track> {
        let name = self.groups[group].key.labels.metric();
        let groups = self.groups().map(|(_, group)| group);
        let told = groups
            .filter(|group| is_counter(group))
            .filter_map(|group| {
                let track = group.track(host)?;
                let speaks = track.is_fed() && track.last_seen == bucket.end;
                speaks.then_some((group.key.labels.metric() == name, track))
            });
        let best = told.max_by_key(|(is_kin, track)| (*is_kin, track.covered));
        best.map(|(_, track)| track)
    }
}

/// Whether a counter is of errors by its labels: a status of 500 or more, or a word for what failed.
fn tells_errors(labels: &Labels) -> bool {
    const STATUS: [&str; 6] = [
        "code",
        "status",
        "status_code",
        "http.response.status_code",
        "http.status_code",
        "http_status_code",
    ];
    const FAILED: [&str; 10] = [
        "error",
        "errors",
        "exception",
        "fail",
        "failed",
        "failure",
        "fatal",
        "panic",
        "timeout",
        "server_error",
    ];
    let is_fault = |value: &str| value.len() == 3 && value.starts_with('5');
    labels.iter().any(|(name, value)| {
        let is_status = STATUS.contains(&name) && (is_fault(value) || value == "5xx");
        let failed = |word: &&str| value.eq_ignore_ascii_case(word);
        let names_one = ["exception", "error.type", "error_type"].contains(&name);
        name != METRIC_NAME
            && (is_status
                || FAILED.iter().any(failed)
                || (names_one && !value.is_empty() && !value.eq_ignore_ascii_case("none")))
    })
}

fn names(labels: &Labels) -> impl Iterator<Item = &str> {
    labels.iter().map(|(name, _)| name)
}

fn is_counter(group: &Group) -> bool {
    group.kind == Kind::Counter && group.key.stat == Stat::Value && !group.is_forgotten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detect::GroupKey,
        event::{Labels, Unit},
    };

    const WIDTH: Span = Span::from_seconds(10);
    const HOSTS: [HostId; 2] = [HostId(0), HostId(1)];

    fn bucket(number: i64) -> Interval {
        let start = Timestamp::from_seconds(number * 10);
        Interval {
            start,
            end: start + WIDTH,
        }
    }

    fn gained(events: f64, seconds: f64) -> Cell {
        let value = events / seconds;
        Cell {
            value,
            min: value,
            max: value,
            events,
            exposure: None,
        }
    }

    fn group(panel: &mut Panel, name: &str, code: &str) -> usize {
        let key = GroupKey {
            labels: Labels::new([("__name__", name), ("code", code)]),
            stat: Stat::Value,
            ..GroupKey::default()
        };
        panel.group_index(&key, Kind::Counter, Unit::Unknown)
    }

    /// A counter of both hosts, and one of the second that counts something in each of so many buckets; all of
    /// them in the hour up to bucket 360.
    fn panel(eventful: i64) -> (Panel, usize) {
        let mut panel = Panel::new(WIDTH, 1_000);
        let (served, failed) = (
            group(&mut panel, "served", "200"),
            group(&mut panel, "served", "503"),
        );
        let served = HOSTS.map(|host| panel.bind(served, host));
        let place = panel.bind(failed, HOSTS[1]);
        for number in 1..=360 {
            for served in served {
                panel.record_at(served, bucket(number), gained(200.0, 10.0));
            }
            let events = if number <= eventful { 1.0 } else { 0.0 };
            panel.record_at(place, bucket(number), gained(events, 10.0));
        }
        (panel, failed)
    }

    fn add(panel: &mut Panel, kin: Kin) {
        panel.add_unshown(bucket(360), [&HOSTS[..1], &HOSTS[1..]], |_, _| Some(kin));
    }

    #[test]
    fn what_a_host_never_had_it_never_gained() {
        for (eventful, kin, is_added) in [
            (11, Kin::Speaks, true),
            (12, Kin::Speaks, false),
            (0, Kin::Silent, false),
            // Others of the name are seldom silent, and are here.
            (0, Kin::Others, false),
        ] {
            let (mut panel, failed) = panel(eventful);
            add(&mut panel, kin);
            let track = panel.group(failed).track(HOSTS[0]);
            assert_eq!(track.is_some(), is_added, "{eventful} {kin:?}");
            let Some(track) = track else { continue };
            let past = track.values(WIDTH, bucket(1).start, bucket(360).end);
            assert_eq!(past.collect::<Vec<_>>(), [0.0; 360]);
            assert_eq!(track.cell(bucket(360)), Some(Cell::default()));
        }
    }

    #[test]
    fn errors_that_only_the_one_box_has_are_none_on_the_fleet() {
        for (code, kin, is_added) in [
            ("500", Kin::Speaks, true),
            ("Error", Kin::Speaks, true),
            // A route or an answer that is new with the version is no harm.
            ("201", Kin::Speaks, false),
            ("500", Kin::Others, false),
        ] {
            let (mut panel, _) = panel(0);
            let news = group(&mut panel, "served", code);
            let place = panel.bind(news, HOSTS[0]);
            panel.record_at(place, bucket(360), gained(40.0, 10.0));
            add(&mut panel, kin);
            let track = panel.group(news).track(HOSTS[1]);
            assert_eq!(track.is_some(), is_added, "{code} {kin:?}");
        }
        // A version that tells requests apart by more labels has no new errors by that.
        let (mut panel, _) = panel(0);
        let key = GroupKey {
            labels: Labels::new([("__name__", "served"), ("code", "500"), ("route", "/")]),
            stat: Stat::Value,
            ..GroupKey::default()
        };
        let news = panel.group_index(&key, Kind::Counter, Unit::Unknown);
        let place = panel.bind(news, HOSTS[0]);
        panel.record_at(place, bucket(360), gained(40.0, 10.0));
        add(&mut panel, Kin::Speaks);
        assert!(panel.group(news).track(HOSTS[1]).is_none());
    }

    #[test]
    fn no_more_is_added_to_a_host_than_it_may_have() {
        let (mut panel, _) = panel(0);
        for code in 0..100 {
            let group = group(&mut panel, "served", &format!("1{code}"));
            let place = panel.bind(group, HOSTS[1]);
            panel.record_at(place, bucket(360), gained(0.0, 10.0));
        }
        add(&mut panel, Kin::Speaks);
        let has = |group: &&Group| group.track(HOSTS[0]).is_some();
        let known = panel.groups().map(|(_, group)| group).filter(has).count();
        assert_eq!(known, 1 + ADDED_MAX);
    }

    /// Of 1,000 s it is known for all but 30 that nothing was gained: the rate is of these.
    #[test]
    fn a_count_that_comes_back_is_of_the_time_since_it_was_nothing() {
        let (mut panel, failed) = panel(0);
        let slot = panel.group(failed).slot(HOSTS[1]).unwrap();
        let place = Place {
            group: failed as u32,
            slot,
        };
        let fill = |panel: &mut Panel, number: i64, has_begun: bool| {
            let kin = Kin::Speaks;
            panel.fill_unshown(
                bucket(number),
                |_| Some(has_begun),
                |_, _, _| Some(Beside { kin, has_begun }),
            );
        };
        fill(&mut panel, 361, false);
        let heard = |panel: &Panel| panel.group(failed).track(HOSTS[1]).unwrap().last_seen;
        assert_eq!(heard(&panel), bucket(360).end, "its process goes on");
        fill(&mut panel, 362, true);
        fill(&mut panel, 460, false);
        assert_eq!(heard(&panel), bucket(460).end);
        panel.record_at(place, bucket(463), gained(3.0, 1_000.0));
        let cell = panel.group(failed).track(HOSTS[1]).unwrap();
        assert_eq!(cell.cell(bucket(463)), Some(gained(3.0, 30.0)));
        fill(&mut panel, 464, false);
        assert_eq!(heard(&panel), bucket(463).end, "it was there since");
    }
}
