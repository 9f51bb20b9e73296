//! What a replica takes from the machine it runs on, besides disk and network: chance, the wall clock, and
//! threads for work that blocks. A simulation puts its own in their place, for the thread that it runs on.
//!
//! Monotonic time needs no seam: all of it is tokio's, and a simulation pauses tokio's clock.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use quorate_types::Timestamp;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::identity;

/// A simulated machine. It must make the same choices each time it is asked the same questions in the same
/// order.
pub trait Simulation {
    fn random(&self) -> u64;
    fn wall_clock(&self) -> Timestamp;
    /// How long the next piece of blocking work takes: a read, a sync, a snapshot.
    fn work_takes(&self) -> Duration;
    /// How long something lies between one task and the next.
    fn hand_off_takes(&self) -> Duration;
}

thread_local! {
    static SIMULATION: RefCell<Option<Rc<dyn Simulation>>> = const { RefCell::new(None) };
}

/// Replicas that run on this thread from now on live on the given machine; `None` is the real one. Their
/// runtimes must be single-threaded.
pub fn simulate(simulation: Option<Rc<dyn Simulation>>) {
    SIMULATION.set(simulation);
}

fn simulated<T>(ask: impl FnOnce(&dyn Simulation) -> T) -> Option<T> {
    SIMULATION.with_borrow(|simulation| simulation.as_deref().map(ask))
}

/// A random number other than 0.
pub(crate) fn random() -> io::Result<u64> {
    match simulated(|host| host.random()) {
        Some(random) => Ok(random.max(1)),
        None => identity::random(),
    }
}

pub(crate) fn wall_clock() -> Timestamp {
    simulated(|host| host.wall_clock()).unwrap_or_else(Timestamp::from_wall_clock)
}

/// How long blocking work is to take here; `None` where it takes the time that it takes.
pub(crate) fn work_takes() -> Option<Duration> {
    simulated(|host| host.work_takes())
}

/// Before one task takes up what another one has left for it: nothing, except where a simulation wants to see what
/// comes of another order. A runtime alone would always choose the same.
pub async fn hand_off() {
    if let Some(time) = simulated(|host| host.hand_off_takes())
        && !time.is_zero()
    {
        tokio::time::sleep(time).await;
    }
}

/// Work on so many bytes keeps a thread for longer than a heartbeat may be late.
const LONG_BYTES: usize = 256 << 10;

/// Does work that stays where it is, whatever it costs. If it is on many bytes, this thread leaves the runtime's other
/// tasks to another one meanwhile: raft has few threads, and heartbeats need one.
pub(crate) fn in_place<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let has_others = || Handle::try_current().is_ok_and(|now| now.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes >= LONG_BYTES && has_others() { tokio::task::block_in_place(work) } else { work() }
}

/// Drops what takes long to drop where it holds nobody up.
pub(crate) fn discard<T: Send + 'static>(what: T) {
    if work_takes().is_none() {
        tokio::task::spawn_blocking(move || drop(what));
    }
}

/// Does work that blocks, where it holds nobody up.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match work_takes() {
        Some(time) => {
            tokio::time::sleep(time).await;
            work()
        }
        None => tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e))),
    }
}
