//! The worker's lease: until when it may run what it runs. No clock in here; times are handed in.
//!
//! The leader counts a lease from the moment when it noted a heartbeat, the worker from the earlier moment
//! when it sent it, and a margin less. So the worker stops before the leader gives its tasks away, as
//! long as both clocks run at about the same rate.

use quorate_types::{Bug, is_planted};
use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Boottime;

/// The part of a lease that the worker leaves unused: for killing, and for clocks that drift apart.
const MARGIN_DIVISOR: u32 = 5;
/// Heartbeats whose acknowledgement is still awaited. A session that answers none is dropped long before.
const UNANSWERED_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Lease {
    ttl: Duration,
    deadline: Option<Boottime>,
    seq: u64,
    sent: VecDeque<(u64, Boottime)>,
}

impl Lease {
    /// A session was granted; its hello, sent at `sent`, counts as an acknowledged heartbeat.
    pub(crate) fn on_welcome(&mut self, sent: Boottime, ttl: Duration) {
        self.ttl = ttl;
        // What the session before left unanswered stays so.
        self.sent.clear();
        self.extend(sent);
    }

    /// A heartbeat is about to be sent; returns its number.
    pub(crate) fn on_heartbeat(&mut self, now: Boottime) -> u64 {
        self.seq += 1;
        self.sent.push_back((self.seq, now));
        if self.sent.len() > UNANSWERED_MAX {
            self.sent.pop_front();
        }
        self.seq
    }

    /// The leader has noted heartbeat `seq`, and so all before it.
    pub(crate) fn on_acknowledged(&mut self, seq: u64) {
        let mut newest = None;
        while let Some((sent_seq, at)) = self.sent.front().copied()
            && sent_seq <= seq
        {
            self.sent.pop_front();
            newest = (sent_seq == seq).then_some(at);
        }
        if let Some(at) = newest {
            self.extend(at);
        }
    }

    /// The registration is over.
    pub(crate) fn end(&mut self) {
        self.deadline = None;
        self.sent.clear();
    }

    /// How long the newest grant lasts for the leader.
    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Everything must have ended by then; `None` without a registration.
    pub(crate) fn deadline(&self) -> Option<Boottime> {
        self.deadline
    }

    pub(crate) fn is_over(&self, now: Boottime) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    fn extend(&mut self, sent: Boottime) {
        let margin = if is_planted(Bug::NoLeaseMargin) { Duration::ZERO } else { self.ttl / MARGIN_DIVISOR };
        let until = sent.plus(self.ttl - margin);
        // A lease never shrinks: what was granted stays granted.
        self.deadline = self.deadline.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Boottime {
        Boottime(secs * 1_000_000_000)
    }

    fn granted() -> Lease {
        let mut lease = Lease::default();
        lease.on_welcome(at(100), Duration::from_secs(10));
        lease
    }

    #[test]
    fn it_counts_from_the_sending_with_a_margin() {
        let mut lease = granted();
        assert_eq!(lease.deadline(), Some(at(108)));
        let seq = lease.on_heartbeat(at(103));
        assert_eq!(lease.deadline(), Some(at(108)));
        lease.on_acknowledged(seq);
        assert_eq!(lease.deadline(), Some(at(111)));
        assert!(!lease.is_over(Boottime(at(111).0 - 1)));
        assert!(lease.is_over(at(111)));
    }

    #[test]
    fn a_later_acknowledgement_covers_earlier_ones_and_never_shrinks() {
        let mut lease = granted();
        let seqs: Vec<_> = (101..105).map(|t| lease.on_heartbeat(at(t))).collect();
        lease.on_acknowledged(seqs[2]);
        assert_eq!(lease.deadline(), Some(at(111)));
        lease.on_acknowledged(seqs[0]);
        lease.on_acknowledged(seqs[2]);
        assert_eq!(lease.deadline(), Some(at(111)));
        lease.on_acknowledged(seqs[3]);
        assert_eq!(lease.deadline(), Some(at(112)));
    }

    #[test]
    fn numbers_that_were_never_sent_extend_nothing() {
        let mut lease = granted();
        lease.on_heartbeat(at(105));
        lease.on_acknowledged(99);
        assert_eq!(lease.deadline(), Some(at(108)));
    }

    #[test]
    fn a_reconnect_forgets_unanswered_heartbeats_and_keeps_the_numbering() {
        let mut lease = granted();
        let old = lease.on_heartbeat(at(105));
        lease.on_welcome(at(104), Duration::from_secs(10));
        assert_eq!(lease.deadline(), Some(at(112)));
        lease.on_acknowledged(old);
        assert_eq!(lease.deadline(), Some(at(112)));
        assert!(lease.on_heartbeat(at(106)) > old);
    }

    #[test]
    fn without_a_registration_nothing_is_over() {
        let mut lease = granted();
        lease.end();
        assert_eq!(lease.deadline(), None);
        assert!(!lease.is_over(at(1_000_000)));
        lease.on_welcome(at(50), Duration::from_secs(10));
        assert_eq!(lease.deadline(), Some(at(58)));
    }

    #[test]
    fn unanswered_heartbeats_are_bounded() {
        let mut lease = granted();
        for t in 0..1000 {
            lease.on_heartbeat(at(t));
        }
        assert_eq!(lease.sent.len(), UNANSWERED_MAX);
    }
}
