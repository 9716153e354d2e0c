//! The watch over one track: evidence, block by block, that it left its history.

use serde::{Deserialize, Serialize};

use super::baseline::{Baseline, block_median, ratio};
use crate::{
    detect::{Track, Unsound, flat::Flat, state::counted},
    event::{Interval, Span, Timestamp},
    plan::Direction,
};

/// Sizes of a shift, in standard deviations of innovations, that the evidence is collected for.
const SHIFTS: [f64; 4] = [0.25, 0.5, 1.0, 2.0];
/// Innovations are clipped here: one wild block must not decide.
const CLIP: f64 = 4.0;
/// Blocks in a row that must deviate.
const BLOCKS_MIN: u32 = 2;
/// Deviation, as a share of the level, below which nobody needs to know.
const EFFECT_MIN: f64 = 0.05;
/// Extrapolates the largest of `n` past blocks to the largest of more: the tail of real metrics
/// falls with about this power.
const TAIL_POWER: f64 = 0.13;
/// How far beyond its past a host must go at least and at most, and how much farther where no fleet
/// tells whether the world changed.
const MARGIN_MIN: f64 = 1.25;
const MARGIN_MAX: f64 = 4.0;
const MARGIN_ALONE: f64 = 1.4;

/// Past blocks of a lone host without which its statistics only inform. Of deployments that never
/// happened, cut from recordings of real servers, each host alone, they failed 26 of 140 with 24 blocks
/// of half an hour, 7 of 140 with 32 and none of 140 with 40; with blocks of six minutes 2 of 10 with
/// 40, and none of 30 with 60 and more.
const LONE_BLOCKS_MIN: usize = 45;

/// The watch over one track.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Watch {
    pub(super) baseline: Baseline,
    /// The watch over runs of equal values, where nobody else tells whether standing still is news.
    flat: Option<Flat>,
    /// Logarithms of the e-CUSUMs, by side (up, down) and shift.
    evidence: [[f64; 4]; 2],
    /// Standardised deviation of the block before, and its end.
    before: Option<(f64, Timestamp)>,
    /// Blocks in a row that deviate by k or more, and to which side.
    run: u32,
    side: f64,
    /// Start of the run.
    pub(super) first: Timestamp,
    /// The latest block.
    pub(super) latest: Option<Block>,
}

/// What the latest block of a track said.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Block {
    /// Its time.
    pub(super) interval: Interval,
    /// Its median.
    pub(super) observed: f64,
    /// What the history expects.
    pub(super) expected: f64,
    /// The deviation in robust standard deviations of single values.
    pub(super) sigmas: f64,
    /// The smallest deviation that would have been a breach, in units of the metric.
    pub(super) needed: f64,
    /// What is to say.
    pub(super) judgement: Judgement,
}

/// What is to say of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Judgement {
    /// Within k.
    InRange,
    /// Beyond k, but not for long enough, or not farther than the past could go.
    Suspect,
    /// Out of its history, for good.
    Out,
    /// It stands still, which it never does.
    Still,
    /// Out of its history, but a lone host's history is too short to carry a verdict.
    Advisory,
}

/// What all watches of a check share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) k: f64,
    pub(super) direction: Direction,
    /// Length of the bake.
    pub(super) bake: Span,
    /// How many tracks are watched, over the check's alpha.
    pub(super) tracks_over_alpha: f64,
    /// Whether there is no fleet that tells whether the world changed.
    pub(super) is_alone: bool,
}

impl Watch {
    pub(super) fn new(baseline: Baseline, flat: Option<Flat>) -> Self {
        Self {
            baseline,
            flat,
            evidence: [[0.0; 4]; 2],
            before: None,
            run: 0,
            side: 0.0,
            first: Timestamp::MIN,
            latest: None,
        }
    }

