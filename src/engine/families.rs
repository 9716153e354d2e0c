//! The cumulative counters of one name on a host, and which of them spoke in the bucket that is spread.
//!
//! Who exposes counters with labels shows each of them only from its first event on, of each process anew. So one
//! that is missing has gained nothing if its process began anew since it spoke, or never had it, while the others
//! speak at their pace: see [`Directory::fill_unshown`](super::Directory::fill_unshown).

use std::collections::BTreeSet;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::{
    detect::{Beside, HostId, Kin},
    event::{Labels, Timestamp},
    reduce::{Life, Partial},
};

/// All that are known. Looked up, never walked.
#[derive(Debug, Default)]
pub(super) struct Families {
    all: Vec<Family>,
    households: Vec<Household>,
    /// By service and host: indices of `households`, one for each job.
    by_host: HashMap<(usize, HostId), Vec<u32>, FixedState>,
    /// By service.
    names: HashMap<usize, Names, FixedState>,
}

type Names = HashMap<Box<str>, Name, FixedState>;

/// A name of counters.
#[derive(Debug, Default)]
struct Name {
    /// The jobs that have it on any host.
    jobs: BTreeSet<Box<str>>,
    /// Whether there may be others of it that are not heard.
    has_unheard: bool,
}

/// The counters of one name of a job on a host.
#[derive(Debug)]
struct Family {
    /// An index of [`Families::households`].
    household: u32,
    said: Said,
    /// Whether there are some that no check looks at.
    has_bystanders: bool,
}

/// The counters of a job on a host: an agent beside an application proves nothing of that.
#[derive(Debug)]
struct Household {
    job: Box<str>,
    said: Said,
    /// End of the latest bucket in which a process of the host began, as all that it says tells.
    born: Timestamp,
    /// Indices of [`Families::all`].
    by_name: HashMap<Box<str>, u32, FixedState>,
}

/// What counters said in the latest bucket in which any of them spoke.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// Its end.
    at: Timestamp,
    /// How many said that their process began, and how many that it goes on.
    begun: u32,
    going: u32,
}

/// Labels that tell one job of a host from another. The first that is there counts.
const JOB_LABELS: [&str; 2] = ["service.name", "job"];

impl Families {
    /// The family of a counter with these labels, which is added if it is new. `is_bystander`: no check looks at
    /// the counter.
    pub(super) fn join(
        &mut self,
        (service, host): (usize, HostId),
        labels: &Labels,
        is_bystander: bool,
    ) -> u32 {
        let name = labels.metric();
        let job = JOB_LABELS.iter().find_map(|name| labels.get(name));
        let job = job.unwrap_or_default();
        let names = self.names.entry(service).or_default();
        let jobs = &mut names.entry(name.into()).or_default().jobs;
        if !jobs.contains(job) {
            jobs.insert(job.into());
        }
        let households = self.by_host.entry((service, host)).or_default();
        let known = households
            .iter()
            .find(|index| *self.households[**index as usize].job == *job);
        let household = known.copied().unwrap_or_else(|| {
            let next = self.households.len() as u32;
            households.push(next);
            self.households.push(Household {
                job: job.into(),
                said: Said::NOTHING,
                born: Timestamp::MIN,
                by_name: HashMap::default(),
            });
            next
        });
        let by_name = &mut self.households[household as usize].by_name;
        let family = by_name.get(name).copied().unwrap_or_else(|| {
            let next = self.all.len() as u32;
            by_name.insert(name.into(), next);
            self.all.push(Family {
                household,
                said: Said::NOTHING,
                has_bystanders: false,
            });
            next
        });
        self.all[family as usize].has_bystanders |= is_bystander;
        family
    }

    /// Notes that only metadata tells that series of this name count. What is no check's is selected by what its
    /// protocol or its name tells, so others of it are not heard: their silence is not known from their absence.
    pub(super) fn miss(&mut self, service: usize, name: &str) {
        let names = self.names.entry(service).or_default();
        names.entry(name.into()).or_default().has_unheard = true;
    }

