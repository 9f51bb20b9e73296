//! The watchdog: the small process that starts the attempts of a worker and makes sure that they end.
//!
//! The agent can be killed with -9, stopped or be stuck; the watchdog then ends what it started: at once
//! when the agent's end of the socket closes, and at the lease's deadline in any case. It is one thread
//! around one poll, never blocks on the agent, and does nothing that could take long.
//!
//! Where the host allows it, it is the first process of a PID namespace of its own, so that the kernel
//! kills everything in it when it dies itself. That is also why it remounts /proc there.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use self::reap::Family;
use self::spawn::Refusal;
use self::wire::{Event, Inbox, Order, Registration, Spawn};
use crate::clock::Boottime;
use crate::sys;

mod farewell;
mod reap;
mod spawn;
mod tree;
pub(crate) mod wire;

/// Orders carried out between two looks at children and deadline: a spawn takes some 300 µs.
const ORDERS_AT_ONCE: usize = 16;
/// What one read takes from the socket.
const READ_BYTES: usize = 64 << 10;

/// The whole life of the process behind the hidden subcommand `quorate watchdog`.
///
/// The agent leaves its end of the conversation as descriptor 3.
pub fn main() -> ExitCode {
    match Watchdog::set_up().and_then(|mut watchdog| watchdog.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The agent notices that we are gone, and its operator may want to know why.
            let _ = writeln!(io::stderr(), "quorate watchdog: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why everything ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// The agent said so.
    Silently,
    /// The agent is gone.
    WithFarewell,
}

struct Watchdog {
    socket: UnixStream,
    signals: SignalFd,
    timer: TimerFd,
    timer_at: Option<Boottime>,
    inbox: Inbox,
    outgoing: Vec<u8>,
    inherited: Vec<(Vec<u8>, Vec<u8>)>,
    family: Family,
    deadline: Option<Boottime>,
    /// The deadline passed, and the agent has not set a later one since.
    lapsed: bool,
    /// Rounds of [`Order::KillAll`] that are not confirmed yet.
    rounds: Vec<u64>,
    registration: Option<Registration>,
    leave: Option<Leave>,
}

impl Watchdog {
    fn set_up() -> io::Result<Self> {
        sys::close_from(wire::SOCKET_FD as u32 + 1);
        let socket = UnixStream::from(sys::adopt(wire::SOCKET_FD)?);
        socket.set_nonblocking(true)?;
        // SIGCHLD is read from a descriptor. The others come from terminals and service managers, which
        // mean the agent: it decides how the attempts end, and its end is ours.
        let mut blocked = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
            blocked.add(signal);
        }
        blocked.thread_block()?;
        let signals = SignalFd::with_flags(&blocked, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        nix::sys::prctl::set_child_subreaper(true)?;
        if std::env::var_os(wire::NAMESPACED).is_some() {
            mount_proc()?;
        }
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        let mut watchdog = Self::new(socket, signals, timer);
        watchdog.tell(&Event::Ready);
        Ok(watchdog)
    }

    fn new(socket: UnixStream, signals: SignalFd, timer: TimerFd) -> Self {
        Self {
            socket,
            signals,
            timer,
            timer_at: None,
            inbox: Inbox::default(),
            outgoing: Vec::new(),
            inherited: spawn::inherited(),
            family: Family::default(),
            deadline: None,
            lapsed: false,
            rounds: Vec::new(),
            registration: None,
            leave: None,
        }
    }

    fn run(&mut self) -> io::Result<()> {
        let mut more = false;
        loop {
            self.flush();
            if self.leave.is_some() && self.family.is_empty() {
                break;
            }
            self.wait(more)?;
            // Orders first: a later deadline may be among them, if this process had to wait for its turn.
            more = self.take_orders();
            self.on_time(Boottime::now());
            for event in self.family.reap(Boottime::now()) {
                self.tell(&event);
            }
            self.confirm_rounds();
        }
        if let (Some(Leave::WithFarewell), Some(registration)) = (self.leave, &self.registration) {
            farewell::say(registration);
        }
        Ok(())
    }

    /// Sleeps until a child ends, an order comes or it is time for something.
    fn wait(&mut self, more: bool) -> io::Result<()> {
        self.set_timer()?;
        let mut socket = PollFlags::POLLIN;
        socket.set(PollFlags::POLLOUT, !self.outgoing.is_empty());
        let mut fds = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.socket.as_fd(), socket),
        ];
        // A closed socket stays readable; from then on only children and time matter.
        let watched = if self.leave.is_some() { &mut fds[..2] } else { &mut fds[..] };
        match poll(watched, if more { PollTimeout::ZERO } else { PollTimeout::NONE }) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        while let Ok(Some(_)) = self.signals.read_signal() {}
        Ok(())
    }

    /// Arms the timer for what comes first. It counts the time that the host sleeps, as the lease does.
    fn set_timer(&mut self) -> io::Result<()> {
        let deadline = self.deadline.filter(|_| !self.lapsed);
        let next = self.family.next_time(Boottime::now()).into_iter().chain(deadline).min();
        if next == self.timer_at {
            return Ok(());
        }
        self.timer_at = next;
        match next {
            None => self.timer.unset()?,
            Some(Boottime(at)) => {
                let at = TimeSpec::from_duration(Duration::from_nanos(at.max(1)));
                self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            }
        }
        Ok(())
    }

    fn on_time(&mut self, now: Boottime) {
        if self.timer_at.is_some_and(|at| at <= now) {
            // It has fired: the next wait arms it anew, which also clears that it is readable.
            self.timer_at = None;
            let _ = self.timer.unset();
        }
        self.family.on_time(now);
        self.check_deadline(now);
    }

    fn check_deadline(&mut self, now: Boottime) {
        if let Some(deadline) = self.deadline.filter(|deadline| !self.lapsed && *deadline <= now) {
            self.lapsed = true;
            self.family.kill_all();
            self.tell(&Event::Lapsed { deadline });
        }
    }

    /// Reads and carries out some orders. Whether more of them are there already.
    fn take_orders(&mut self) -> bool {
        if self.leave.is_some() {
            return false;
        }
        for _ in 0..ORDERS_AT_ONCE {
            match self.inbox.pop::<Order>() {
                Ok(Some(order)) => self.carry_out(order),
                Ok(None) if self.read() => {}
                Ok(None) => return false,
                // The agent is of our own build; if we can't understand it, it is as good as gone.
                Err(_) => self.leave(Leave::WithFarewell),
            }
            if self.leave.is_some() {
                return false;
            }
        }
        true
    }

    /// Whether anything came.
    fn read(&mut self) -> bool {
        let mut bytes = [0; READ_BYTES];
        match self.socket.read(&mut bytes) {
            Ok(n) if n > 0 => {
                self.inbox.push(&bytes[..n]);
                return true;
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Ok(_) | Err(_) => self.leave(Leave::WithFarewell),
        }
        false
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Spawn(spawn) => self.spawn(&spawn),
            Order::Terminate { key, grace_ms } => {
                self.family.terminate(key, Duration::from_millis(grace_ms), Boottime::now());
            }
            Order::Kill { key } => self.family.kill(key),
            Order::Probe { spawn, timeout_ms } => self.probe(&spawn, Duration::from_millis(timeout_ms)),
            Order::Move { key, motion } => self.family.set_motion(key, motion, Boottime::now()),
            Order::KillAll { round } => {
                self.family.kill_all();
                self.rounds.push(round);
                self.confirm_rounds();
            }
            Order::Deadline(deadline) => {
                self.deadline = Some(deadline);
                self.lapsed = false;
            }
            Order::Registration(registration) => self.registration = registration,
            Order::Ping { seq } => self.tell(&Event::Pong { seq }),
            Order::Shutdown => self.leave(Leave::Silently),
        }
    }

    fn spawn(&mut self, order: &Spawn) {
        let key = order.key;
        let now = Boottime::now();
        // The agent must hear first that the lease is over: else the attempt would seem to have failed by itself.
        self.check_deadline(now);
        let outcome = if self.lapsed {
            Err(Refusal::Task("the worker's lease is over".to_owned()))
        } else if self.family.knows(&key) {
            Err(Refusal::Task("it runs already".to_owned()))
        } else {
            spawn::spawn(order, &self.inherited)
        };
        match outcome {
            Ok(pid) => {
                self.family.on_started(key, pid, now);
                self.tell(&Event::Spawned { key, pid });
            }
            Err(Refusal::Task(detail)) => self.tell(&Event::NotStarted { key, detail }),
            Err(Refusal::Worker(detail)) => self.tell(&Event::Unable { key, detail }),
        }
    }

    /// Runs a command beside an attempt. One that can't be started says as little for it as one that fails.
    fn probe(&mut self, order: &Spawn, timeout: Duration) {
        let (key, now) = (order.key, Boottime::now());
        self.check_deadline(now);
        let may = !self.lapsed && self.family.takes_probe(&key);
        match may.then(|| spawn::spawn(order, &self.inherited)) {
            Some(Ok(pid)) => self.family.on_probe_started(key, pid, now, now.plus(timeout)),
            Some(Err(_)) | None => self.tell(&Event::Probed { key, well: false }),
        }
    }

    fn confirm_rounds(&mut self) {
        if self.family.is_empty() {
            for round in std::mem::take(&mut self.rounds) {
                self.tell(&Event::AllEnded { round });
            }
        }
    }

    fn leave(&mut self, how: Leave) {
        self.leave = Some(how);
        self.family.kill_all();
    }

    /// Queues an event. The queue is bounded by the attempts that live: a stopped agent orders no more.
    fn tell(&mut self, event: &Event) {
        // Events are small; one that can't be encoded would be a bug, and the agent finds out by its pings.
        let _ = wire::encode(event, &mut self.outgoing);
    }

    /// Sends what the socket takes without waiting for the agent, which may be stopped.
    fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.outgoing.len() {
            match self.socket.write(&self.outgoing[sent..]) {
                Ok(n) if n > 0 => sent += n,
                // A broken socket shows when it is read.
                Ok(_) | Err(_) => break,
            }
        }
        self.outgoing.drain(..sent);
    }
}

