//! The few calls to the kernel that need `unsafe`.
#![allow(unsafe_code, reason = "signals, namespaces and one ioctl have no safe wrapper among our dependencies")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Sends a signal; `false` if there is no such process.
pub(crate) fn signal(pid: i32, signal: i32) -> bool {
    assert!(pid > 1, "{pid} is no process of ours");
    // SAFETY: kill has no memory preconditions.
    unsafe { libc::kill(pid, signal) == 0 }
}

pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

/// Puts the calling thread into another network namespace.
pub(crate) fn enter_network(namespace: &Path) -> io::Result<()> {
    let file = File::open(namespace)?;
    // SAFETY: the descriptor is open for the whole call.
    check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Gives the calling thread a mount namespace of its own; what it and its children mount goes with them.
pub(crate) fn own_mounts() -> io::Result<()> {
    // SAFETY: affects only the calling thread's view of mounts.
    check(unsafe { libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS) })?;
    // SAFETY: the strings are constants that end in NUL; null is allowed for those that MS_PRIVATE ignores.
    check(unsafe {
        libc::mount(
            c"none".as_ptr(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        )
    })
}

/// Cuts the power of a mounted ext4: what was not fsynced is lost, every later write fails with EIO.
pub(crate) fn cut_power(mount: &Path) -> io::Result<()> {
    /// `_IOR('X', 125, __u32)`, the same for ext4, f2fs and XFS.
    const SHUTDOWN: libc::c_ulong = 0x8004_587D;
    /// Do not even flush the journal.
    const NO_LOG_FLUSH: u32 = 2;
    let folder = File::open(mount)?;
    // SAFETY: the ioctl reads four bytes, which live for the call.
    check(unsafe { libc::ioctl(folder.as_raw_fd(), SHUTDOWN, std::ptr::from_ref(&NO_LOG_FLUSH)) })
}

/// Lets this process, and those it starts, have as many open files as it may; returns how many that is.
pub(crate) fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only use the struct, which lives for them.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 0;
        }
        limit.rlim_cur = limit.rlim_max;
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
            return 0;
        }
    }
    limit.rlim_cur
}

/// What a process has in memory now.
pub(crate) fn resident_bytes(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A process as /proc tells it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) state: char,
    pub(crate) command: String,
}

/// Every process of this machine.
pub(crate) fn processes() -> Vec<Seen> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| seen(entry.file_name().to_str()?.parse().ok()?)).collect()
}

pub(crate) fn seen(pid: i32) -> Option<Seen> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let (state, parent) = (fields.next()?.chars().next()?, fields.next()?.parse().ok()?);
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned();
    Some(Seen { pid, parent, state, command })
}

/// Processes, dead ones that only wait to be reaped left out, whose environment holds all of these variables.
pub(crate) fn with_environment(variables: &[String]) -> Vec<Seen> {
    let holds = |pid: i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let found: Vec<&[u8]> = environment.split(|byte| *byte == 0).collect();
        variables.iter().all(|variable| found.iter().any(|one| one.starts_with(variable.as_bytes())))
    };
    processes().into_iter().filter(|seen| !matches!(seen.state, 'Z' | 'X') && holds(seen.pid)).collect()
}
