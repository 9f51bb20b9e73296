//! How a quantity is distributed, as the share of jobs that have at most so much.

use hdrhistogram::Histogram;

/// Two digits are more than a plot shows.
const DIGITS: u8 = 2;
/// In thousandths: 500 years, if they are seconds. What is more counts as that.
const MOST: u64 = 1 << 44;
/// Points of a curve.
const POINTS: usize = 160;

/// Counts values in thousandths.
#[derive(Clone, Debug)]
pub(super) struct Distribution(Histogram<u64>);

impl Distribution {
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_max(MOST, DIGITS).expect("two digits are possible"))
    }

    pub(super) fn add(&mut self, thousandths: u64) {
        self.0.saturating_record(thousandths);
    }

    /// The cumulative distribution: points (value, share of jobs at or below it), in the value's order.
    pub(super) fn curve(&self) -> Vec<(f64, f64)> {
        let all = self.0.len() as f64;
        let mut seen = 0;
        let mut points: Vec<(f64, f64)> = Vec::new();
        for step in self.0.iter_recorded() {
            seen += step.count_at_value();
            points.push((step.value_iterated_to() as f64 / 1000.0, seen as f64 / all));
        }
        thinned(&points)
    }
}

/// At most about [`POINTS`] of the points, the first and the last among them.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(POINTS).max(1);
    let last = points.len().saturating_sub(1);
    points.iter().enumerate().filter(|(at, _)| at % step == 0 || *at == last).map(|(_, point)| *point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_ends_at_one() {
        let mut waits = Distribution::new();
        for ms in [0, 0, 1000, 50_000] {
            waits.add(ms);
        }
        let curve = waits.curve();
        assert_eq!(curve[0], (0.0, 0.5));
        assert_eq!(curve[1].1, 0.75);
        let (largest, share) = curve[2];
        assert!((largest - 50.0).abs() < 0.5 && share == 1.0, "{curve:?}");
    }

    #[test]
    fn many_points_become_few() {
        let points: Vec<(f64, f64)> = (0..1000).map(|at| (f64::from(at), 0.0)).collect();
        let few = thinned(&points);
        assert!(few.len() <= POINTS + 1);
        assert_eq!((few[0].0, few[few.len() - 1].0), (0.0, 999.0));
    }
}
