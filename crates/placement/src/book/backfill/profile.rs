//! What one worker will have free, from now on, if everything ends when it is expected to.

use quorate_types::{Span, Timestamp};

use crate::book::member::Member;
use crate::book::vector::Vector;

/// From when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) start: Timestamp,
    /// The largest time if nobody knows it.
    pub(super) end: Timestamp,
}

impl Stretch {
    pub(super) fn new(start: Timestamp, length: Option<Span>) -> Self {
        Self { start, end: length.map_or(Timestamp(u64::MAX), |length| start.plus(length)) }
    }
}

/// What is free from each point in time until the next; never empty, and in order.
#[derive(Clone, Debug)]
pub(super) struct Profile(Vec<(Timestamp, Vector)>);

impl Profile {
    pub(super) fn of(member: &Member, now: Timestamp) -> Self {
        let mut steps = vec![(now, member.room)];
        for (end, free) in member.openings() {
            // What should have ended by now will any moment.
            match steps.last_mut() {
                Some(step) if end <= step.0 => step.1 = free,
                Some(_) | None => steps.push((end, free)),
            }
        }
        Self(steps)
    }

    /// Whether so much is free all the time.
    pub(super) fn fits(&self, stretch: Stretch, wanted: &Vector) -> bool {
        self.covered(stretch).all(|(_, free)| wanted.fits(free))
    }

    /// The first stretch of this length in which so much is free.
    pub(super) fn earliest(&self, length: Option<Span>, wanted: &Vector) -> Option<Stretch> {
        self.earliest_from(Timestamp(0), length, wanted)
    }

    /// The same, of those that begin no earlier than `from`.
    pub(super) fn earliest_from(&self, from: Timestamp, length: Option<Span>, wanted: &Vector) -> Option<Stretch> {
        let mut found: Option<Stretch> = None;
        let first = self.0.partition_point(|(at, _)| *at <= from).saturating_sub(1);
        for (at, free) in self.0[first..].iter().map(|(at, free)| (at.max(&from), free)) {
            if found.is_some_and(|found| *at >= found.end) {
                break;
            }
            match wanted.fits(free) {
                true => found = found.or(Some(Stretch::new(*at, length))),
                false => found = None,
            }
        }
        found
    }

    /// Uses so much of what is free.
    pub(super) fn take(&mut self, stretch: Stretch, wanted: &Vector) {
        self.split_at(stretch.start);
        self.split_at(stretch.end);
        self.change(stretch, |free| free.minus(wanted));
    }

    /// The reverse of [`Self::take`].
    pub(super) fn give_back(&mut self, stretch: Stretch, wanted: &Vector) {
        self.change(stretch, |free| free.plus(wanted));
    }

    fn covered(&self, stretch: Stretch) -> impl Iterator<Item = &(Timestamp, Vector)> {
        let first = self.0.partition_point(|(at, _)| *at <= stretch.start).saturating_sub(1);
        self.0[first..].iter().take_while(move |(at, _)| *at < stretch.end)
    }

    fn change(&mut self, stretch: Stretch, changed: impl Fn(Vector) -> Vector) {
        let within = self.0.iter_mut().filter(|(at, _)| (stretch.start..stretch.end).contains(at));
        within.for_each(|(_, free)| *free = changed(*free));
    }

    /// Makes a step there, unless there is one, or it is before all or never.
    fn split_at(&mut self, at: Timestamp) {
        let next = self.0.partition_point(|(step, _)| *step <= at);
        if next > 0 && self.0[next - 1].0 < at && at != Timestamp(u64::MAX) {
            let free = self.0[next - 1].1;
            self.0.insert(next, (at, free));
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_types::Resources;

    use super::*;
    use crate::book::vector::Kinds;

    fn cores(count: u64) -> Vector {
        Kinds::default().vector(&Resources::new(count, 0))
    }

    #[test]
    fn the_earliest_stretch_is_the_first_that_is_free_throughout() {
        let mut profile = Profile(vec![(Timestamp(0), cores(2)), (Timestamp(10), cores(8))]);
        let stretch = |start, end| Stretch { start: Timestamp(start), end: Timestamp(end) };
        assert_eq!(profile.earliest(Some(Span(5)), &cores(4)), Some(stretch(10, 15)));
        profile.take(stretch(12, 20), &cores(6));
        assert_eq!(profile.earliest(Some(Span(2)), &cores(4)), Some(stretch(10, 12)));
        assert_eq!(profile.earliest(Some(Span(3)), &cores(4)), Some(stretch(20, 23)));
        assert_eq!(profile.earliest(None, &cores(2)), Some(stretch(0, u64::MAX)));
        assert_eq!(profile.earliest(None, &cores(3)), Some(stretch(20, u64::MAX)));
        assert_eq!(profile.earliest(Some(Span(1)), &cores(9)), None);
        assert!(profile.fits(stretch(5, 30), &cores(2)) && !profile.fits(stretch(15, 16), &cores(3)));
        profile.give_back(stretch(12, 20), &cores(6));
        assert_eq!(profile.earliest(Some(Span(3)), &cores(4)), Some(stretch(10, 13)));
    }
}
