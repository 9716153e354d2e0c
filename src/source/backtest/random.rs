//! Choices from a seed.

/// Numbers that look random and are the same in every run and on every machine.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// In `0..bound`, which is not empty.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// So many of the values, each equally likely, in their order.
    pub(super) fn choose<T>(&mut self, mut values: Vec<T>, count: usize) -> Vec<T> {
        let mut left = count.min(values.len());
        let mut remaining = values.len();
        values.retain(|_| {
            let is_chosen = left > 0 && self.below(remaining as u64) < left as u64;
            left -= usize::from(is_chosen);
            remaining -= 1;
            is_chosen
        });
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_chosen_equally_often() {
        let mut random = Random::new(1);
        let mut counts = [0; 5];
        for _ in 0..5_000 {
            let chosen = random.choose((0..5).collect::<Vec<usize>>(), 2);
            assert!(chosen.len() == 2 && chosen[0] < chosen[1]);
            for index in chosen {
                counts[index] += 1;
            }
        }
        // 2,000 expected, with a standard deviation of 35.
        assert!(
            counts.iter().all(|count| (1_850..2_150).contains(count)),
            "{counts:?}"
        );
        assert_eq!(random.choose(vec![1, 2], 5), [1, 2]);
    }
}
