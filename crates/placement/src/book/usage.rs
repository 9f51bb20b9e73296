//! What each namespace uses, and what it used before: the dominant share of it is what fair orders go by.
//!
//! Past use is an exponential average of what was held, with a half-life: a namespace that has held a tenth of the
//! cluster for long is charged with a tenth for that, and with half as much a half-life after its last task ended. What
//! it holds now is charged in full besides. Amounts are whole numbers, so that the same history gives the same shares.

use std::collections::BTreeMap;

use quorate_types::{Name, Span, Timestamp};

use crate::book::decay::{EXPONENT_BITS, FACTOR_BITS, ONE, half_to};
use crate::book::vector::{LANES, Vector};

/// After so long past use counts half: an hour, so that a night's work is forgiven in the morning and the last minutes
/// are not.
pub(crate) const HALF_LIFE: Span = Span::from_secs(3_600);

/// Fractional bits of past use.
const PAST_BITS: u32 = 20;
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

    /// Brings all accounts up to date, and forgets those that are as good as empty in a cluster of this size: after
    /// twenty half-lives at most.
    pub(crate) fn settle(&mut self, capacity: &Vector) {
        let now = self.now;
        self.accounts.values_mut().for_each(|account| account.settle(now));
        self.accounts.retain(|_, account| account.live != Vector::default() || account.share(capacity) >> 10 > 0);
    }

    /// The largest of the namespace's shares of a kind (Ghodsi et al. 2011), of what it holds and of what it used, as
    /// of the last change or settlement, in 1/2³⁰.
    pub(crate) fn share(&self, namespace: &Name, capacity: &Vector) -> u64 {
        self.accounts.get(namespace).map_or(0, |account| account.share(capacity))
    }

    /// Takes over what another account of the same cluster says of the past; `lanes` says where it has each kind. What
    /// runs is in both.
    pub(crate) fn remember(&mut self, earlier: &Self, lanes: &[Option<usize>; LANES]) {
        for (namespace, account) in &earlier.accounts {
            let mut known = *account;
            known.settle(self.now);
            let past = &mut self.account(namespace).past;
            for (past, lane) in past.iter_mut().zip(lanes) {
                *past = (*past).max(lane.map_or(0, |lane| known.past[lane]));
            }
        }
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
        let left = decay(span);
        self.past.iter_mut().for_each(|past| *past = (*past * u128::from(left)) >> FACTOR_BITS);
        let live = self.live;
        self.used(&live, span);
    }

    /// So much was held for so long until now.
    fn used(&mut self, amount: &Vector, span: Span) {
        let gained = u128::from(ONE - decay(span));
        for (past, lane) in self.past.iter_mut().zip(amount.lanes()) {
            *past += (u128::from(*lane) * gained) >> (FACTOR_BITS - PAST_BITS);
        }
    }

    fn share(&self, capacity: &Vector) -> u64 {
        let used = self.live.lanes().iter().zip(&self.past).map(|(live, past)| (u128::from(*live) << PAST_BITS) + past);
        let shares = used.zip(capacity.lanes()).map(|(used, all)| {
            let share = (used << (SHARE_BITS - PAST_BITS)).checked_div(u128::from(*all)).unwrap_or(0);
            u64::try_from(share).unwrap_or(u64::MAX)
        });
        shares.max().unwrap_or(0)
    }
}

/// What is left after `span`.
fn decay(span: Span) -> u64 {
    half_to((u128::from(span.0) << EXPONENT_BITS) / u128::from(HALF_LIFE.0))
}

#[cfg(test)]
mod tests {
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
        usage.settle(&vector(10_000, 1 << 40));
        assert_eq!(per_mille(&usage, &ann), 600, "half of the average is there after one half-life");
        usage.release(&ann, &vector(4_000, 1 << 30));
        assert_eq!(per_mille(&usage, &ann), 200);
        usage.advance(Timestamp(2 * HOUR));
        usage.settle(&vector(10_000, 1 << 40));
        assert_eq!(per_mille(&usage, &ann), 100);
        usage.advance(Timestamp(30 * HOUR));
        usage.settle(&vector(10_000, 1 << 40));
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
        usage.settle(&vector(10_000, 1 << 40));
        let shares = names.map(|name| usage.share(&name, &vector(10_000, 0)));
        assert!(shares.iter().all(|share| share.abs_diff(shares[0]) < WHOLE / 100_000), "{shares:?}");
    }
}
