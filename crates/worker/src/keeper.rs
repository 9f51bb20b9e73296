//! The agent's side of the watchdog: starts it, talks to it, ends it.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use libc::pid_t;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::error::WorkerError;
use crate::host;
use crate::sys::{self, Bond, Launch};
use crate::watchdog::wire::{self, Event, Inbox, Order};

/// How long a watchdog may take to say that it is there.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// Events that wait for the agent. The watchdog keeps more on its side.
const EVENTS_MAX: usize = 1024;
/// Orders written at once.
const ORDERS_AT_ONCE: usize = 64;
const READ_BYTES: usize = 64 << 10;
/// Of a simulated watchdog. No process has it.
const NO_PID: pid_t = pid_t::MAX;

/// A watchdog that runs. Dropping this closes the socket, upon which it ends everything, and itself.
#[derive(Debug)]
pub(crate) struct Keeper {
    pid: pid_t,
    /// Its death ends all attempts and whatever they started.
    pub(crate) namespaced: bool,
    /// Unbounded, since it must not wait for a stopped watchdog; the attempts bound what is in it, and a
    /// watchdog that does not answer is killed.
    orders: mpsc::UnboundedSender<Order>,
    /// Ends when the watchdog is gone.
    pub(crate) events: mpsc::Receiver<Event>,
}

impl Keeper {
    /// Starts a watchdog, in a namespace of its own if that is wished and possible.
    pub(crate) async fn start(command: &[OsString], namespaced: bool) -> Result<Self, WorkerError> {
        if let Some(watchdog) = host::simulated(|host| host.start_watchdog()) {
            let host::Watchdog { orders, events } = watchdog;
            return Ok(Self { pid: NO_PID, namespaced: true, orders, events });
        }
        if namespaced {
            match Self::start_one(command, Bond::FreeInNamespace).await {
                Ok(keeper) => return Ok(keeper),
                Err(error) => tracing::info!(%error, "no PID namespace for tasks; they run in process groups only"),
            }
        }
        Self::start_one(command, Bond::Free).await.map_err(WorkerError::Watchdog)
    }

    async fn start_one(command: &[OsString], bond: Bond) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (read, write) = UnixStream::from_std(ours)?.into_split();
        let command = command.to_vec();
        let pid = spawn_blocking(move || launch(&command, bond, &theirs)).await??;
        let (order_sender, orders) = mpsc::unbounded_channel();
        let (event_sender, events) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(write_orders(write, orders));
        tokio::spawn(read_events(read, event_sender));
        let mut keeper = Self { pid, namespaced: bond == Bond::FreeInNamespace, orders: order_sender, events };
        match timeout(READY_WITHIN, keeper.events.recv()).await {
            Ok(Some(Event::Ready)) => Ok(keeper),
            _ => {
                keeper.kill();
                keeper.reap().await;
                Err(io::Error::other("the watchdog did not come up"))
            }
        }
    }

    pub(crate) fn pid(&self) -> pid_t {
        self.pid
    }

    pub(crate) fn order(&self, order: Order) {
        // Should it be gone, the end of its events says so.
        let _ = self.orders.send(order);
    }

    /// Ends it without its cooperation; it may be stopped.
    pub(crate) fn kill(&self) {
        if host::simulated(|host| host.kill_watchdog()).is_some() {
            return;
        }
        // It is our child and not reaped, so the number is still its own.
        sys::signal_process(self.pid, libc::SIGKILL);
    }

    /// Waits until it is gone. With a namespace all that it had started is gone then, too.
    pub(crate) async fn reap(self) {
        let pid = self.pid;
        drop(self);
        if host::is_simulated() {
            return;
        }
        let reaped = spawn_blocking(move || sys::reap(pid)).await;
        tracing::debug!(pid, ?reaped, "the watchdog is gone");
    }

    /// Has it end everything and leave; by force if it takes longer than `patience`.
    pub(crate) async fn shut_down(mut self, patience: Duration) {
        self.order(Order::Shutdown);
        let gone = async { while self.events.recv().await.is_some() {} };
        if timeout(patience, gone).await.is_err() {
            tracing::warn!("the watchdog does not leave and is killed");
            self.kill();
        }
        self.reap().await;
    }
}

async fn write_orders(mut socket: OwnedWriteHalf, mut orders: mpsc::UnboundedReceiver<Order>) {
    let (mut batch, mut bytes) = (Vec::new(), Vec::new());
    while orders.recv_many(&mut batch, ORDERS_AT_ONCE).await > 0 {
        bytes.clear();
        for order in batch.drain(..) {
            if let Err(error) = wire::encode(&order, &mut bytes) {
                // Limits of specifications keep orders far below the limit of messages.
                tracing::error!(%error, "could not encode an order to the watchdog");
            }
        }
        if socket.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn read_events(mut socket: OwnedReadHalf, events: mpsc::Sender<Event>) {
    let (mut inbox, mut bytes) = (Inbox::default(), vec![0; READ_BYTES]);
    while let Ok(n @ 1..) = socket.read(&mut bytes).await {
        inbox.push(&bytes[..n]);
        loop {
            match inbox.pop::<Event>() {
                Ok(Some(event)) => {
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "could not understand the watchdog");
                    return;
                }
            }
        }
    }
}

fn launch(command: &[OsString], bond: Bond, socket: &std::os::unix::net::UnixStream) -> io::Result<pid_t> {
    let program = command.first().ok_or_else(|| io::Error::other("its command is empty"))?;
    let argv: Vec<_> = command.iter().map(|argument| c_string(argument)).collect::<io::Result<_>>()?;
    let mut envp: Vec<_> = std::env::vars_os().filter_map(|(name, value)| variable(&name, &value)).collect();
    if bond == Bond::FreeInNamespace {
        envp.extend(variable(OsStr::new(wire::NAMESPACED), OsStr::new("1")));
    }
    let null = File::open("/dev/null")?;
    // Its stderr stays ours, for what it may have to say; stdout belongs to us alone.
    let fds = [(null.as_raw_fd(), 0), (null.as_raw_fd(), 1), (socket.as_raw_fd(), wire::SOCKET_FD)];
    let programs = [c_string(program)?];
    let launch = Launch { programs: &programs, argv: &argv, envp: &envp, working_dir: None, fds: &fds, bond };
    sys::launch(&launch).map_err(|error| error.source)
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}

fn variable(name: &OsStr, value: &OsStr) -> Option<CString> {
    let mut variable = name.to_owned();
    variable.push("=");
    variable.push(value);
    CString::new(variable.into_vec()).ok()
}
