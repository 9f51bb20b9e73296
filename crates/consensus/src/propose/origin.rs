//! Numbers this replica's proposals, so that the state machine knows a repetition.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_state::command;

#[derive(Debug)]
pub(crate) struct Origins {
    /// Random for each start: an earlier life's numbers are not confused with this one's.
    incarnation: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    unanswered: BTreeSet<u64>,
}

impl Origins {
    pub(crate) fn new(incarnation: u64) -> Self {
        Self { incarnation, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number, taken until the guard is dropped: after that the proposal is not repeated.
    pub(crate) fn begin(&self) -> OriginGuard<'_> {
        let mut inner = self.inner();
        inner.last += 1;
        let sequence = inner.last;
        inner.unanswered.insert(sequence);
        let answered_below = inner.unanswered.first().copied().unwrap_or(sequence);
        let origin = command::Origin { incarnation: self.incarnation, sequence, answered_below };
        OriginGuard { origins: self, origin }
    }
}

#[derive(Debug)]
pub(crate) struct OriginGuard<'a> {
    origins: &'a Origins,
    origin: command::Origin,
}

impl OriginGuard<'_> {
    pub(crate) fn origin(&self) -> command::Origin {
        self.origin
    }
}

impl Drop for OriginGuard<'_> {
    fn drop(&mut self) {
        self.origins.inner().unanswered.remove(&self.origin.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answered_below_waits_for_the_oldest() {
        let origins = Origins::new(7);
        let (first, second) = (origins.begin(), origins.begin());
        assert_eq!(second.origin().answered_below, 1);
        drop(second);
        assert_eq!(origins.begin().origin().answered_below, 1);
        drop(first);
        let last = origins.begin().origin();
        assert_eq!((last.incarnation, last.sequence, last.answered_below), (7, 4, 4));
    }
}
