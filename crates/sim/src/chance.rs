//! Where a simulation's choices come from: one seed, split into streams that do not disturb each other.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// A stream of choices.
#[derive(Clone, Debug)]
pub(crate) struct Chance(SmallRng);

impl Chance {
    /// `stream` tells streams of one seed apart.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0.random()
    }

    /// From `0` to below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound.max(1))
    }

    /// True `times` times in a thousand.
    pub(crate) fn permille(&mut self, times: u32) -> bool {
        self.0.random_range(0..1000) < times
    }

    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let (least, most) = (least.as_micros() as u64, most.as_micros() as u64);
        Duration::from_micros(self.0.random_range(least..=most.max(least)))
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.below(from.len())) }
    }
}
