//! Whether those at the other ends still answer.

use std::time::Duration;

use tokio::time::Instant;

/// A replica is given up when a heartbeat is not answered before the next one is due, and not within this. With five
/// heartbeats in a lease, or more, that leaves half of it for reaching another.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How often the watchdog is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(1);
/// How long it may take to answer while nothing depends on it: the host may be very busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same when it was told to kill what has no lease any more, at the longest and at the shortest. In
/// between it is a part of the lease, so that the margin of the lease has room for it. To lose patience with
/// a watchdog that is merely slow costs nothing then but starting another.
const KILL_PATIENCE_MAX: Duration = Duration::from_secs(1);
const KILL_PATIENCE_MIN: Duration = Duration::from_millis(50);
const KILL_PATIENCE_DIVISOR: u32 = 10;
/// A gap between two looks that means that we were stopped ourselves, so that nobody else was silent.
const OWN_GAP: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Health {
    heard: Instant,
    silence_max: Duration,
    looked: Instant,
    ping: u64,
    /// When the oldest ping was sent that is not answered, and how long it may stay so.
    unanswered: Option<(Instant, Duration)>,
    pinged: Instant,
}

/// What to do about the watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    Ping { seq: u64 },
    Dead,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: now, silence_max: 2 * ANSWER_MAX, looked: now, ping: 0, unanswered: None, pinged: now }
    }

    pub(super) fn on_session(&mut self, now: Instant, heartbeat_every: Duration) {
        self.heard = now;
        self.silence_max = heartbeat_every + heartbeat_every.min(ANSWER_MAX);
    }

    pub(super) fn on_heard(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(super) fn is_session_silent(&self, now: Instant) -> bool {
        now.duration_since(self.heard) > self.silence_max
    }

    pub(super) fn on_pong(&mut self, seq: u64) {
        if seq == self.ping {
            self.unanswered = None;
        }
    }

    /// A new watchdog owes no answers.
    pub(super) fn on_watchdog(&mut self, now: Instant) {
        self.unanswered = None;
        self.pinged = now;
    }

    /// It was told to kill everything that a lease of `ttl` allowed: the next ping is urgent. Returns its number.
    pub(super) fn on_kill_order(&mut self, now: Instant, ttl: Duration) -> u64 {
        self.ping(now, (ttl / KILL_PATIENCE_DIVISOR).clamp(KILL_PATIENCE_MIN, KILL_PATIENCE_MAX))
    }

    /// When patience with the watchdog ends.
    pub(super) fn due(&self) -> Option<Instant> {
        self.unanswered.map(|(since, patience)| since + patience)
    }

    pub(super) fn look_at_watchdog(&mut self, now: Instant) -> Verdict {
        let own_gap = now.duration_since(self.looked) > OWN_GAP;
        self.looked = now;
        match &mut self.unanswered {
            Some((since, _)) if own_gap => *since = now,
            Some((since, patience)) if now.duration_since(*since) >= *patience => {
                // Its death will show; until then it is not judged again.
                self.unanswered = None;
                self.pinged = now;
                return Verdict::Dead;
            }
            Some(_) => {}
            None if now.duration_since(self.pinged) >= PING_EVERY => {
                return Verdict::Ping { seq: self.ping(now, PATIENCE) };
            }
            None => {}
        }
        Verdict::Fine
    }

    fn ping(&mut self, now: Instant, patience: Duration) -> u64 {
        self.ping += 1;
        self.pinged = now;
        self.unanswered = Some((now, patience));
        self.ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Looks four times a second; the last verdict that was not "fine", and when.
    fn watch(health: &mut Health, start: Instant, from: u64, until: u64) -> Option<(u64, Verdict)> {
        let looks = (from..until).step_by(250);
        looks.map(|t| (t, health.look_at_watchdog(start + ms(t)))).filter(|(_, v)| *v != Verdict::Fine).last()
    }

    #[test]
    fn a_silent_watchdog_is_dead_after_a_while() {
        let start = Instant::now();
        let mut health = Health::new(start);
        assert_eq!(watch(&mut health, start, 0, 1_250), Some((1_000, Verdict::Ping { seq: 1 })));
        assert_eq!(watch(&mut health, start, 1_250, 11_000), None);
        assert_eq!(health.due(), Some(start + ms(11_000)));
        assert_eq!(health.look_at_watchdog(start + ms(11_000)), Verdict::Dead);
        assert_eq!((health.due(), watch(&mut health, start, 11_000, 12_000)), (None, None));
    }

    #[test]
    fn after_a_kill_order_it_must_answer_soon() {
        let start = Instant::now();
        for (ttl, patience) in [(5_000, 500), (60_000, 1_000), (100, 50)] {
            let mut health = Health::new(start);
            watch(&mut health, start, 0, 1_250);
            let seq = health.on_kill_order(start + ms(1_250), ms(ttl));
            assert_eq!(health.due(), Some(start + ms(1_250 + patience)));
            // The answer to an earlier ping says nothing about the order.
            health.on_pong(seq - 1);
            assert!(health.due().is_some());
            health.on_pong(seq);
            assert_eq!(health.due(), None);
        }
    }

    #[test]
    fn our_own_stop_is_not_its_silence() {
        let start = Instant::now();
        let mut health = Health::new(start);
        watch(&mut health, start, 0, 1_250);
        assert_eq!(health.look_at_watchdog(start + ms(60_000)), Verdict::Fine);
        health.on_pong(1);
        assert_eq!(health.look_at_watchdog(start + ms(60_250)), Verdict::Ping { seq: 2 });
    }

    #[test]
    fn a_replica_may_be_silent_for_a_heartbeat_and_as_long_as_an_answer_takes() {
        let start = Instant::now();
        let mut health = Health::new(start);
        health.on_session(start, ms(2_000));
        assert!(!health.is_session_silent(start + ms(2_000)));
        assert!(health.is_session_silent(start + ms(3_001)));
        health.on_heard(start + ms(2_000));
        assert!(!health.is_session_silent(start + ms(5_000)));
        health.on_session(start, ms(200));
        assert!(!health.is_session_silent(start + ms(400)));
        assert!(health.is_session_silent(start + ms(401)));
    }
}