    /// Refuses a saved watch that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        counted("number of blocks", u64::from(self.run))?;
        self.flat.iter().try_for_each(Flat::check)?;
        self.baseline.check()
    }

    /// Whether a block ends with this bucket.
    pub(super) fn is_due(&self, bucket: Interval, resolution: Span) -> bool {
        let number = bucket.end.nanos().div_euclid(resolution.nanos());
        number.rem_euclid(self.baseline.block as i64) == 0
    }

    /// Takes the block that ends with the bucket, if it lies after `from` and has data.
    pub(super) fn take(
        &mut self,
        track: &Track,
        resolution: Span,
        end: Timestamp,
        from: Timestamp,
        terms: &Terms,
    ) {
        let interval = Interval {
            start: end - resolution.times(self.baseline.block as i64),
            end,
        };
        if interval.start < from {
            return;
        }
        let weighted = track.weighted(resolution, interval.start, end);
        let values: Vec<f64> = weighted.map(ratio).collect();
        let expected = self.baseline.center(interval.start);
        let still = self.stands_still(&values, expected, track.is_exposed(), terms);
        let Some(observed) = block_median(values.into_iter()) else {
            self.run = 0;
            return;
        };
        let deviation = observed - expected;
        self.collect(deviation, interval);
        let side = if deviation < 0.0 { -1.0 } else { 1.0 };
        let is_harm = match terms.direction {
            Direction::Both => true,
            Direction::Up => 0.0 < side,
            Direction::Down => side < 0.0,
        };
        let sigmas = deviation / self.baseline.scale;
        let needed = self.needed(resolution, terms);
        let judgement = if !is_harm || sigmas.abs() < terms.k {
            self.run = 0;
            Judgement::InRange
        } else {
            if self.run == 0 || self.side != side {
                self.run = 0;
                self.side = side;
                self.first = interval.start;
            }
            self.run += 1;
            if BLOCKS_MIN <= self.run
                && needed <= deviation.abs()
                && self.threshold(resolution, terms) <= self.evidence_of(side)
            {
                if terms.is_alone && self.baseline.blocks < LONE_BLOCKS_MIN {
                    Judgement::Advisory
                } else {
                    Judgement::Out
                }
            } else {
                Judgement::Suspect
            }
        };
        let judgement = match (judgement, still) {
            (Judgement::InRange | Judgement::Suspect | Judgement::Advisory, Some(samples)) => {
                self.first = end - resolution.times(samples as i64);
                Judgement::Still
            }
            (judgement, _) => judgement,
        };
        self.latest = Some(Block {
            interval,
            observed,
            expected,
            sigmas,
            needed,
            judgement,
        });
    }

    /// For how many samples the values have stood still, if that is suspicious, with those of a block.
    fn stands_still(
        &mut self,
        values: &[f64],
        expected: f64,
        has_exposure: bool,
        terms: &Terms,
    ) -> Option<usize> {
        let harmless_from = terms.k * self.baseline.scale;
        // No event though there are occasions, or out on the side that is no harm: it may stand there.
        let is_harmless = |value: f64| {
            let out = match terms.direction {
                Direction::Both => 0.0,
                Direction::Up => expected - value,
                Direction::Down => value - expected,
            };
            (value == 0.0 && (has_exposure || 0.0 < out)) || (0.0 < out && harmless_from <= out)
        };
        let flat = self.flat.as_mut()?;
        for value in values {
            flat.take(&[*value], &[]);
            if is_harmless(*value) {
                flat.excuse(0);
            }
        }
        flat.stands_still()
    }

    /// Forgets the evidence: the fleet moved too.
    pub(super) fn excuse(&mut self) {
        self.evidence = [[0.0; 4]; 2];
        self.run = 0;
        if let Some(latest) = &mut self.latest {
            latest.judgement = Judgement::Suspect;
        }
    }

    /// Feeds the e-CUSUMs with the innovation of a block. What is expected under health is at most
    /// 1 for each factor, so that each start of the sum crosses `1 / p` with chance `p`.
    fn collect(&mut self, deviation: f64, interval: Interval) {
        let z = deviation / self.baseline.block_scale;
        let phi = self.baseline.phi;
        let innovation = match self.before {
            Some((before, end)) if end == interval.start => {
                (z - phi * before) / (1.0 - phi * phi).sqrt()
            }
            Some(_) | None => z,
        }
        .clamp(-CLIP, CLIP);
        // A clipped past keeps the next innovation of a return to normal small.
        self.before = Some((z.clamp(-CLIP, CLIP), interval.end));
        for (sums, side) in self.evidence.iter_mut().zip([1.0, -1.0]) {
            for (sum, shift) in sums.iter_mut().zip(SHIFTS) {
                *sum = sum.max(0.0) + shift * side * innovation - shift * shift / 2.0;
            }
        }
    }

    /// Logarithm of the evidence for a side: the mean over the shifts.
    fn evidence_of(&self, side: f64) -> f64 {
        let sums = &self.evidence[usize::from(side < 0.0)];
        let largest = sums.iter().fold(f64::NEG_INFINITY, |max, sum| sum.max(max));
        let total: f64 = sums.iter().map(|sum| (sum - largest).exp()).sum();
        largest + (total / SHIFTS.len() as f64).ln()
    }

    /// Learns from the past of a lone host how long its values ever stood still.
    pub(super) fn stillness(
        baseline: &Baseline,
        track: &Track,
        resolution: Span,
        before: Timestamp,
        terms: &Terms,
    ) -> Option<Flat> {
        let weighted = track.weighted(resolution, Timestamp::MIN, before);
        let past: Vec<f64> = weighted.map(ratio).collect();
        let samples = terms.bake.seconds_f64() / resolution.seconds_f64();
        let looks = samples.max(1.0) * terms.tracks_over_alpha;
        Flat::learn(&[past], &[], baseline.size, looks, 1.0)
    }

    fn blocks_of_bake(&self, resolution: Span, terms: &Terms) -> f64 {
        let length = resolution.times(self.baseline.block as i64);
        (terms.bake.seconds_f64() / length.seconds_f64()).max(1.0)
    }

    /// Logarithm of the evidence that a breach needs: over all blocks, tracks and both sides the
    /// chances add up to alpha.
    fn threshold(&self, resolution: Span, terms: &Terms) -> f64 {
        (2.0 * self.blocks_of_bake(resolution, terms) * terms.tracks_over_alpha).ln()
    }

    /// The smallest deviation that is a breach: k, the past's largest times a margin, and what
    /// anybody needs to know.
    fn needed(&self, resolution: Span, terms: &Terms) -> f64 {
        let blocks = self.blocks_of_bake(resolution, terms);
        let margin = (blocks * terms.tracks_over_alpha / self.baseline.blocks as f64)
            .powf(TAIL_POWER)
            .clamp(MARGIN_MIN, MARGIN_MAX)
            * if terms.is_alone { MARGIN_ALONE } else { 1.0 };
        (terms.k * self.baseline.scale)
            .max(margin * self.baseline.deviation_max)
            .max(EFFECT_MIN * self.baseline.size)
    }
}
