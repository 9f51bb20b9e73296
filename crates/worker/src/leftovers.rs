//! What an earlier worker on the same folder left behind, and the records that find it.
//!
//! A worker that starts must be able to say that everything of its predecessor has ended. The records name
//! processes by number and start time, since numbers are used again. A namespaced watchdog takes all of
//! its attempts along. For others there are the groups recorded in the attempts' folders, and the search for
//! processes that carry the spool's path in their environment.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use libc::pid_t;

use crate::error::WorkerError;
use crate::spool::ATTEMPTS;
use crate::sys;

const LOCK: &str = "lock";
const WATCHDOG: &str = "watchdog";
const INSTANCE: &str = "instance";
const GROUP: &str = "group";
/// How often to look whether something killed is gone.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// When to tell that something does not go: a process that hangs in the kernel, mostly.
const LOOKS_BEFORE_WARNING: u32 = 2_500;

/// Takes the folder for this process, until it ends.
pub(crate) fn lock(data_dir: &Path) -> Result<File, WorkerError> {
    let path = data_dir.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(WorkerError::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(WorkerError::Locked(data_dir.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(WorkerError::file("lock", &path)(error)),
    }
}

/// The number of the registration that was last asked for from this folder.
pub(crate) fn read_instance(data_dir: &Path) -> Option<u64> {
    fs::read_to_string(data_dir.join(INSTANCE)).ok()?.trim().parse().ok()
}

/// Remembers the number of a registration, also through a loss of power.
pub(crate) fn write_instance(data_dir: &Path, instance: u64) -> Result<(), WorkerError> {
    let (path, new) = (data_dir.join(INSTANCE), data_dir.join("instance.new"));
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        writeln!(file, "{instance}")?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(data_dir)?.sync_all()
    };
    write().map_err(WorkerError::file("write", &path))
}

/// Remembers the watchdog, so that the next worker on this folder can end it.
pub(crate) fn record_watchdog(data_dir: &Path, pid: pid_t) -> Result<(), WorkerError> {
    let path = data_dir.join(WATCHDOG);
    fs::write(&path, record(pid)).map_err(WorkerError::file("write", path))
}

/// Remembers the process group of an attempt that dies with nobody.
pub(crate) fn record_group(folder: &Path, pid: pid_t) {
    // The folder is gone when the attempt was faster than this.
    let _ = fs::write(folder.join(GROUP), record(pid));
}

/// Ends everything that earlier workers on this folder left, and returns when it is gone.
pub(crate) fn end_all(data_dir: &Path) {
    if let Some(pid) = fs::read_to_string(data_dir.join(WATCHDOG)).ok().and_then(|text| recorded(&text)) {
        tracing::info!(pid, "ending the watchdog that an earlier worker left");
        sys::signal_process(pid, libc::SIGKILL);
        until("the watchdog of an earlier worker", || !is_alive(pid));
    }
    let attempts = data_dir.join(ATTEMPTS);
    let folders = fs::read_dir(&attempts).into_iter().flatten().flatten();
    let records = folders.filter_map(|folder| fs::read_to_string(folder.path().join(GROUP)).ok());
    end_groups(records.filter_map(|text| recorded_group(&text)).collect());
    end_marked(&attempts);
}

/// Kills process groups and returns when they are gone.
pub(crate) fn end_groups(groups: Vec<pid_t>) {
    for group in groups {
        until("a task's process group", || !group_is_alive(group));
    }
}

/// Kills the processes that carry the spool's path in their environment, and returns when they are gone.
pub(crate) fn end_marked(attempts: &Path) {
    let mark = format!("QUORATE_RESULT={}/", attempts.display());
    until("a task's process", || {
        let marked = marked_processes(mark.as_bytes());
        for pid in &marked {
            sys::signal_process(*pid, libc::SIGKILL);
        }
        marked.is_empty()
    });
}

fn until(what: &str, mut is_done: impl FnMut() -> bool) {
    let mut looks = 0_u32;
    while !is_done() {
        thread::sleep(LOOK_EVERY);
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(LOOKS_BEFORE_WARNING) {
            tracing::warn!("{what} was killed and does not go");
        }
    }
}

/// Kills the group. Whether any of it was alive; those that only wait to be reaped do nothing any more.
fn group_is_alive(group: pid_t) -> bool {
    sys::signal_group(group, libc::SIGKILL)
        && processes().any(|pid| Stat::of(pid).is_some_and(|stat| stat.group == group && stat.is_alive()))
}

fn marked_processes(mark: &[u8]) -> Vec<pid_t> {
    let own = std::process::id();
    let is_marked = |pid: &pid_t| {
        u32::try_from(*pid) != Ok(own)
            && fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|var| var.starts_with(mark)))
    };
    processes().filter(is_marked).collect()
}

