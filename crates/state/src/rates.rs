//! Rates: of the tasks of a namespace that name one key, at most so many attempts start in any span of a length.
//!
//! Each start takes a token, which comes back when the span is over: the starts of the last span are all remembered,
//! so the bound holds for every span, wherever it begins. Time is the state's own and never runs backwards, so a
//! change of the leader neither makes tokens nor loses any. Tokens that are back are forgotten at the key's next start,
//! and the key itself once all of them are.

use imbl::OrdMap;
use quorate_types::{Name, Rate, Timestamp};
use serde::{Deserialize, Serialize};

use crate::limits::RATE_TOKENS_MAX;
use crate::state::{Cluster, State};
use crate::timers::Timer;

/// A rate's key belongs to a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct RateKey {
    pub(crate) namespace: Name,
    pub(crate) key: Name,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    by_key: OrdMap<RateKey, Tokens>,
    /// Derived: of all keys.
    remembered: u64,
}

/// The tokens of a key that were taken, by when they come back.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tokens {
    back: OrdMap<Timestamp, u32>,
    /// How many are remembered.
    len: u32,
}

/// What a rate allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateRoom {
    /// So many attempts may start now.
    pub left: u64,
    /// So many tokens are out.
    pub out: u64,
    /// When the next token comes back.
    pub next: Option<Timestamp>,
}

impl Tokens {
    pub(crate) fn of(runs: Vec<(Timestamp, u32)>) -> Self {
        let len = runs.iter().fold(0u32, |sum, (_, count)| sum.saturating_add(*count));
        Self { back: runs.into_iter().collect(), len }
    }

    pub(crate) fn runs(&self) -> Vec<(Timestamp, u32)> {
        self.back.iter().map(|(at, count)| (*at, *count)).collect()
    }

    fn last(&self) -> Option<Timestamp> {
        self.back.get_max().map(|(at, _)| *at)
    }

    /// How many are not back.
    fn out(&self, now: Timestamp) -> u32 {
        self.len - self.back.range(..=now).map(|(_, count)| count).sum::<u32>()
    }

    fn forget_back(&mut self, now: Timestamp) {
        while let Some((at, count)) = self.back.get_min().copied().filter(|(at, _)| *at <= now) {
            self.back.remove(&at);
            self.len -= count;
        }
    }

    pub(crate) fn is_sound(&self) -> bool {
        !self.back.is_empty() && self.back.values().map(|count| u64::from(*count)).sum::<u64>() == u64::from(self.len)
    }
}

impl Rates {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RateKey, &Tokens)> {
        self.by_key.iter()
    }

    fn room(&self, key: &RateKey, limit: u32, now: Timestamp) -> RateRoom {
        let tokens = self.by_key.get(key);
        let out = tokens.map_or(0, |tokens| tokens.out(now));
        let open = RATE_TOKENS_MAX.saturating_sub(self.remembered);
        RateRoom {
            left: u64::from(limit.saturating_sub(out)).min(open),
            out: u64::from(out),
            next: tokens.and_then(|tokens| tokens.back.keys().find(|at| **at > now).copied()),
        }
    }
}

impl Cluster {
    /// Whether an attempt of this rate may start.
    pub(crate) fn has_token(&self, namespace: &Name, rate: &Rate) -> bool {
        self.rates.room(&RateKey::of(namespace, rate), rate.limit, self.scalars.now).left > 0
    }

    /// An attempt of this rate starts.
    pub(crate) fn take_token(&mut self, namespace: &Name, rate: &Rate) {
        let (key, now) = (RateKey::of(namespace, rate), self.scalars.now);
        let mut tokens = self.forget_tokens(&key);
        tokens.forget_back(now);
        *tokens.back.entry(now.plus(rate.per)).or_insert(0) += 1;
        tokens.len += 1;
        self.note_tokens(key, tokens);
    }

    /// Takes the tokens of a key into the books.
    pub(crate) fn note_tokens(&mut self, key: RateKey, tokens: Tokens) {
        if let Some(last) = tokens.last() {
            self.timers.set(last, Timer::ForgetRate(key.clone()));
        }
        self.rates.remembered += u64::from(tokens.len);
        self.rates.by_key.insert(key, tokens);
    }

    /// Takes them out again.
    pub(crate) fn forget_tokens(&mut self, key: &RateKey) -> Tokens {
        let tokens = self.rates.by_key.remove(key).unwrap_or_default();
        if let Some(last) = tokens.last() {
            self.timers.cancel(last, Timer::ForgetRate(key.clone()));
        }
        self.rates.remembered -= u64::from(tokens.len);
        tokens
    }
}

impl RateKey {
    fn of(namespace: &Name, rate: &Rate) -> Self {
        Self { namespace: namespace.clone(), key: rate.key.clone() }
    }
}

impl State {
    /// What a rate of tasks of this namespace allows at a time that is not before the state's own.
    pub fn rate_room(&self, namespace: &Name, rate: &Rate, now: Timestamp) -> RateRoom {
        self.cluster.rates.room(&RateKey::of(namespace, rate), rate.limit, now.max(self.now()))
    }
}
