//! A simulated machine: a runtime of its own, whose clock moves only when the simulation moves it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use quorate_consensus::host::{self, Simulation};
use quorate_types::Timestamp;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::chance::Chance;

/// What blocking work takes at most, in the usual case; a sync of a good disk, say.
const WORK_USUAL: Duration = Duration::from_millis(2);
/// Once in a while the disk is busy with something else.
const WORK_SPIKE: Duration = Duration::from_millis(60);
const SPIKES_PERMILLE: u32 = 5;

/// What processes on a machine see of it, apart from disk and network.
pub(crate) struct Machine {
    inner: RefCell<Inner>,
}

struct Inner {
    chance: Chance,
    /// What the wall clock shows; it may jump.
    wall_clock: Timestamp,
    /// On top of what blocking work usually takes.
    slow_disk: Duration,
}

impl Machine {
    fn new(chance: Chance, wall_clock: Timestamp) -> Rc<Self> {
        Rc::new(Self { inner: RefCell::new(Inner { chance, wall_clock, slow_disk: Duration::ZERO }) })
    }

    pub(crate) fn set_wall_clock(&self, wall_clock: Timestamp) {
        self.inner.borrow_mut().wall_clock = wall_clock;
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
        self.inner.borrow().wall_clock
    }

    fn work_takes(&self) -> Duration {
        let mut inner = self.inner.borrow_mut();
        let most = if inner.chance.permille(SPIKES_PERMILLE) { WORK_SPIKE } else { WORK_USUAL };
        inner.chance.between(Duration::from_micros(50), most) + inner.slow_disk
    }
}

/// A machine with a process on it. Dropping it kills the process.
pub(crate) struct Node {
    runtime: Option<Runtime>,
    pub(crate) machine: Rc<Machine>,
    /// How far this machine's clock is, by its own rate.
    elapsed: Duration,
    started: Instant,
    /// Parts in a million that the clock runs too fast.
    drift_ppm: i64,
    /// Whether the process is stopped, as by SIGSTOP; and for how long its clock has gone on without it.
    paused: Option<Duration>,
}

impl Node {
    pub(crate) fn new(seed: u64, stream: u64, wall_clock: Timestamp, drift_ppm: i64) -> Self {
        let mut chance = Chance::new(seed, stream);
        let runtime = runtime(chance.number());
        let started = runtime.block_on(async { Instant::now() });
        let machine = Machine::new(chance, wall_clock);
        Self { runtime: Some(runtime), machine, elapsed: Duration::ZERO, started, drift_ppm, paused: None }
    }

    /// Runs something on the machine without letting time pass.
    pub(crate) fn enter<T>(&self, work: impl FnOnce(&Runtime) -> T) -> T {
        host::simulate(Some(self.machine.clone()));
        let runtime = self.runtime.as_ref().unwrap_or_else(|| unreachable!("there is one until the drop"));
        let done = work(runtime);
        host::simulate(None);
        done
    }

    /// Lets `time` of the world pass here.
    pub(crate) fn advance(&mut self, time: Duration) {
        let own = drifted(time, self.drift_ppm);
        self.machine.inner.borrow_mut().wall_clock.0 += time.as_millis() as u64;
        if let Some(behind) = &mut self.paused {
            *behind += own;
            return;
        }
        self.elapsed += own;
        let until = self.started + self.elapsed;
        self.enter(|runtime| runtime.block_on(async { tokio::time::sleep_until(until).await }));
    }

    pub(crate) fn pause(&mut self) {
        self.paused.get_or_insert(Duration::ZERO);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Continues after a pause: all timers that are due meanwhile fire at once.
    pub(crate) fn resume(&mut self) {
        if let Some(behind) = self.paused.take() {
            self.elapsed += behind;
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
