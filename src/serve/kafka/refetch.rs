//! What the journal only has the range of is read again.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tracing::warn;

use super::{
    super::fetched::{Away, Refetch, Refetched},
    Decoding, KafkaSource, partition,
};
use crate::{
    event::Batch,
    journal::OffsetRange,
    plan::Plan,
    source::kafka::{Piece, Rereader},
};

/// How long one attempt to fetch a range again may go without anything coming.
const REFETCH_PATIENCE: Duration = Duration::from_secs(5);

/// Fetches again what a journal only has the range of.
///
/// # Errors
/// The configuration of a source cannot be used.
pub(in crate::serve) fn sources(
    sources: &[Arc<KafkaSource>],
    plan: &Plan,
) -> Result<Option<Box<dyn Refetch>>, String> {
    let mut again = Again(Vec::new());
    for source in sources {
        let rereader = Rereader::new(&source.plan).map_err(|error| format!("sources: {error}"))?;
        again
            .0
            .push((Decoding::new(&source.plan, plan, BTreeSet::new()), rereader));
    }
    Ok((!again.0.is_empty()).then(|| Box::new(again) as Box<dyn Refetch>))
}

/// Reads messages again, of each source those of its topics.
#[derive(Debug)]
struct Again(Vec<(Decoding, Rereader)>);

impl Refetch for Again {
    fn refetch(
        &mut self,
        range: &OffsetRange,
        each: &mut dyn FnMut(&Batch),
    ) -> Result<Refetched, Away> {
        let mut sources = self.0.iter_mut();
        let source = sources.find(|(decoding, _)| decoding.plan.topics.contains_key(&range.topic));
        let Some((decoding, rereader)) = source else {
            warn!(
                topic = range.topic,
                "messages of a topic are gone that no source names any more"
            );
            return Ok(Refetched::Torn);
        };
        if decoding.tells(&range.topic).is_some() && range.from < range.until {
            warn!(
                topic = range.topic,
                "messages are gone of a topic that tells of deployments now"
            );
            return Ok(Refetched::Torn);
        }
        let partition = partition(&range.topic, range.partition);
        let pieces = rereader
            .read(&partition, range.from..range.until, REFETCH_PATIENCE)
            .map_err(|error| Away {
                reason: error.to_string(),
            })?;
        let mut refetched = Refetched::Whole;
        for piece in pieces {
            match piece {
                Piece::Chunk(chunk) => {
                    let topic = &chunk.partition.topic;
                    let messages = chunk.messages.iter();
                    // What could not be decoded was told when it came.
                    for batch in messages.filter_map(|message| decoding.decode(topic, message).ok())
                    {
                        each(&batch);
                    }
                }
                Piece::Lost(lost) => {
                    warn!(
                        partition = %lost.partition,
                        from = lost.from,
                        until = lost.until,
                        reason = lost.reason.name(),
                        "messages that were taken are gone: open deployments cannot pass any more"
                    );
                    refetched = Refetched::Torn;
                }
            }
        }
        Ok(refetched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_a_topic_that_tells_of_deployments_now_is_a_hole() {
        let plan = Plan::parse(
            "checks: {}\nservices: {s: {stages: [{name: a, steps: [t]}]}}\nsources: [{kafka: {brokers: \
             ['127.0.0.1:1'], topics: {d: {format: json-deployments}}}}]\n",
        )
        .unwrap();
        let all = KafkaSource::all(&plan).unwrap();
        let mut again = sources(&all, &plan).unwrap().unwrap();
        let mut asked = |from, until| {
            let range = OffsetRange {
                topic: "d".to_owned(),
                partition: 0,
                from,
                until,
            };
            again.refetch(&range, &mut |batch| panic!("{batch:?}"))
        };
        assert_eq!(asked(3, 7), Ok(Refetched::Torn));
        // Nothing was taken of it but events, which the journal has.
        assert_eq!(asked(7, 7), Ok(Refetched::Whole));
    }
}
