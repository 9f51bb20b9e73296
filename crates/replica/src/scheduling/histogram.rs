//! How often which waits occurred: buckets that grow with the values, eight to each doubling, so that a percentile
//! is off by a sixteenth of itself at most.

/// Below it, each millisecond has a bucket of its own.
const EXACT: u64 = 16;
/// Buckets to a doubling, as a power of two.
const PART_BITS: u32 = 3;
/// Longer waits, of 49 days and more, count as that.
const LARGEST: u64 = (1 << 32) - 1;
const BUCKETS: usize = 16 + 28 * (1 << PART_BITS);

/// Takes a kilobyte from the first value on.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram(Option<Box<[u32; BUCKETS]>>);

impl Histogram {
    pub(super) fn record(&mut self, ms: u64) {
        let counts = self.0.get_or_insert_with(|| Box::new([0; BUCKETS]));
        let count = &mut counts[bucket(ms)];
        *count = count.saturating_add(1);
    }

    pub(super) fn add(&mut self, other: &Self) {
        let Some(more) = &other.0 else { return };
        let counts = self.0.get_or_insert_with(|| Box::new([0; BUCKETS]));
        counts.iter_mut().zip(more.iter()).for_each(|(count, more)| *count = count.saturating_add(*more));
    }

    /// The value that so large a part of all is not above, in milliseconds: the middle of its bucket.
    pub(super) fn quantile(&self, part: f64) -> Option<f64> {
        let counts = self.0.as_ref()?;
        let all: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let rank = ((all as f64 * part).ceil() as u64).clamp(1, all);
        let mut below = 0;
        let at = counts.iter().position(|count| {
            below += u64::from(*count);
            below >= rank
        });
        at.map(middle)
    }
}

fn bucket(ms: u64) -> usize {
    let ms = ms.min(LARGEST);
    if ms < EXACT {
        return ms as usize;
    }
    let doublings = ms.ilog2();
    let part = (ms >> (doublings - PART_BITS)) & ((1 << PART_BITS) - 1);
    EXACT as usize + ((doublings as usize - 4) << PART_BITS) + part as usize
}

fn middle(bucket: usize) -> f64 {
    let Some(above) = (bucket as u64).checked_sub(EXACT) else { return bucket as f64 };
    let (doublings, part) = ((above >> PART_BITS) + 4, above & ((1 << PART_BITS) - 1));
    let width = 1_u64 << (doublings - u64::from(PART_BITS));
    ((((1 << PART_BITS) + part) * width) as f64) + (width - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn percentiles_are_off_by_a_sixteenth_at_most(mut values in prop::collection::vec(0..1_u64 << 33, 1..200), cut in 0..200_usize) {
            let (mut one, mut other) = (Histogram::default(), Histogram::default());
            for (nth, value) in values.iter().enumerate() {
                if nth < cut { one.record(*value) } else { other.record(*value) }
            }
            one.add(&other);
            values.sort_unstable();
            for part in [0.01, 0.5, 0.9, 0.99, 1.0] {
                let rank = (values.len() as f64 * part).ceil() as usize;
                let exact = values[rank - 1].min(LARGEST) as f64;
                let found = one.quantile(part).unwrap();
                prop_assert!((found - exact).abs() <= exact / 16.0, "{part}: {found} for {exact}");
            }
        }
    }

    #[test]
    fn of_nothing_there_is_no_percentile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}