fn processes() -> impl Iterator<Item = pid_t> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// What /proc/PID/stat says of a process.
struct Stat {
    state: u8,
    group: pid_t,
    started: u64,
}

impl Stat {
    fn of(pid: pid_t) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; the state, field 3, comes after it.
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?.bytes().next()?;
        let group = fields.nth(1)?.parse().ok()?;
        let started = fields.nth(16)?.parse().ok()?;
        Some(Self { state, group, started })
    }

    fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X')
    }
}

fn is_alive(pid: pid_t) -> bool {
    Stat::of(pid).is_some_and(|stat| stat.is_alive())
}

/// Start times count from the start of the host, so the record says which one.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn record(pid: pid_t) -> String {
    let started = Stat::of(pid).map_or(0, |stat| stat.started);
    format!("{pid} {started} {}\n", boot_id())
}

/// The recorded process, if it is still the one that was meant.
fn recorded(text: &str) -> Option<pid_t> {
    let (pid, started) = parse(text)?;
    Stat::of(pid).is_some_and(|stat| stat.started == started).then_some(pid)
}

/// The recorded group. Its leader may be gone; as long as any of it lives, nobody gets its number.
fn recorded_group(text: &str) -> Option<pid_t> {
    let (pid, started) = parse(text)?;
    Stat::of(pid).is_none_or(|stat| stat.started == started).then_some(pid)
}

fn parse(text: &str) -> Option<(pid_t, u64)> {
    let mut fields = text.split_ascii_whitespace();
    let (pid, started) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (fields.next() == Some(boot_id().as_str())).then_some((pid, started))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    fn a_record_names_one_process_and_no_successor() {
        let own = std::process::id() as pid_t;
        let text = record(own);
        assert_eq!((recorded(&text), recorded_group(&text)), (Some(own), Some(own)));
        let (pid, started) = parse(&text).unwrap();
        let other = format!("{pid} {} {}", started + 1, boot_id());
        assert_eq!((recorded(&other), recorded_group(&other)), (None, None));
        assert_eq!(recorded(&format!("{pid} {started} another-boot")), None);
        assert_eq!(recorded("rubbish"), None);
    }

    #[test]
    fn what_an_earlier_worker_left_is_ended() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join(ATTEMPTS).join("1-0-0-1-1");
        fs::create_dir_all(&folder).unwrap();
        let mut watchdog = Command::new("sleep").arg("1000").spawn().unwrap();
        record_watchdog(data.path(), watchdog.id() as pid_t).unwrap();
        let mut leader = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        record_group(&folder, leader.id() as pid_t);
        let mark = folder.join("result");
        let mut escaped = Command::new("sleep").arg("1000").env("QUORATE_RESULT", mark).spawn().unwrap();
        let mut bystander = Command::new("sleep").arg("1000").env("QUORATE_RESULT", "/elsewhere").spawn().unwrap();
        // The child appears with its environment only after exec.
        let cmdline = format!("/proc/{}/cmdline", escaped.id());
        until("exec", || fs::read(&cmdline).is_ok_and(|line| line.starts_with(b"sleep")));
        end_all(data.path());
        for child in [&mut watchdog, &mut leader, &mut escaped] {
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
        }
        assert!(bystander.try_wait().unwrap().is_none());
        bystander.kill().unwrap();
        bystander.wait().unwrap();
    }

    #[test]
    fn one_folder_has_one_worker_and_remembers_its_instance() {
        let data = tempfile::tempdir().unwrap();
        let held = lock(data.path()).unwrap();
        assert!(matches!(lock(data.path()), Err(WorkerError::Locked(_))));
        drop(held);
        assert!(lock(data.path()).is_ok());
        assert_eq!(read_instance(data.path()), None);
        write_instance(data.path(), 42).unwrap();
        write_instance(data.path(), u64::MAX).unwrap();
        assert_eq!(read_instance(data.path()), Some(u64::MAX));
    }
}
