//! A simulated network of byte streams. Each write is delayed by chance, each connection keeps its order,
//! different ones overtake each other. What is sent into a partition waits, as retransmissions do, and
//! comes late once it heals.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::chance::Chance;

pub(crate) use self::connection::Connection;

mod connection;

/// Who sends and receives: a machine of the simulation.
pub(crate) type Host = u16;

/// What a connection holds on its way before its writer has to wait.
const IN_FLIGHT_MAX: usize = 256 << 10;
const DELAY_MIN: Duration = Duration::from_micros(100);
const DELAY_USUAL: Duration = Duration::from_millis(2);
/// Once in a while a message takes this long at most.
const DELAY_SPIKE: Duration = Duration::from_millis(80);
const SPIKES_PERMILLE: u32 = 5;
/// What is lost is sent again after this.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// Clones are the same network.
#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<Inner>>);

struct Inner {
    now: Duration,
    chance: Chance,
    listeners: BTreeMap<String, Door>,
    /// Whose addresses they are, whether anybody listens or not.
    homes: BTreeMap<String, Host>,
    pipes: BTreeMap<u64, Pipe>,
    next_pipe: u64,
    /// What arrives when, by pipe.
    arrivals: BTreeSet<(Duration, u64)>,
    links: BTreeMap<(Host, Host), Link>,
    /// Without power: they say nothing, and answer nothing.
    dark: BTreeSet<Host>,
    /// To whom something has happened since this was asked for.
    stirred: BTreeSet<Host>,
    delivered: u64,
}

/// Where a host takes connections.
#[derive(Default)]
struct Door {
    host: Host,
    waiting: VecDeque<(Connection, String)>,
    waker: Option<Waker>,
}

/// How it stands from one host to another.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    cut: bool,
    /// A firewall answers in the other's name that nobody is there.
    rejects: bool,
    /// On top of the usual delay.
    slow: Duration,
    loss_permille: u32,
}