    /// Notes what one of a family did in a bucket with this end.
    pub(super) fn hear(&mut self, family: u32, did: &Partial, end: Timestamp) {
        let family = &mut self.all[family as usize];
        let household = &mut self.households[family.household as usize];
        family.said.hear(did.life(), end);
        household.said.hear(did.life(), end);
    }

    /// Notes that a process of a host began in a bucket with this end.
    pub(super) fn born(&mut self, service: usize, host: HostId, end: Timestamp) {
        for index in self.by_host.get(&(service, host)).into_iter().flatten() {
            self.households[*index as usize].born = end;
        }
    }

    /// Whether counters of a host spoke in the bucket with this end; and then, whether anything tells that a
    /// process of it began.
    pub(super) fn spoke(&self, service: usize, host: HostId, end: Timestamp) -> Option<bool> {
        let speaking = self.households(service, host);
        let speaking = speaking.filter(|household| household.said.at == end);
        let tells = speaking.map(|household| 0 < household.said.begun || household.born == end);
        tells.reduce(|one, other| one || other)
    }

    /// What spoke in the bucket with this end beside a counter of this name.
    pub(super) fn beside(
        &self,
        (service, host): (usize, HostId),
        name: &str,
        end: Timestamp,
    ) -> Option<Beside> {
        let Name { jobs, has_unheard } = self.names.get(&service)?.get(name)?;
        let families = self.households(service, host).filter_map(|household| {
            let family = household.by_name.get(name)?;
            Some(Self::beside_in(household, &self.all[*family as usize], end))
        });
        let told = families.reduce(|one, other| Beside {
            kin: one.kin.max(other.kin),
            has_begun: one.has_begun || other.has_begun,
        });
        if *has_unheard {
            // What others speak proves nothing then, only those of the name do.
            return told.map(|told| Beside {
                kin: if told.kin == Kin::Others {
                    Kin::Silent
                } else {
                    told.kin
                },
                ..told
            });
        }
        told.or_else(|| {
            let mut others = self.households(service, host);
            let is_of_job =
                |household: &Household| household.said.at == end && jobs.contains(&household.job);
            others.any(is_of_job).then_some(Beside {
                kin: Kin::Others,
                has_begun: false,
            })
        })
    }

    fn beside_in(household: &Household, family: &Family, end: Timestamp) -> Beside {
        let is_born = household.is_born(end);
        if family.said.at == end {
            let Said { begun, going, .. } = family.said;
            return Beside {
                kin: Kin::Speaks,
                has_begun: going < begun || (is_born && going == 0),
            };
        }
        let is_alone = household.said.at != end || family.has_bystanders;
        Beside {
            kin: if is_alone { Kin::Silent } else { Kin::Others },
            has_begun: is_born,
        }
    }

    fn households(&self, service: usize, host: HostId) -> impl Iterator<Item = &Household> {
        let indices = self.by_host.get(&(service, host)).into_iter().flatten();
        indices.map(|index| &self.households[*index as usize])
    }
}

impl Household {
    /// Whether its process began in the bucket with this end. What tells that of the host may be of another job,
    /// if all of this one go on.
    fn is_born(&self, end: Timestamp) -> bool {
        let Said { at, begun, going } = self.said;
        let is_told = self.born == end && (0 < begun || going == 0);
        at == end && (going < begun || is_told)
    }
}

impl Said {
    const NOTHING: Self = Self {
        at: Timestamp::MIN,
        begun: 0,
        going: 0,
    };

