//! The system calls that neither std nor nix offers safely. The only unsafe code of the crate.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// Stack of the child between clone and exec. It calls a dozen system calls with shallow frames.
const CHILD_STACK_BYTES: usize = 64 << 10;

/// How a process is started.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// Paths to try in turn, as `execvp` would.
    pub(crate) programs: &'a [CString],
    pub(crate) argv: &'a [CString],
    pub(crate) envp: &'a [CString],
    pub(crate) working_dir: Option<&'a CStr>,
    /// Descriptors of ours and what they are to be in the child, ordered by the latter. A source must
    /// not be the target of an earlier pair. Everything else must be close-on-exec.
    pub(crate) fds: &'a [(RawFd, RawFd)],
    pub(crate) bond: Bond,
}

/// What ties a new process to its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bond {
    /// It survives its parent.
    Free,
    /// It survives its parent and is the first process of PID and mount namespaces of its own.
    FreeInNamespace,
    /// The kernel kills it with the calling thread, and it adopts its orphaned descendants.
    DiesWithParent,
}

/// The step of a launch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Clone,
    Setup,
    WorkingDir,
    Exec,
}

#[derive(Debug)]
pub(crate) struct LaunchError {
    pub(crate) step: Step,
    pub(crate) source: io::Error,
}

/// What the child reads and writes while it shares our memory.
struct Shared {
    programs: Vec<*const c_char>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    working_dir: *const c_char,
    fds: *const (RawFd, RawFd),
    fds_len: usize,
    dies_with_parent: bool,
    parent: libc::pid_t,
    failed: Option<(Step, c_int)>,
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// Starts a process as `vfork` and `exec` would: the child borrows our memory until it executes, so the
/// cost does not grow with our size. The child leads a session and process group of its own, with
/// default signal dispositions and an empty signal mask. Returns its pid.
pub(crate) fn launch(launch: &Launch<'_>) -> Result<libc::pid_t, LaunchError> {
    let mut stack = Vec::<u8>::with_capacity(CHILD_STACK_BYTES);
    let mut shared = Shared {
        programs: pointers(launch.programs),
        argv: pointers(launch.argv),
        envp: pointers(launch.envp),
        working_dir: launch.working_dir.map_or(ptr::null(), CStr::as_ptr),
        fds: launch.fds.as_ptr(),
        fds_len: launch.fds.len(),
        dies_with_parent: launch.bond == Bond::DiesWithParent,
        // SAFETY: getpid has no preconditions.
        parent: unsafe { libc::getpid() },
        failed: None,
    };
    let namespaces = if launch.bond == Bond::FreeInNamespace { libc::CLONE_NEWPID | libc::CLONE_NEWNS } else { 0 };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | namespaces;
    // SAFETY: all signals are blocked, so that no handler of ours runs in the child on our memory. The
    // child runs on its own stack, of which the 16-byte aligned end is passed; CLONE_VFORK suspends this
    // thread until the child has executed or exited, so `shared`, what it points to and the stack outlive
    // its use of them, and nobody else touches them. `child` allocates nothing and takes no locks.
    let (pid, errno) = unsafe {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut old = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
        let top = stack.as_mut_ptr().add(CHILD_STACK_BYTES);
        let top = top.sub(top as usize % 16);
        let pid = libc::clone(child, top.cast::<c_void>(), flags, (&raw mut shared).cast::<c_void>());
        let errno = *libc::__errno_location();
        libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), ptr::null_mut());
        (pid, errno)
    };
    if pid < 0 {
        return Err(LaunchError { step: Step::Clone, source: io::Error::from_raw_os_error(errno) });
    }
    // The child wrote it through the pointer, which the compiler can't see.
    // SAFETY: `shared` is a live local, and the child is past its use of it.
    match unsafe { (&raw const shared.failed).read_volatile() } {
        None => Ok(pid),
        Some((step, errno)) => {
            let _ = reap(pid);
            Err(LaunchError { step, source: io::Error::from_raw_os_error(errno) })
        }
    }
}

/// Runs in the child until exec. Only async-signal-safe calls.
extern "C" fn child(argument: *mut c_void) -> c_int {
    // SAFETY: `launch` passes a pointer to its `Shared`, which it does not touch meanwhile; the arrays in
    // it end in null and point to strings that live as long.
    unsafe {
        let shared = &mut *argument.cast::<Shared>();
        shared.failed = Some(match prepare_child(shared) {
            Err(step) => (step, *libc::__errno_location()),
            Ok(()) => (Step::Exec, execute(shared)),
        });
        libc::_exit(127)
    }
}