/// One direction of a connection.
struct Pipe {
    from: Host,
    to: Host,
    /// On their way; an empty one is the end.
    chunks: VecDeque<(Duration, Bytes)>,
    in_flight: usize,
    arrived: BytesMut,
    /// No more comes.
    ended: bool,
    /// The other end is gone.
    broken: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

impl Network {
    pub(crate) fn new(chance: Chance) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            now: Duration::ZERO,
            chance,
            listeners: BTreeMap::new(),
            homes: BTreeMap::new(),
            pipes: BTreeMap::new(),
            next_pipe: 0,
            arrivals: BTreeSet::new(),
            links: BTreeMap::new(),
            dark: BTreeSet::new(),
            stirred: BTreeSet::new(),
            delivered: 0,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers what is due.
    pub(crate) fn advance(&self, now: Duration) {
        let wakers = self.inner().advance(now);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The hosts whose processes have something to do since the last time.
    pub(crate) fn take_stirred(&self) -> BTreeSet<Host> {
        std::mem::take(&mut self.inner().stirred)
    }

    /// When the next chunk arrives anywhere.
    pub(crate) fn next_arrival(&self) -> Option<Duration> {
        self.inner().arrivals.first().map(|(at, _)| *at)
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.inner().delivered
    }

    /// Cuts the way from one host to another.
    pub(crate) fn cut(&self, from: Host, to: Host) {
        self.inner().links.entry((from, to)).or_default().cut = true;
    }

    pub(crate) fn slow_down(&self, from: Host, to: Host, slow: Duration) {
        self.inner().links.entry((from, to)).or_default().slow = slow;
    }

    pub(crate) fn lose(&self, from: Host, to: Host, loss_permille: u32) {
        self.inner().links.entry((from, to)).or_default().loss_permille = loss_permille;
    }

    /// What `from` sends to `to` is rejected from now on, and its connections there are reset.
    pub(crate) fn reject(&self, from: Host, to: Host) {
        let mut inner = self.inner();
        inner.links.entry((from, to)).or_default().rejects = true;
        let Inner { pipes, stirred, .. } = &mut *inner;
        let mut wakers = Vec::new();
        for pipe in pipes.values_mut().filter(|pipe| [(from, to), (to, from)].contains(&(pipe.from, pipe.to))) {
            (pipe.ended, pipe.broken) = (true, true);
            wakers.extend(pipe.wake_writer(stirred));
            wakers.extend(pipe.reader.take());
        }
        stirred.extend([from, to]);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Mends the way from one host to another.
    pub(crate) fn mend(&self, from: Host, to: Host) {
        self.inner().links.remove(&(from, to));
    }

    /// Mends everything.
    pub(crate) fn heal(&self) {
        self.inner().links.clear();
    }

    /// How long a message from one host to another takes; `None` if it never arrives.
    pub(crate) fn travel(&self, from: Host, to: Host) -> Option<Duration> {
        self.inner().travel(from, to)
    }

    /// A machine loses power: it says nothing any more, not even goodbye.
    pub(crate) fn silence(&self, host: Host) {
        let mut inner = self.inner();
        inner.dark.insert(host);
        for pipe in inner.pipes.values_mut().filter(|pipe| pipe.from == host) {
            pipe.broken = true;
        }
    }

    /// A process is killed: its kernel closes its connections. In an order of our own: the one in which a runtime
    /// drops its tasks depends on what ran in this process before.
    pub(crate) fn hang_up(&self, host: Host) {
        let mut inner = self.inner();
        let writing = inner.pipes.iter().filter(|(_, pipe)| pipe.from == host && !pipe.broken);
        let writing: Vec<u64> = writing.map(|(id, _)| *id).collect();
        for id in writing {
            inner.send(id, Bytes::new());
            if let Some(pipe) = inner.pipes.get_mut(&id) {
                pipe.broken = true;
            }
        }
        let Inner { pipes, dark, stirred, .. } = &mut *inner;
        let mut writers = Vec::new();
        for pipe in pipes.values_mut().filter(|pipe| pipe.to == host) {
            pipe.reader_gone = !dark.contains(&host);
            writers.extend(pipe.wake_writer(stirred));
        }
        drop(inner);
        writers.into_iter().for_each(Waker::wake);
    }

    /// Opens a door; an earlier one of the same name is gone.
    pub(crate) fn listen(&self, host: Host, address: &str) -> Listener {
        let mut inner = self.inner();
        inner.listeners.insert(address.to_owned(), Door { host, ..Door::default() });
        inner.homes.insert(address.to_owned(), host);
        if inner.dark.remove(&host) {
            // The machine is back, and knows nothing of the connections it had.
            inner.pipes.values_mut().filter(|pipe| pipe.to == host).for_each(|pipe| pipe.reader_gone = true);
        }
        drop(inner);
        Listener { network: self.clone(), address: address.to_owned() }
    }

    /// Connects `from` to whoever listens at `address`.
    pub(crate) async fn connect(&self, from: Host, address: &str) -> io::Result<Connection> {
        let (out, back, to, rejected) = {
            let mut inner = self.inner();
            let to = inner.homes.get(address).copied().ok_or(io::ErrorKind::AddrNotAvailable)?;
            let rejected = inner.links.get(&(from, to)).is_some_and(|link| link.rejects);
            (inner.travel(from, to), inner.travel(to, from), to, rejected)
        };
        let (Some(out), Some(back)) = (out, back) else { return std::future::pending().await };
        tokio::time::sleep(out + back).await;
        if rejected {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let mut inner = self.inner();
        let (ours, theirs) = inner.pair(self, from, to);
        match inner.listeners.get_mut(address) {
            Some(door) if door.host == to => {
                door.waiting.push_back((theirs, format!("host-{from}")));
                let waker = door.waker.take();
                inner.stirred.insert(to);
                drop(inner);
                waker.into_iter().for_each(Waker::wake);
                Ok(ours)
            }
            Some(_) | None => {
                drop(inner);
                Err(io::ErrorKind::ConnectionRefused.into())
            }
        }
    }
}

impl Inner {
    fn advance(&mut self, now: Duration) -> Vec<Waker> {
        self.now = now;
        let mut wakers = Vec::new();
        while let Some((at, id)) = self.arrivals.first().copied()
            && at <= now
        {
            self.arrivals.pop_first();
            let Some((from, to)) = self.pipes.get(&id).map(|pipe| (pipe.from, pipe.to)) else { continue };
            if self.links.get(&(from, to)).is_some_and(|link| link.cut) {
                self.arrivals.insert((now + RETRANSMISSION, id));
                continue;
            }
            self.delivered += 1;
            self.stirred.insert(to);
            let Some(pipe) = self.pipes.get_mut(&id) else { continue };
            wakers.extend(pipe.deliver(now));
            if let Some((next, _)) = pipe.chunks.front() {
                self.arrivals.insert((*next, id));
            }
            if pipe.is_over() {
                self.pipes.remove(&id);
            }
        }
        wakers
    }

    fn travel(&mut self, from: Host, to: Host) -> Option<Duration> {
        let link = self.links.get(&(from, to)).copied().unwrap_or_default();
        if link.cut || self.dark.contains(&to) {
            return None;
        }
        let most = if self.chance.permille(SPIKES_PERMILLE) { DELAY_SPIKE } else { DELAY_USUAL };
        let mut delay = self.chance.between(DELAY_MIN, most) + link.slow;
        while self.chance.permille(link.loss_permille) {
            delay += RETRANSMISSION;
        }
        Some(delay)
    }

    fn pair(&mut self, network: &Network, a: Host, b: Host) -> (Connection, Connection) {
        let (there, back) = (self.pipe(a, b), self.pipe(b, a));
        let end = |reads, writes| Connection { network: network.clone(), reads, writes };
        (end(back, there), end(there, back))
    }

    fn pipe(&mut self, from: Host, to: Host) -> u64 {
        self.next_pipe += 1;
        let (chunks, arrived) = (VecDeque::new(), BytesMut::new());
        let (ended, broken, reader_gone) = (false, false, false);
        let pipe =
            Pipe { from, to, chunks, in_flight: 0, arrived, ended, broken, reader_gone, reader: None, writer: None };
        self.pipes.insert(self.next_pipe, pipe);
        self.next_pipe
    }

    fn send(&mut self, id: u64, chunk: Bytes) {
        let Some((from, to)) = self.pipes.get(&id).map(|pipe| (pipe.from, pipe.to)) else { return };
        let travel = self.travel(from, to).unwrap_or(RETRANSMISSION);
        let now = self.now;
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        let last = pipe.chunks.back().map(|(at, _)| *at);
        let at = (now + travel).max(last.unwrap_or_default());
        pipe.in_flight += chunk.len();
        pipe.chunks.push_back((at, chunk));
        if last.is_none() {
            self.arrivals.insert((at, id));
        }
    }
}

impl Pipe {
    fn deliver(&mut self, now: Duration) -> Option<Waker> {
        while let Some((at, _)) = self.chunks.front()
            && *at <= now
        {
            let Some((_, chunk)) = self.chunks.pop_front() else { break };
            if chunk.is_empty() {
                self.ended = true;
            }
            self.arrived.extend_from_slice(&chunk);
        }
        self.reader.take()
    }

    /// The writer may go on, or see that nobody reads any more.
    fn wake_writer(&mut self, stirred: &mut BTreeSet<Host>) -> Option<Waker> {
        let writer = self.writer.take()?;
        stirred.insert(self.from);
        Some(writer)
    }

    /// Neither end will ask for it again.
    fn is_over(&self) -> bool {
        self.reader_gone && self.chunks.is_empty() && (self.ended || self.broken)
    }
}

/// The accepting end.
pub(crate) struct Listener {
    network: Network,
    address: String,
}

impl Listener {
    pub(crate) fn poll_accept(&self, cx: &Context<'_>) -> Poll<(Connection, String)> {
        let mut inner = self.network.inner();
        let Some(door) = inner.listeners.get_mut(&self.address) else { return Poll::Pending };
        match door.waiting.pop_front() {
            Some(accepted) => Poll::Ready(accepted),
            None => {
                door.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn accept(&self) -> impl Future<Output = (Connection, String)> + Send {
        std::future::poll_fn(|cx| self.poll_accept(cx))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let door = self.network.inner().listeners.remove(&self.address);
        // Connections that wait in it close, which takes the lock again.
        drop(door);
    }
}
