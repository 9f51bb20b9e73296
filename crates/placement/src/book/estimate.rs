//! How long a task will run, from how long the last ones of its lineage ran: the mean of the last two (Tsafrir,
//! Etsion and Feitelson, "Backfilling using system-generated predictions rather than user runtime estimates",
//! IEEE TPDS 18(6), 2007, section 3).

use std::collections::{BTreeMap, BTreeSet};

use quorate_types::Span;

use crate::book::{Facts, Lineage};

/// Lineages that are remembered, those that ended last. At about 150 bytes each, 10 MiB.
const LINEAGES_MAX: usize = 65_536;

#[derive(Clone, Debug, Default)]
pub(crate) struct Estimator {
    known: BTreeMap<Lineage, History>,
    by_age: BTreeSet<(u64, Lineage)>,
    learned: u64,
}

#[derive(Clone, Copy, Debug)]
struct History {
    last: Span,
    before: Option<Span>,
    /// When it was learned, as a count.
    age: u64,
}

impl Estimator {
    /// The best that is known: what is said, else what was learned but at most the limit, else the limit.
    pub(crate) fn expected(&self, facts: &Facts) -> Option<Span> {
        facts.expected.or_else(|| {
            let learned = facts.lineage.as_ref().and_then(|lineage| self.learned(lineage));
            learned.map(|span| facts.limit.map_or(span, |limit| span.min(limit))).or(facts.limit)
        })
    }

    /// Whether something was learned of tasks like this.
    pub(crate) fn knows(&self, facts: &Facts) -> bool {
        facts.lineage.as_ref().is_some_and(|lineage| self.known.contains_key(lineage))
    }

    /// One of this lineage has finished after `ran`.
    pub(crate) fn learn(&mut self, lineage: &Lineage, ran: Span) {
        self.learned += 1;
        let earlier = self.known.remove(lineage);
        if let Some(earlier) = earlier {
            self.by_age.remove(&(earlier.age, lineage.clone()));
        }
        let history = History { last: ran, before: earlier.map(|earlier| earlier.last), age: self.learned };
        self.known.insert(lineage.clone(), history);
        self.by_age.insert((self.learned, lineage.clone()));
        if self.by_age.len() > LINEAGES_MAX
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.known.remove(&oldest);
        }
    }

    fn learned(&self, lineage: &Lineage) -> Option<Span> {
        let history = self.known.get(lineage)?;
        Some(Span(history.before.map_or(history.last.0, |before| history.last.0.midpoint(before.0))))
    }
}

#[cfg(test)]
mod tests {
    use quorate_types::{Name, Resources, Timestamp};

    use super::*;

    #[test]
    fn the_mean_of_the_last_two_at_most_the_limit() {
        let lineage = Lineage { owner: Name::new("ann").unwrap(), name: "render".into() };
        let mut facts = Facts::new(Timestamp(0), Resources::new(1000, 0));
        facts.lineage = Some(lineage.clone());
        let mut estimator = Estimator::default();
        assert_eq!(estimator.expected(&facts), None);
        facts.limit = Some(Span(60));
        assert_eq!(estimator.expected(&facts), Some(Span(60)));
        for (ran, expected) in [(10, 10), (20, 15), (40, 30), (200, 60)] {
            estimator.learn(&lineage, Span(ran));
            assert_eq!(estimator.expected(&facts), Some(Span(expected)), "after {ran}");
        }
        facts.expected = Some(Span(1));
        assert_eq!(estimator.expected(&facts), Some(Span(1)));
    }

    #[test]
    fn what_ended_longest_ago_is_forgotten() {
        let mut estimator = Estimator::default();
        let lineage = |n: usize| Lineage { owner: Name::new("ann").unwrap(), name: n.to_string().into() };
        (0..=LINEAGES_MAX).for_each(|n| estimator.learn(&lineage(n), Span(1)));
        assert_eq!(estimator.learned(&lineage(0)), None);
        assert_eq!(estimator.learned(&lineage(1)), Some(Span(1)));
        assert_eq!(estimator.known.len(), LINEAGES_MAX);
    }
}
