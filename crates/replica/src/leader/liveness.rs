//! Who was heard of when. In the leader's memory only; "expired" alone is a command.
//!
//! A worker counts its deadline from when it *sent* the heartbeat that was acknowledged, this counts from
//! when it came, with a TTL that is longer by the worker's margin: the worker has always stopped before
//! the cluster may start its tasks again. A new leader gives every worker a full TTL, because it does not
//! know what the old one acknowledged last.

use std::collections::BTreeMap;
use std::time::Duration;

use imbl::OrdMap;
use quorate_state::State;
use quorate_types::{Bug, Epoch, Name, is_planted};

/// A point on the process's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) Duration);

#[derive(Debug, Default)]
pub(crate) struct Liveness {
    workers: BTreeMap<Epoch, Seen>,
    /// The registrations that `workers` follows; most versions share them.
    known: OrdMap<Epoch, Name>,
}

#[derive(Debug)]
struct Seen {
    name: Name,
    /// As it was registered: the worker counts with the same.
    ttl: Duration,
    expires: Moment,
}

impl Liveness {
    /// This replica begins to lead.
    pub(crate) fn on_lead(&mut self) {
        self.workers.clear();
        self.known = OrdMap::new();
    }

    /// Takes up who registered and forgets who is gone.
    pub(crate) fn on_state(&mut self, now: Moment, state: &State) {
        let registrations = state.registrations();
        if registrations.ptr_eq(&self.known) {
            return;
        }
        self.known = registrations.clone();
        self.workers.retain(|epoch, _| registrations.contains_key(epoch));
        for worker in registrations.keys().filter_map(|epoch| state.worker_of(*epoch)) {
            self.workers.entry(worker.epoch).or_insert_with(|| {
                let ttl = worker.lease_ttl.as_duration();
                let ttl = if is_planted(Bug::NoGraceAfterTakeover) { ttl / 8 } else { ttl };
                Seen { name: worker.name.clone(), ttl, expires: Moment(now.0 + ttl) }
            });
        }
    }

    /// Whether the heartbeat counts: it is from a registration that has not expired.
    pub(crate) fn on_heartbeat(&mut self, now: Moment, name: &Name, epoch: Epoch) -> bool {
        match self.workers.get_mut(&epoch) {
            // Past its time it may be proposed as expired already: acknowledging now would lie.
            Some(seen) if seen.name == *name && seen.expires > now => {
                seen.expires = Moment(now.0 + seen.ttl);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn expired(&self, now: Moment) -> impl Iterator<Item = (&Name, Epoch)> {
        self.workers.iter().filter(move |(_, seen)| seen.expires <= now).map(|(epoch, seen)| (&seen.name, *epoch))
    }

    pub(crate) fn next_expiry(&self) -> Option<Moment> {
        self.workers.values().map(|seen| seen.expires).min()
    }
}

#[cfg(test)]
mod tests {
    use quorate_state::command::{Command, Entry, Proposal, Registration};
    use quorate_types::{LogIndex, ReplicaId, Resources, Timestamp};

    use super::*;

    fn state_with_worker() -> State {
        let mut state = State::default();
        let command = Command::Register(Box::new(Registration {
            name: Name::new("w").unwrap(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            host: "h".into(),
            capacity: Resources::new(1000, 0),
            instance: 1,
            replaces: None,
            replica: ReplicaId(1),
            lease_ttl: quorate_types::Span(10_000),
        }));
        state.apply(LogIndex(1), &Entry { time: Timestamp(0), proposals: vec![Proposal { origin: None, command }] });
        state
    }

    fn at(secs: u64) -> Moment {
        Moment(Duration::from_secs(secs))
    }

    #[test]
    fn a_silent_worker_expires_after_the_ttl_and_not_before() {
        let (state, name, epoch) = (state_with_worker(), Name::new("w").unwrap(), Epoch(1));
        let mut liveness = Liveness::default();
        liveness.on_state(at(0), &state);
        assert_eq!(liveness.next_expiry(), Some(at(10)));
        assert!(liveness.on_heartbeat(at(9), &name, epoch));
        liveness.on_state(at(9), &state);
        assert_eq!(liveness.expired(at(18)).count(), 0);
        assert_eq!(liveness.expired(at(19)).count(), 1);
        assert!(!liveness.on_heartbeat(at(19), &name, epoch), "an expired worker was acknowledged");
        assert!(!liveness.on_heartbeat(at(10), &name, Epoch(2)), "an unknown epoch was acknowledged");
    }

    #[test]
    fn a_new_leader_gives_everyone_a_full_ttl() {
        let state = state_with_worker();
        let mut liveness = Liveness::default();
        liveness.on_state(at(0), &state);
        liveness.on_lead();
        liveness.on_state(at(9), &state);
        assert_eq!(liveness.expired(at(18)).count(), 0);
        assert_eq!(liveness.expired(at(19)).count(), 1);
    }

    #[test]
    fn a_worker_that_left_is_not_expired() {
        let mut liveness = Liveness::default();
        liveness.on_state(at(0), &state_with_worker());
        liveness.on_state(at(1), &State::default());
        assert_eq!(liveness.next_expiry(), None);
    }
}
