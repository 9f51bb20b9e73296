//! A simulated machine: a runtime of its own, whose clock moves only when the simulation moves it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use quorate_consensus::host::{self, Simulation};
use quorate_types::Timestamp;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::chance::Chance;

/// What blocking work takes at most, in the usual case; a sync of a good disk, say.
const WORK_USUAL: Duration = Duration::from_millis(2);
/// How far a machine may be behind the world as long as nothing happens to it.
const LAG_MAX: Duration = Duration::from_millis(20);
/// Once in a while a task gets to what was left for it only after this.
const HAND_OFF_MAX: Duration = Duration::from_millis(20);
const HAND_OFFS_PERMILLE: u32 = 50;
/// Once in a while the disk is busy with something else.
const WORK_SPIKE: Duration = Duration::from_millis(60);
const SPIKES_PERMILLE: u32 = 5;

/// What processes on a machine see of it, apart from disk and network.
pub(crate) struct Machine {
    inner: RefCell<Inner>,
}

struct Inner {
    chance: Chance,
    /// What the wall clock shows, since 1970; it may jump.
    wall_clock: Duration,
    /// On top of what blocking work usually takes.
    slow_disk: Duration,
    /// When the blocking work that is under way ends.
    work_ends: BTreeSet<Instant>,
}

impl Machine {
    fn new(chance: Chance, wall_clock: Timestamp) -> Rc<Self> {
        let (wall_clock, slow_disk) = (Duration::from_millis(wall_clock.0), Duration::ZERO);
        Rc::new(Self { inner: RefCell::new(Inner { chance, wall_clock, slow_disk, work_ends: BTreeSet::new() }) })
    }

    pub(crate) fn set_wall_clock(&self, wall_clock: Timestamp) {
        self.inner.borrow_mut().wall_clock = Duration::from_millis(wall_clock.0);
    }

    /// Time passes. Whether blocking work has ended by `now`.
    fn pass(&self, time: Duration, now: Instant) -> bool {
        let mut inner = self.inner.borrow_mut();
        inner.wall_clock += time;
        inner.work_ends.first().is_some_and(|ends| *ends <= now)
    }

    pub(crate) fn set_slow_disk(&self, slow: Duration) {
        self.inner.borrow_mut().slow_disk = slow;
    }
}

impl Simulation for Machine {
    fn random(&self) -> u64 {
        self.inner.borrow_mut().chance.number()
    }

    fn wall_clock(&self) -> Timestamp {
        Timestamp(self.inner.borrow().wall_clock.as_millis() as u64)
    }

    fn work_takes(&self) -> Duration {
        let mut inner = self.inner.borrow_mut();
        let most = if inner.chance.permille(SPIKES_PERMILLE) { WORK_SPIKE } else { WORK_USUAL };
        let takes = inner.chance.between(Duration::from_micros(50), most) + inner.slow_disk;
        inner.work_ends.insert(Instant::now() + takes);
        takes
    }

    fn hand_off_takes(&self) -> Duration {
        let mut inner = self.inner.borrow_mut();
        let takes = hand_off_takes(&mut inner.chance);
        if !takes.is_zero() {
            inner.work_ends.insert(Instant::now() + takes);
        }
        takes
    }
}

/// A machine with a process on it. Dropping it kills the process.
pub(crate) struct Node {
    runtime: Option<Runtime>,
    pub(crate) machine: Rc<Machine>,
    /// The machine's time, by its own rate.
    now: Instant,
    /// How far the process has come; somewhat behind if nothing happens to it.
    lived: Instant,
    /// Parts in a million that the clock runs too fast.
    drift_ppm: i64,
    /// Whether the process is stopped, as by SIGSTOP.
    paused: bool,
    /// Whether it was given something to do since it last lived.
    stirred: Cell<bool>,
}

impl Node {
    pub(crate) fn new(seed: u64, stream: u64, wall_clock: Timestamp, drift_ppm: i64) -> Self {
        let mut chance = Chance::new(seed, stream);
        let runtime = runtime(chance.number());
        let now = runtime.block_on(async { Instant::now() });
        let machine = Machine::new(chance, wall_clock);
        Self { runtime: Some(runtime), machine, now, lived: now, drift_ppm, paused: false, stirred: Cell::new(false) }
    }

    /// Gives the process something to do.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.stirred.set(true);
        self.enter(|runtime| drop(runtime.spawn(work)));
    }

    /// Runs something on the machine without letting time pass.
    fn enter<T>(&self, work: impl FnOnce(&Runtime) -> T) -> T {
        host::simulate(Some(self.machine.clone()));
        let runtime = self.runtime.as_ref().unwrap_or_else(|| unreachable!("there is one until the drop"));
        let done = work(runtime);
        host::simulate(None);
        done
    }

    /// Lets `time` of the world pass here. If nothing has happened to the process, it may live through that later.
    pub(crate) fn advance(&mut self, time: Duration, happened: bool) {
        self.now += drifted(time, self.drift_ppm);
        let work_ended = self.machine.pass(time, self.now);
        let happened = happened || work_ended || self.stirred.get();
        if !self.paused && (happened || self.now - self.lived >= LAG_MAX) {
            self.live();
        }
    }

    fn live(&mut self) {
        self.lived = self.now;
        self.stirred.set(false);
        let until = self.now;
        self.enter(|runtime| runtime.block_on(async { tokio::time::sleep_until(until).await }));
        self.machine.inner.borrow_mut().work_ends.retain(|ends| *ends > until);
    }

    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Continues after a pause: all timers that are due meanwhile fire at once.
    pub(crate) fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            let behind = self.now - self.lived;
            self.lived = self.now;
            self.enter(|runtime| runtime.block_on(async { tokio::time::advance(behind).await }));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        host::simulate(Some(self.machine.clone()));
        drop(self.runtime.take());
        host::simulate(None);
    }
}

/// How long something lies between one task and the next: seldom at all.
pub(crate) fn hand_off_takes(chance: &mut Chance) -> Duration {
    if chance.permille(HAND_OFFS_PERMILLE) { chance.between(Duration::ZERO, HAND_OFF_MAX) } else { Duration::ZERO }
}

pub(crate) fn drifted(time: Duration, ppm: i64) -> Duration {
    let nanos = i128::from(time.as_nanos() as u64);
    let nanos = nanos + nanos * i128::from(ppm) / 1_000_000;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(tokio_unstable)]
fn runtime(seed: u64) -> Runtime {
    let seed = tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes());
    let built = Builder::new_current_thread().enable_time().start_paused(true).rng_seed(seed).build();
    built.unwrap_or_else(|e| unreachable!("a runtime without drivers of the host has nothing to fail at: {e}"))
}

/// Without the switch the runtime makes choices of its own, and the same seed is not the same run.
#[cfg(not(tokio_unstable))]
fn runtime(_seed: u64) -> Runtime {
    let built = Builder::new_current_thread().enable_time().start_paused(true).build();
    built.unwrap_or_else(|e| unreachable!("a runtime without drivers of the host has nothing to fail at: {e}"))
}
