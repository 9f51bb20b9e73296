//! What a worker takes from the machine it runs on: its clock, chance, the way to a server, and a watchdog. A
//! simulation puts its own in their place, for the thread that it runs on.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

pub use crate::clock::Boottime;
use crate::error::WorkerError;
use crate::sys;
pub use crate::sys::Status;
pub use crate::watchdog::wire::{Event, Order, Registration, Spawn};

/// A connection whose upgrade is done.
pub trait Connection: AsyncRead + AsyncWrite + fmt::Debug + Unpin + Send + Sync + 'static {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Unpin + Send + Sync + 'static> Connection for T {}

/// The agent's end of a simulated watchdog: it takes orders until it is gone, which the end of its events says.
#[derive(Debug)]
pub struct Watchdog {
    pub orders: mpsc::UnboundedSender<Order>,
    pub events: mpsc::Receiver<Event>,
}

/// A simulated machine. It must make the same choices each time it is asked the same questions in the same
/// order.
pub trait Simulation {
    /// Nanoseconds since the machine started.
    fn boottime(&self) -> u64;
    fn random(&self) -> u64;
    /// How long something lies between one task and the next.
    fn hand_off_takes(&self) -> Duration;
    fn connect(&self, server: &str) -> BoxFuture<'static, io::Result<Box<dyn Connection>>>;
    fn start_watchdog(&self) -> Watchdog;
    /// Kills the watchdog, and with it everything that it has started.
    fn kill_watchdog(&self);
}

thread_local! {
    static SIMULATION: RefCell<Option<Rc<dyn Simulation>>> = const { RefCell::new(None) };
}

/// Workers that run on this thread from now on live on the given machine; `None` is the real one. Their
/// runtimes must be single-threaded.
pub fn simulate(simulation: Option<Rc<dyn Simulation>>) {
    SIMULATION.set(simulation);
}

pub(crate) fn simulated<T>(ask: impl FnOnce(&dyn Simulation) -> T) -> Option<T> {
    SIMULATION.with_borrow(|simulation| simulation.as_deref().map(ask))
}

pub(crate) fn is_simulated() -> bool {
    SIMULATION.with_borrow(Option::is_some)
}

pub(crate) fn boottime() -> Boottime {
    simulated(|host| Boottime(host.boottime())).unwrap_or_else(Boottime::of_host)
}

pub(crate) fn random() -> io::Result<u64> {
    simulated(|host| host.random()).map_or_else(sys::random, Ok)
}

/// Before one task takes up what another one has left for it: nothing, except where a simulation wants to see what
/// comes of another order.
pub(crate) async fn hand_off() {
    if let Some(time) = simulated(|host| host.hand_off_takes())
        && !time.is_zero()
    {
        tokio::time::sleep(time).await;
    }
}

/// Does work that blocks, where it holds nobody up.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, WorkerError> {
    if is_simulated() {
        return Ok(work());
    }
    Ok(tokio::task::spawn_blocking(work).await?)
}
