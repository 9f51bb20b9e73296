//! The offers of a row that look best. Prices only rise, so that what is not on the list stays worse than its bound,
//! and the whole row is read again only when the list is used up.

use crate::flow::problem::Offer;

const LEN: usize = 12;

#[derive(Clone, Debug)]
pub(super) struct Shortlist {
    offers: Vec<Offer>,
    bound: i64,
}

impl Default for Shortlist {
    /// Of a row that nobody has read.
    fn default() -> Self {
        Self { offers: Vec::new(), bound: i64::MIN }
    }
}

impl Shortlist {
    pub(super) fn offers(&self) -> &[Offer] {
        &self.offers
    }

    /// No offer off the list costs less, price included.
    pub(super) fn bound(&self) -> i64 {
        self.bound
    }

    /// Takes the best of a row.
    pub(super) fn fill(&mut self, row: &[Offer], mut value: impl FnMut(&Offer) -> i64) {
        let mut values = [i64::MAX; LEN + 1];
        let mut best = [Offer { worker: 0, fits: 0, cost: 0 }; LEN + 1];
        for offer in row {
            let value = value(offer);
            if value >= values[LEN] {
                continue;
            }
            let mut at = LEN;
            while at > 0 && values[at - 1] > value {
                (values[at], best[at]) = (values[at - 1], best[at - 1]);
                at -= 1;
            }
            (values[at], best[at]) = (value, *offer);
        }
        let known = values.iter().take(LEN).filter(|value| **value < i64::MAX).count();
        self.offers.clear();
        self.offers.extend_from_slice(&best[..known]);
        self.bound = values[LEN];
    }
}