/// SAFETY: as in [`child`].
unsafe fn prepare_child(shared: &Shared) -> Result<(), Step> {
    // SAFETY: plain system calls on values of `shared`.
    unsafe {
        for signal in 1..32 {
            if signal != libc::SIGKILL && signal != libc::SIGSTOP {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        libc::setsid();
        if shared.dies_with_parent {
            let killed = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0;
            // Descendants that outlive their parent come to this process, not to ours: while it lives,
            // whatever it started stays below it, and all of that comes to us when it ends. So a child
            // of ours that we did not start always belongs to an attempt that has ended.
            let adopts = libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) == 0;
            if !(killed && adopts) {
                return Err(Step::Setup);
            }
            // The parent may have died before the kernel was told to watch it.
            if libc::getppid() != shared.parent {
                libc::_exit(127);
            }
        }
        for at in 0..shared.fds_len {
            let (from, to) = *shared.fds.add(at);
            let done = if from == to { libc::fcntl(to, libc::F_SETFD, 0) } else { libc::dup2(from, to) };
            if done < 0 {
                return Err(Step::Setup);
            }
        }
        if !shared.working_dir.is_null() && libc::chdir(shared.working_dir) != 0 {
            return Err(Step::WorkingDir);
        }
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        Ok(())
    }
}

/// Tries the programs in turn and returns the error number of `execvp`'s choice.
///
/// SAFETY: as in [`child`].
unsafe fn execute(shared: &Shared) -> c_int {
    let mut errno = libc::ENOENT;
    let mut at = 0;
    // SAFETY: the arrays end in null.
    unsafe {
        while !(*shared.programs.as_ptr().add(at)).is_null() {
            libc::execve(*shared.programs.as_ptr().add(at), shared.argv.as_ptr(), shared.envp.as_ptr());
            match *libc::__errno_location() {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => errno = libc::EACCES,
                other => return other,
            }
            at += 1;
        }
    }
    errno
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Status {
    Exited(i32),
    Signalled(i32),
}

/// What a look for ended children found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peek {
    Ended(libc::pid_t),
    AllRun,
    NoChildren,
}

/// Looks for a child that has ended, without reaping it: its pid and group stay reserved.
pub(crate) fn peek_ended() -> Peek {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is writable and zeroed, which is a valid siginfo_t; waitid fills in the pid.
    let (result, pid) = unsafe {
        let result = libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), flags);
        (result, info.assume_init_ref().si_pid())
    };
    match (result, pid) {
        (0, 0) => Peek::AllRun,
        (0, pid) => Peek::Ended(pid),
        _ if io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD) => Peek::NoChildren,
        _ => Peek::AllRun,
    }
}

/// Waits for the child `pid` and reaps it.
pub(crate) fn reap(pid: libc::pid_t) -> io::Result<Status> {
    let mut status: c_int = 0;
    loop {
        // SAFETY: `status` is writable.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    if libc::WIFSIGNALED(status) {
        Ok(Status::Signalled(libc::WTERMSIG(status)))
    } else {
        Ok(Status::Exited(libc::WEXITSTATUS(status)))
    }
}

/// Sends a signal; 0 only asks. Whether there was somebody to get it (a zombie counts).
pub(crate) fn signal_process(pid: libc::pid_t, signal: c_int) -> bool {
    // SAFETY: kill has no preconditions. 0 and -1 would address ourselves or everybody.
    pid > 1 && unsafe { libc::kill(pid, signal) } == 0
}

/// The same for a whole process group.
pub(crate) fn signal_group(group: libc::pid_t, signal: c_int) -> bool {
    // SAFETY: kill has no preconditions. Groups 0 and 1 would address ourselves or everybody.
    group > 1 && unsafe { libc::kill(-group, signal) } == 0
}

/// Whether a file or folder bears nothing that would outlive its contents: flags like "immutable", a mount, extended
/// attributes (access control lists are such).
pub(crate) fn is_unmarked(path: &CStr) -> bool {
    const MARKS: c_int = libc::STATX_ATTR_IMMUTABLE
        | libc::STATX_ATTR_APPEND
        | libc::STATX_ATTR_NODUMP
        | libc::STATX_ATTR_COMPRESSED
        | libc::STATX_ATTR_MOUNT_ROOT;
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path ends in null, and `found` has the size of what is written; zeroed it is a valid value even if
    // nothing was. Without room for them the kernel only counts the bytes of the attributes' names.
    unsafe {
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, libc::STATX_BASIC_STATS, found.as_mut_ptr()) == 0
            && found.assume_init().stx_attributes & u64::from(MARKS.unsigned_abs()) == 0
            && libc::llistxattr(path.as_ptr(), ptr::null_mut(), 0) == 0
    }
}

/// Whether nobody else has the file open: the kernel grants a lease to write on no other condition.
pub(crate) fn is_open_nowhere_else(file: &std::fs::File) -> bool {
    let fd = std::os::fd::AsRawFd::as_raw_fd(file);
    // SAFETY: plain calls on a descriptor that is open.
    unsafe {
        libc::fcntl(fd, libc::F_SETLEASE, libc::F_WRLCK) == 0 && libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) == 0
    }
}

/// Takes over a descriptor that our parent has left for us.
pub(crate) fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on any number is harmless.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and by the protocol between agent and watchdog nobody else here owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes every descriptor from `first` on that a careless parent has left open for us.
pub(crate) fn close_from(first: libc::c_uint) {
    // SAFETY: called first thing in `main`, when nothing in this process owns such a descriptor. A kernel
    // without the call leaves them open, which harms nothing but tidiness.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// A random number from the kernel.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0_u8; 8];
    // SAFETY: the buffer has the length that is passed.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast::<c_void>(), bytes.len(), 0) };
    if got == 8 { Ok(u64::from_ne_bytes(bytes)) } else { Err(io::Error::last_os_error()) }
}
