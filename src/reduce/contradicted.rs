//! Samples that tell another kind than that of their series → no values of it, until it is bound anew.
//!
//! A release that turns a gauge into a counter leaves the labels as they are. What its series gains then is no
//! level, and what was a level before is no gain: such samples are lost, and their check is NO_DATA. Only what is
//! told counts: a sender that tells no kind contradicts nothing, nor does one whose kind the configuration
//! overrules.
//!
//! The series keeps its kind until it would be forgotten if it had been silent meanwhile: no check remembers
//! anything of it then, and the tick that forgets binds it anew as what it told last. That depends on closed
//! buckets alone. If it tells its old kind again before, it goes on where it stood.

use serde::{Deserialize, Serialize};

use super::{Reducer, bucket::Sample, selected::hour};
use crate::event::{Kind, SeriesMeta, Temporality, Timestamp};

/// What was told last against the kind of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contradicted {
    kind: Kind,
    temporality: Temporality,
    /// When, in hours: see [`hour`].
    hour: u32,
}

impl Contradicted {
    /// As what a series is bound anew that was bound as `meta` and told nothing of that since an hour; `None` if
    /// it has told nothing else since either.
    pub(super) fn since(self, hour: u32, meta: SeriesMeta) -> Option<SeriesMeta> {
        let Self {
            kind, temporality, ..
        } = self;
        (hour <= self.hour).then_some(SeriesMeta {
            kind,
            temporality,
            ..meta
        })
    }
}

impl Reducer {
    /// Moves the samples of a series in one bucket, ascending by time, that fit its kind to the front; gives how
    /// many they are, and notes the latest other one.
    pub(super) fn fitting(&mut self, id: u32, run: &mut [Sample], bucket: Timestamp) -> usize {
        let known = &self.selected[id as usize];
        let own = [Kind::Unknown, known.meta.kind, known.kind];
        if run.iter().all(|sample| own.contains(&sample.kind())) {
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
            let kind = sample.kind();
            if own.contains(&kind) || is_overruled(kind) {
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
            hour: 5,
        };
        selected.contradict(told);
        let bytes = postcard::to_allocvec(&selected).expect("it can be written");
        let loaded: Selected = postcard::from_bytes(&bytes).expect("it can be read");
        assert_eq!(loaded.contradicted(), Some(told));
    }
}
