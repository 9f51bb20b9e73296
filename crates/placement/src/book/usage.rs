//! What each namespace uses, and what it used before: the dominant share of it is what fair orders go by.
//!
//! Past use is the average that the state keeps (`quorate_state::past`), gone on with from where a book begins. What a
//! namespace holds now is charged in full besides.

use std::collections::BTreeMap;

use quorate_state::past::{PAST_BITS, averaged, left_after};
use quorate_types::{Name, Span, Timestamp};

use crate::book::vector::{LANES, MEMORY, Vector};

/// Fractional bits of a share.
const SHARE_BITS: u32 = 30;

#[derive(Debug, Default)]
pub(crate) struct Usage {
    now: Timestamp,
    accounts: BTreeMap<Name, Account>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// What it holds.
    live: Vector,
    /// With [`PAST_BITS`] bits behind the point.
    past: [u128; LANES],
    as_of: Timestamp,
}

impl Usage {
    /// What is told from here on happened at `now`.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// The namespace holds so much more, since `since`.
    pub(crate) fn hold(&mut self, namespace: &Name, wanted: &Vector, since: Timestamp) {
        let now = self.now;
        let account = self.account(namespace);
        account.live = account.live.plus(wanted);
        account.used(wanted, now.since(since));
    }

    /// It holds so much less, from now on.
    pub(crate) fn release(&mut self, namespace: &Name, wanted: &Vector) {
        let account = self.account(namespace);
        account.live = account.live.minus(wanted);
    }

    /// Brings all accounts up to date, and forgets those that are empty: whose average is less than a thousandth of a
    /// core or device, and a kibibyte.
    pub(crate) fn settle(&mut self) {
        let now = self.now;
        self.accounts.values_mut().for_each(|account| account.settle(now));
        let is_left = |past: &[u128; LANES]| {
            (0..LANES).any(|lane| past[lane] >> if lane == MEMORY { PAST_BITS + 10 } else { PAST_BITS } > 0)
        };
        self.accounts.retain(|_, account| account.live != Vector::default() || is_left(&account.past));
    }

    /// The largest of the namespace's shares of a kind (Ghodsi et al. 2011), of what it holds and of what it used, as
    /// of the last change or settlement, in 1/2³⁰.
    pub(crate) fn share(&self, namespace: &Name, capacity: &Vector) -> u64 {
        self.accounts.get(namespace).map_or(0, |account| account.share(capacity))
    }

    /// What the namespace used before, what runs included.
    pub(crate) fn recall(&mut self, namespace: &Name, past: [u128; LANES]) {
        self.account(namespace).past = past;
    }

    fn account(&mut self, namespace: &Name) -> &mut Account {
        let fresh = Account { as_of: self.now, ..Account::default() };
        let account = self.accounts.entry(namespace.clone()).or_insert(fresh);
        account.settle(self.now);
        account
    }
}

impl Account {
    fn settle(&mut self, now: Timestamp) {
        let span = now.since(self.as_of);
        self.as_of = now;
        if span == Span(0) {
            return;
        }
        let left = left_after(span);
        for (past, live) in self.past.iter_mut().zip(self.live.lanes()) {
            *past = averaged(*past, *live, left);
        }
    }

    /// So much was held for so long until now.
    fn used(&mut self, amount: &Vector, span: Span) {
        let left = left_after(span);
        for (past, lane) in self.past.iter_mut().zip(amount.lanes()) {
            *past = past.saturating_add(averaged(0, *lane, left));
        }
    }

    fn share(&self, capacity: &Vector) -> u64 {
        let used = self
            .live
            .lanes()
            .iter()
            .zip(&self.past)
            .map(|(live, past)| (u128::from(*live) << PAST_BITS).saturating_add(*past));
        let shares = used.zip(capacity.lanes()).map(|(used, all)| {
            let share = (used << (SHARE_BITS - PAST_BITS)).checked_div(u128::from(*all)).unwrap_or(0);
            u64::try_from(share).unwrap_or(u64::MAX)
        });
        shares.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use quorate_state::past::HALF_LIFE;
    use quorate_types::Resources;

    use super::*;
    use crate::book::vector::Kinds;

    const HOUR: u64 = HALF_LIFE.0;
    const WHOLE: u64 = 1 << SHARE_BITS;

    fn vector(cpu_millis: u64, memory_bytes: u64) -> Vector {
        Kinds::default().vector(&Resources::new(cpu_millis, memory_bytes))
    }

    fn per_mille(usage: &Usage, namespace: &Name) -> u64 {
        (usage.share(namespace, &vector(10_000, 1 << 40)) * 1_000 + WHOLE / 2) >> SHARE_BITS
    }

    #[test]
    fn use_is_charged_while_it_lasts_and_forgiven_by_half_an_hour_later() {
        let ann = Name::new("ann").unwrap();
        let mut usage = Usage::default();
        usage.hold(&ann, &vector(4_000, 1 << 30), Timestamp(0));
        assert_eq!(per_mille(&usage, &ann), 400);
        usage.advance(Timestamp(HOUR));
        usage.settle();
        assert_eq!(per_mille(&usage, &ann), 600, "half of the average is there after one half-life");
        usage.release(&ann, &vector(4_000, 1 << 30));
        assert_eq!(per_mille(&usage, &ann), 200);
        usage.advance(Timestamp(2 * HOUR));
        usage.settle();
        assert_eq!(per_mille(&usage, &ann), 100);
        usage.advance(Timestamp(30 * HOUR));
        usage.settle();
        assert!(usage.accounts.is_empty(), "what is forgiven takes no room");
    }

    /// However often it is looked at, and also if it is told only afterwards.
    #[test]
    fn the_share_does_not_depend_on_how_often_it_is_settled() {
        let names = ["once", "often", "late"].map(|name| Name::new(name).unwrap());
        let mut usage = Usage::default();
        usage.hold(&names[0], &vector(4_000, 0), Timestamp(0));
        usage.hold(&names[1], &vector(4_000, 0), Timestamp(0));
        for at in 0..=100_000 {
            usage.advance(Timestamp(at * 17));
            usage.account(&names[1]);
        }
        usage.hold(&names[2], &vector(4_000, 0), Timestamp(0));
        usage.settle();
        let shares = names.map(|name| usage.share(&name, &vector(10_000, 0)));
        assert!(shares.iter().all(|share| share.abs_diff(shares[0]) < WHOLE / 100_000), "{shares:?}");
    }
}
