//! Samples that tell another kind than that of their series, or another unit → no values of it, until it is bound
//! anew.
//!
//! A release that turns a gauge into a counter leaves the labels as they are. What its series gains then is no
//! level, and what was a level before is no gain: such samples are lost, and their check is `NO_DATA`. Only what is
//! told counts: a sender that tells no kind contradicts nothing, nor does one whose kind the configuration
//! overrules.
//!
//! The series keeps its kind until it would be forgotten if it had been silent meanwhile: no check remembers
//! anything of it then, and the tick that forgets binds it anew as what it told last. That depends on closed
//! buckets alone. If it tells its old kind again before, it goes on where it stood.

use serde::{Deserialize, Serialize};

use super::{Reducer, bucket::Sample, selected::hour};
use crate::event::{Kind, SeriesMeta, Temporality, Timestamp, Unit};

/// What was told last against the kind of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contradicted {
    kind: Kind,
    temporality: Temporality,
    unit: Unit,
    /// When, in hours: see [`hour`].
    hour: u32,
}

impl Contradicted {
    /// As what a series is bound anew that has told nothing of what it was bound as since an hour; `None` if it has
    /// told nothing else since either.
    pub(super) fn since(self, hour: u32) -> Option<SeriesMeta> {
        let Self {
            kind,
            temporality,
            unit,
            ..
        } = self;
        (hour <= self.hour).then_some(SeriesMeta {
            kind,
            temporality,
            unit,
        })
    }
}

impl Reducer {
    /// Moves the samples of a series in one bucket, ascending by time, that fit its kind to the front; gives how
    /// many they are, and notes the latest other one.
    pub(super) fn fitting(&mut self, id: u32, run: &mut [Sample], bucket: Timestamp) -> usize {
        let known = &self.selected[id as usize];
        let own = [Kind::Unknown, known.meta.kind, known.kind];
        let unit = known.meta.unit;
        let is_own =
            |sample: &Sample| own.contains(&sample.kind()) && !sample.unit().contradicts(unit);
        if run.iter().all(is_own) {
            return run.len();
        }
        let labels = self.registry.labels(id, &self.shards);
        let is_overruled = |kind: Kind| {
            let meta = SeriesMeta { kind, ..known.meta };
            self.shards.select().series(&labels, meta) == Some(known.kind)
        };
        let (mut fitting, mut latest) = (0, None);
        for index in 0..run.len() {
            let sample = run[index];
            let is_of_unit = !sample.unit().contradicts(unit);
            if is_own(&sample) || is_of_unit && is_overruled(sample.kind()) {
                run[fitting] = sample;
                fitting += 1;
            } else {
                latest = Some(sample);
            }
        }
        if let Some(latest) = latest {
            self.selected[id as usize].contradict(Contradicted {
                kind: latest.kind(),
                temporality: latest.temporality(),
                unit: latest.unit(),
                hour: hour(bucket),
            });
        }
        fitting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reduce::{Registration, selected::Selected};

    #[test]
    fn what_was_told_against_a_kind_survives_a_restart() {
        let registration = Registration {
            kind: Kind::Counter,
            host_known_since: None.into(),
        };
        let meta = SeriesMeta::default();
        let mut selected = Selected::new(meta, registration, Timestamp::from_seconds(0));
        let told = Contradicted {
            kind: Kind::Gauge,
            temporality: Temporality::Delta,
            unit: Unit::Seconds,
            hour: 5,
        };
        selected.contradict(told);
        let bytes = postcard::to_allocvec(&selected).expect("it can be written");
        let loaded: Selected = postcard::from_bytes(&bytes).expect("it can be read");
        assert_eq!(loaded.contradicted(), Some(told));
    }
}
