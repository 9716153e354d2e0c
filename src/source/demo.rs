//! The recording that comes with the program: real metrics, a bad deployment and a good one.

use super::timeline::Timeline;
use crate::{
    decode::{DecodeError, csv::CsvReader, deployments},
    plan::Plan,
};

const CONFIGURATION: &str =
    include_str!("../../fixtures/recordings/nezha_recommendation/sluice.yaml");
const DEPLOYMENTS: &[u8] =
    include_bytes!("../../fixtures/recordings/nezha_recommendation/deployments.jsonl");
const SAMPLES: &[u8] = include_bytes!("../../fixtures/recordings/nezha_recommendation/pods.csv.gz");

/// Where the recording comes from, for whoever watches it.
pub const SOURCE: &str = "three hours of real metrics of nine Kubernetes pods (the Online Boutique of \
    the Nezha data set, MIT licence)";

/// The configuration of the recording, and what happens in it.
///
/// # Errors
/// The recording was damaged when the program was built.
pub fn recording() -> Result<(Plan, Timeline), DecodeError> {
    let plan = Plan::parse(CONFIGURATION).map_err(|faults| DecodeError::Malformed {
        format: "configuration of the demo",
        offset: 0,
        detail: faults.to_string(),
    })?;
    let mut timeline = Timeline::new(plan.resolution);
    let mut rows = CsvReader::new(flate2::read::MultiGzDecoder::new(SAMPLES))?;
    while let Some(batch) = rows.batch(8_192)? {
        timeline.add(batch);
    }
    for event in deployments::decode(DEPLOYMENTS)? {
        timeline.add_event(event);
    }
    Ok((plan, timeline))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{Engine, Output},
        gate::VerdictState,
    };

    #[test]
    fn the_demo_shows_a_bad_deployment_failed_and_a_good_one_passed() {
        let (plan, timeline) = recording().unwrap();
        let mut engine = Engine::new(plan.into());
        let mut said = Vec::new();
        timeline.play(&mut engine, |outputs, _| {
            said.extend(outputs.drain(..).map(|output| match output {
                Output::Verdict(verdict) => (verdict.deployment, verdict.verdict),
                other => panic!("{other:?}"),
            }));
        });
        let of = |deployment: &str, state| (deployment.to_owned(), state);
        assert_eq!(
            said,
            [
                of("recommendation-v2", VerdictState::Pending),
                of("recommendation-v2", VerdictState::Fail),
                of("recommendation-v3", VerdictState::Pending),
                of("recommendation-v3", VerdictState::Pass),
            ]
        );
    }
}
