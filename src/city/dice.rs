//! Chance that a seed repeats: the same seed gives the same city, byte for byte, on every machine.
//!
//! SplitMix64. It need not be secret; it has to be the same next year, so no crate's promise is in it.

/// A stream of numbers that a seed repeats.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The stream of `seed` for one purpose or family: streams of two of them tell nothing of each other.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut dice = Self(seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0, below `end`; 0 where there is nothing to choose from.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(self.next() % end.max(1)).unwrap_or(0)
    }

    /// Both ends included.
    pub(super) fn between(&mut self, from: i64, to: i64) -> i64 {
        let width = usize::try_from(to.saturating_sub(from).saturating_add(1)).unwrap_or(1);
        from.saturating_add(i64::try_from(self.below(width)).unwrap_or(0))
    }

    /// True in so many of a thousand.
    pub(super) fn in_thousand(&mut self, many: usize) -> bool {
        self.below(1_000) < many
    }

    /// One of them; the default where there is none.
    pub(super) fn pick<T: Copy + Default>(&mut self, from: &[T]) -> T {
        from.get(self.below(from.len())).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        let mut dice = Dice::new(7, 0);
        let first: Vec<usize> = (0..8).map(|_| dice.below(100)).collect();
        let mut again = Dice::new(7, 0);
        assert_eq!(first, (0..8).map(|_| again.below(100)).collect::<Vec<_>>());
        let mut other = Dice::new(7, 1);
        assert_ne!(first, (0..8).map(|_| other.below(100)).collect::<Vec<_>>());
        assert_eq!(Dice::new(20_260_105, 3).below(1_000_000), PINNED, "a new stream would make every documented result another one");
    }

    const PINNED: usize = 167_196;

    #[test]
    fn chance_keeps_its_bounds_and_reaches_them() {
        let mut dice = Dice::new(1, 1);
        let drawn: std::collections::BTreeSet<i64> = (0..200).map(|_| dice.between(-1, 2)).collect();
        assert_eq!(drawn, [-1, 0, 1, 2].into());
        assert_eq!(dice.pick::<u8>(&[]), 0);
    }
}