    fn hear(&mut self, life: Life, end: Timestamp) {
        if self.at != end {
            *self = Self {
                at: end,
                ..Self::NOTHING
            };
        }
        match life {
            Life::Unknown => {}
            Life::GoesOn => self.going += 1,
            Life::Begun { .. } => self.begun += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::METRIC_NAME, reduce::IncreasePartial};

    /// Job, name, and what it said.
    type Spoken<'a> = (&'a str, &'a str, Life);

    const HOST: (usize, HostId) = (0, HostId(0));
    const OTHER: (usize, HostId) = (0, HostId(1));

    fn labels(name: &str, job: &str) -> Labels {
        Labels::new([(METRIC_NAME, name), ("job", job)])
    }

    fn did(life: Life) -> Partial {
        Partial::Increase(IncreasePartial {
            increase: 1.0,
            seconds: 10.0,
            resets: 0,
            life,
        })
    }

    const BEGUN: Life = Life::Begun {
        lost: 9.0,
        counted: 1.0,
    };

    /// What is beside a counter `served` of the app on [`HOST`], where counters of a job and a name said this.
    fn beside(said: &[Spoken<'_>], is_bystander: bool, is_born: bool) -> Option<Beside> {
        let mut families = Families::default();
        let end = Timestamp::from_seconds(10);
        families.join(HOST, &labels("served", "app"), is_bystander);
        for (job, name, life) in said {
            let family = families.join(HOST, &labels(name, job), false);
            families.hear(family, &did(*life), end);
        }
        if is_born {
            families.born(0, HostId(0), end);
        }
        families.beside(HOST, "served", end)
    }

    #[test]
    fn a_process_is_told_by_its_name_its_job_and_what_the_host_says() {
        use Kin::{Others, Silent, Speaks};
        use Life::{GoesOn, Unknown};
        let cases: [(&[Spoken<'_>], bool, (Kin, bool)); 9] = [
            (&[("app", "served", GoesOn)], true, (Speaks, false)),
            (&[("app", "served", BEGUN)], false, (Speaks, true)),
            (&[("app", "served", Unknown)], true, (Speaks, true)),
            (&[("app", "read", GoesOn)], false, (Others, false)),
            (&[("app", "read", BEGUN)], false, (Others, true)),
            (&[("app", "read", Unknown)], true, (Others, true)),
            // One of an agent beside it, whose own process may be what began.
            (&[("agent", "read", BEGUN)], true, (Silent, false)),
            (
                &[("agent", "read", BEGUN), ("app", "read", GoesOn)],
                true,
                (Others, false),
            ),
            (
                &[("app", "served", BEGUN), ("app", "served", GoesOn)],
                false,
                (Speaks, false),
            ),
        ];
        for (said, is_born, (kin, has_begun)) in cases {
            let found = beside(said, false, is_born);
            assert_eq!(found, Some(Beside { kin, has_begun }), "{said:?} {is_born}");
        }
        let bystander = beside(&[("app", "read", BEGUN)], true, false).unwrap();
        assert_eq!(bystander.kin, Silent, "others of the name are not heard");
    }

    #[test]
    fn others_of_a_name_that_only_metadata_tells_are_not_heard() {
        let end = Timestamp::from_seconds(10);
        for (is_told, here, never) in [
            (false, Some(Kin::Others), Some(Kin::Others)),
            (true, Some(Kin::Silent), None),
        ] {
            let mut families = Families::default();
            families.join(HOST, &labels("served", "app"), false);
            families.join(OTHER, &labels("never", "app"), false);
            if is_told {
                families.miss(0, "served");
                families.miss(0, "never");
            }
            let family = families.join(HOST, &labels("read", "app"), false);
            families.hear(family, &did(Life::GoesOn), end);
            let kin = |name| families.beside(HOST, name, end).map(|found| found.kin);
            assert_eq!((kin("served"), kin("never")), (here, never), "{is_told}");
            let served = families.join(HOST, &labels("served", "app"), false);
            families.hear(served, &did(Life::GoesOn), end);
            let kin = families.beside(HOST, "served", end).map(|found| found.kin);
            assert_eq!(kin, Some(Kin::Speaks));
        }
    }

    #[test]
    fn of_a_name_that_a_host_never_had_only_its_job_tells() {
        for (job, expected) in [("app", Some(Kin::Others)), ("agent", None)] {
            let mut families = Families::default();
            families.join(OTHER, &labels("served", "app"), false);
            let family = families.join(HOST, &labels("read", job), false);
            let end = Timestamp::from_seconds(10);
            families.hear(family, &did(Life::GoesOn), end);
            let found = families.beside(HOST, "served", end);
            assert_eq!(found.map(|found| found.kin), expected, "{job}");
            assert_eq!(families.beside(HOST, "unheard", end), None);
        }
    }
}
