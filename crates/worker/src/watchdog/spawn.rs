//! How the watchdog starts an attempt.

use std::ffi::{CString, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;

use super::wire::Spawn;
use crate::sys::{self, Bond, Launch, LaunchError, Step};

/// What attempts inherit of the worker's own environment: what programs need to find each other, their
/// user, their language and their time zone. Nothing else, so that no secret of the worker gets out and
/// an attempt runs the same on every worker. docs: `quorate work`.
const INHERITED: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];
/// For a worker that was started without any.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Runs scripts that don't say what runs them, as `execvp` does.
const SHELL: &str = "/bin/sh";

/// The part of the environment that all attempts share.
pub(super) fn inherited() -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut env: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| name.to_str().is_some_and(|name| INHERITED.contains(&name)))
        .map(|(name, value): (OsString, OsString)| (name.into_vec(), value.into_vec()))
        .collect();
    if !env.iter().any(|(name, _)| name == b"PATH") {
        env.push((b"PATH".to_vec(), DEFAULT_PATH.into()));
    }
    env
}

/// Why a process could not be started, in words, and whose fault that is.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It would be the same anywhere.
    Task(String),
    /// This worker lacks something: room, memory, descriptors.
    Worker(String),
}

impl From<String> for Refusal {
    fn from(detail: String) -> Self {
        Self::Task(detail)
    }
}

/// Starts it and returns its pid.
pub(super) fn spawn(order: &Spawn, inherited: &[(Vec<u8>, Vec<u8>)]) -> Result<libc::pid_t, Refusal> {
    let files = Files::open(order).map_err(Refusal::Worker)?;
    let fds = [(files.stdin.as_raw_fd(), 0), (files.stdout.as_raw_fd(), 1), (files.stderr.as_raw_fd(), 2)];
    let program =
        order.argv.first().filter(|program| !program.is_empty()).ok_or_else(|| "the command is empty".to_owned())?;
    let mut argv = strings(order.argv.iter().map(String::as_str))?;
    let envp = environment(order, inherited)?;
    let working_dir = string(&order.working_dir)?;
    let mut programs = candidates(program, &envp)?;
    let launch = |programs: &[CString], argv: &[CString]| {
        let bond = Bond::DiesWithParent;
        sys::launch(&Launch { programs, argv, envp: &envp, working_dir: Some(&working_dir), fds: &fds, bond })
    };
    let mut outcome = launch(&programs, &argv);
    if matches!(&outcome, Err(e) if e.step == Step::Exec && e.source.raw_os_error() == Some(libc::ENOEXEC)) {
        let script = programs.into_iter().find(is_file).ok_or_else(|| "the script is gone".to_owned())?;
        programs = vec![string(SHELL)?];
        argv.splice(..1, [string(SHELL)?, script]);
        outcome = launch(&programs, &argv);
    }
    outcome.map_err(|error| match error.step {
        Step::Clone | Step::Setup => Refusal::Worker(explain(&error, order)),
        Step::WorkingDir | Step::Exec => Refusal::Task(explain(&error, order)),
    })
}

fn explain(error: &LaunchError, order: &Spawn) -> String {
    let LaunchError { step, source } = error;
    match step {
        Step::Clone => format!("create a process: {source}"),
        Step::Setup => format!("set up the process: {source}"),
        Step::WorkingDir => format!("enter the working folder {}: {source}", order.working_dir),
        Step::Exec => format!("execute {}: {source}", order.argv.first().map_or("", String::as_str)),
    }
}

struct Files {
    stdin: File,
    stdout: File,
    stderr: File,
}

impl Files {
    fn open(order: &Spawn) -> Result<Self, String> {
        let named = |what: &str, result: io::Result<File>| result.map_err(|e| format!("open {what}: {e}"));
        let append = |path: &str| OpenOptions::new().append(true).create(true).open(path);
        Ok(Self {
            stdin: named("stdin", File::open(order.stdin.as_deref().unwrap_or("/dev/null")))?,
            stdout: named("stdout", append(&order.stdout))?,
            stderr: named("stderr", append(&order.stderr))?,
        })
    }
}

fn string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?} holds a zero byte"))
}

fn strings<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<CString>, String> {
    texts.map(string).collect()
}

/// What the order says goes before what is inherited.
fn environment(order: &Spawn, inherited: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<CString>, String> {
    let own = order.env.iter().map(|(name, value)| string(&format!("{name}={value}")));
    let kept = inherited.iter().filter(|(name, _)| !order.env.iter().any(|(own, _)| own.as_bytes() == name));
    let kept = kept.map(|(name, value)| {
        CString::new([name.as_slice(), b"=", value.as_slice()].concat()).map_err(|e| e.to_string())
    });
    own.chain(kept).collect()
}

/// The paths that `execvp` would try, by the PATH of the attempt.
fn candidates(program: &str, envp: &[CString]) -> Result<Vec<CString>, String> {
    if program.contains('/') {
        return Ok(vec![string(program)?]);
    }
    let path = envp.iter().find_map(|var| var.as_bytes().strip_prefix(b"PATH="));
    let path = path.unwrap_or(DEFAULT_PATH.as_bytes());
    let joined = path.split(|byte| *byte == b':').map(|folder| {
        let folder = if folder.is_empty() { b".".as_slice() } else { folder };
        CString::new([folder, b"/", program.as_bytes()].concat()).map_err(|_| format!("{program:?} holds a zero byte"))
    });
    joined.collect()
}

fn is_file(path: &CString) -> bool {
    path.to_str().is_ok_and(|path| std::path::Path::new(path).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(env: &[(&str, &str)]) -> Spawn {
        Spawn {
            key: crate::table::tests::key(1),
            argv: vec![],
            env: env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            working_dir: String::new(),
            stdin: None,
            stdout: String::new(),
            stderr: String::new(),
        }
    }

    #[test]
    fn the_attempts_own_variables_go_first() {
        let inherited = [(b"PATH".to_vec(), b"/a".to_vec()), (b"HOME".to_vec(), b"/root".to_vec())];
        let env = environment(&order(&[("PATH", "/b:"), ("X", "1")]), &inherited).unwrap();
        assert_eq!(env, [c"PATH=/b:".into(), c"X=1".into(), CString::from(c"HOME=/root")]);
        assert_eq!(candidates("x", &env).unwrap(), [CString::from(c"/b/x"), c"./x".into()]);
        assert_eq!(candidates("./x", &env).unwrap(), [CString::from(c"./x")]);
        assert!(environment(&order(&[("X", "a\0b")]), &inherited).is_err());
    }
}