/// Gives this mount namespace a /proc that numbers processes as this PID namespace does. Mounts of the
/// host still arrive here, ours don't go there.
fn mount_proc() -> io::Result<()> {
    const NONE: Option<&str> = None;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, NONE)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use quorate_types::session::AttemptKey;

    use super::*;
    use crate::table::tests::key;

    fn order(key: AttemptKey) -> Spawn {
        Spawn {
            key,
            argv: vec!["/bin/true".into()],
            env: vec![],
            working_dir: "/".into(),
            stdin: None,
            stdout: "/dev/null".into(),
            stderr: "/dev/null".into(),
        }
    }

    /// A watchdog that has taken these orders, and what it tells.
    fn after(given: &[Order]) -> (Watchdog, Inbox) {
        let (mut agent, socket) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let signals = SignalFd::with_flags(&SigSet::empty(), SfdFlags::SFD_NONBLOCK).unwrap();
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK).unwrap();
        let mut watchdog = Watchdog::new(socket, signals, timer);
        let mut orders = Vec::new();
        given.iter().for_each(|order| wire::encode(order, &mut orders).unwrap());
        agent.write_all(&orders).unwrap();
        watchdog.take_orders();
        let mut told = Inbox::default();
        told.push(&watchdog.outgoing);
        (watchdog, told)
    }

    /// It was kept waiting, and finds its deadline past before it has looked at the time: the attempt is not to
    /// blame, and the agent must know that before it hears of it.
    #[test]
    fn a_lapse_is_told_before_what_it_prevents() {
        let key = key(1);
        let (mut watchdog, mut told) = after(&[Order::Deadline(Boottime(1)), Order::Spawn(Box::new(order(key)))]);
        assert_eq!(told.pop::<Event>().unwrap(), Some(Event::Lapsed { deadline: Boottime(1) }));
        assert!(matches!(told.pop::<Event>().unwrap(), Some(Event::NotStarted { key: told, .. }) if told == key));
        watchdog.on_time(Boottime::now());
        assert_eq!(told.pop::<Event>().unwrap(), None, "it is told once");
    }

    #[test]
    fn what_the_worker_lacks_is_not_the_tasks_fault() {
        let cases = [
            (Spawn { stdout: "/no/such/folder/stdout".into(), ..order(key(1)) }, true),
            (Spawn { stderr: "/no/such/folder/stderr".into(), ..order(key(2)) }, true),
            (Spawn { stdin: Some("/no/such/file".into()), ..order(key(3)) }, true),
            (Spawn { argv: vec!["/no/such/program".into()], ..order(key(4)) }, false),
            (Spawn { working_dir: "/no/such/folder".into(), ..order(key(5)) }, false),
            (Spawn { argv: vec![], ..order(key(6)) }, false),
        ];
        for (spawn, workers) in cases {
            let (_, mut told) = after(&[Order::Spawn(Box::new(spawn.clone()))]);
            match told.pop::<Event>().unwrap() {
                Some(Event::Unable { key, .. }) => assert!(workers && key == spawn.key, "{spawn:?}"),
                Some(Event::NotStarted { key, .. }) => assert!(!workers && key == spawn.key, "{spawn:?}"),
                other => panic!("{spawn:?}: {other:?}"),
            }
        }
    }
}
