//! A quantity that rises and falls, averaged over equal intervals of a time whose end is not known beforehand.
//!
//! When the intervals run out, neighbours are merged and each becomes twice as long: memory stays the same however
//! long the time is. Changes may come in any order.

use quorate_types::Timestamp;

/// About as many as a plot has pixels.
const INTERVALS: usize = 1024;
const WIDTH_MS: u64 = 1000;

/// Adds up changes of a quantity.
#[derive(Clone, Debug)]
pub(super) struct Series {
    begin: Timestamp,
    width_ms: u64,
    intervals: Vec<Interval>,
    newest: Timestamp,
}

/// What changes within one interval.
#[derive(Clone, Copy, Debug, Default)]
struct Interval {
    /// Sum of all changes.
    change: f64,
    /// Sum of each change × what is left of the interval after it, in milliseconds.
    area: f64,
}

impl Series {
    pub(super) fn new(begin: Timestamp) -> Self {
        Self { begin, width_ms: WIDTH_MS, intervals: vec![Interval::default(); INTERVALS], newest: begin }
    }

    /// The quantity changes by `change` at `at`.
    pub(super) fn change(&mut self, at: Timestamp, change: f64) {
        let since_ms = at.since(self.begin).0;
        while since_ms / self.width_ms >= INTERVALS as u64 {
            self.merge();
        }
        let interval = &mut self.intervals[(since_ms / self.width_ms) as usize];
        interval.change += change;
        interval.area += change * (self.width_ms - since_ms % self.width_ms) as f64;
        self.newest = self.newest.max(at);
    }

    fn merge(&mut self) {
        let width = self.width_ms as f64;
        for at in 0..INTERVALS / 2 {
            let [left, right] = [self.intervals[2 * at], self.intervals[2 * at + 1]];
            let area = left.area + left.change * width + right.area;
            self.intervals[at] = Interval { change: left.change + right.change, area };
        }
        self.intervals[INTERVALS / 2..].fill(Interval::default());
        self.width_ms *= 2;
    }

    /// The mean of each interval, up to the last change, with the interval's begin.
    pub(super) fn means(&self) -> Vec<(Timestamp, f64)> {
        let used = (self.newest.since(self.begin).0 / self.width_ms) as usize + 1;
        let mut before = 0.0;
        let mut means = Vec::with_capacity(used);
        for (at, interval) in (0u64..).zip(&self.intervals[..used]) {
            let mean = before + interval.area / self.width_ms as f64;
            // What rounding left over of nothing.
            means.push((Timestamp(self.begin.0 + at * self.width_ms), if mean.abs() < 1e-6 { 0.0 } else { mean }));
            before += interval.change;
        }
        means
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_those_of_the_quantity() {
        let mut series = Series::new(Timestamp(10_000));
        // The end is told before the begin.
        series.change(Timestamp(12_500), -4.0);
        series.change(Timestamp(10_250), 4.0);
        assert_eq!(series.means(), [(Timestamp(10_000), 3.0), (Timestamp(11_000), 4.0), (Timestamp(12_000), 2.0)]);
    }

    #[test]
    fn a_long_time_has_as_many_intervals_and_the_same_area() {
        let mut series = Series::new(Timestamp(0));
        series.change(Timestamp(500), 2.0);
        series.change(Timestamp(700_500), -2.0);
        series.change(Timestamp(3_000_000_000), 1.0);
        let means = series.means();
        assert!((INTERVALS / 2..=INTERVALS).contains(&means.len()), "{}", means.len());
        let area: f64 = means.iter().map(|(_, mean)| mean * series.width_ms as f64).sum();
        let rest = (means.len() as u64 * series.width_ms - 3_000_000_000) as f64;
        assert!((area - 1_400_000.0 - rest).abs() < 1.0, "{area} {rest}");
    }
}
