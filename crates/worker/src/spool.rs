//! Folders of attempts: made before they start, read when they end, kept for a while, then removed.
//! Everything in here blocks on the disk and is called from threads that may.
//!
//! `attempts/<job>-<task>-<index>-<attempt>-<fence>/` holds `stdout`, `stderr`, `stdin`, `inputs.json`, `result`,
//! `progress`, and `work`, the working folder. `attempts/gang-<job>-<task>-<fence>/` is what members of a gang share on
//! this worker.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quorate_types::inputs::Inputs;
use quorate_types::limits::{EXTENSION_BYTES_MAX, OUTPUT_TAIL_BYTES_DEFAULT, OUTPUT_TAIL_BYTES_MAX, RESULT_BYTES_MAX};
use quorate_types::session::{AttemptKey, Definition, Stream};
use quorate_types::{JobId, Name};
use tokio::sync::Notify;

use crate::error::WorkerError;
use crate::options::Limits;
use crate::progress::ProgressFile;
use crate::table::Leftover;
use crate::watchdog::wire::Spawn;

use self::files::{file_bytes, read_up_to, text_up_to, tree_bytes, working_dir};
pub(crate) use self::files::{open_plain, read_tail};
use self::gang::{Gangs, Shared};
use self::removal::remove;
use self::spares::Spares;

mod environment;
mod files;
mod gang;
mod inputs;
mod removal;
mod spares;
#[cfg(test)]
mod tests;

/// Where the folders are, below the worker's folder.
pub(crate) const ATTEMPTS: &str = "attempts";
const STDIN: &str = "stdin";
const INPUTS: &str = "inputs.json";
const RESULT: &str = "result";
const PROGRESS: &str = "progress";
const EXTEND: &str = "extend";
const WORK: &str = "work";

/// One attempt's folder.
#[derive(Debug)]
pub(crate) struct Entry {
    folder: PathBuf,
    ended: AtomicBool,
    /// It left nothing, and its folder is gone already.
    bare: AtomicBool,
    /// What it shares with other members of its gang.
    gang: Option<Arc<Shared>>,
    /// Told when the attempt has ended.
    pub(crate) ending: Notify,
    pub(crate) progress: Mutex<ProgressFile>,
}

impl Entry {
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn left_nothing(&self) -> bool {
        self.bare.load(Ordering::Acquire)
    }

    pub(crate) fn output(&self, stream: Stream) -> PathBuf {
        self.folder.join(match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        })
    }

    fn output_bytes(&self) -> u64 {
        [Stream::Stdout, Stream::Stderr].map(|stream| file_bytes(&self.output(stream))).iter().sum()
    }
}

#[derive(Debug)]
struct Kept {
    key: AttemptKey,
    bytes: u64,
    since: Instant,
}

#[derive(Debug, Default)]
struct Entries {
    all: HashMap<AttemptKey, Arc<Entry>>,
    /// Finished ones, the oldest first.
    kept: VecDeque<Kept>,
    kept_bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Spool {
    root: String,
    worker: Name,
    /// Where tasks find the cluster.
    servers: String,
    output_bytes_max: u64,
    bytes_max: u64,
    attempts_max: usize,
    time: Duration,
    tail_bytes: AtomicU32,
    entries: Mutex<Entries>,
    spares: Mutex<Spares>,
    gangs: Mutex<Gangs>,
}

/// What a look at a running attempt showed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) key: AttemptKey,
    pub(crate) over_limit: bool,
    pub(crate) progress: Option<(u16, String)>,
}

impl Spool {
    /// Starts with an empty spool. Whatever an earlier worker left must have ended.
    pub(crate) fn open(
        data_dir: &Path,
        worker: Name,
        servers: &[String],
        limits: &Limits,
    ) -> Result<Self, WorkerError> {
        let root = data_dir.join(ATTEMPTS);
        remove_or_put_aside(&root, data_dir).map_err(WorkerError::file("remove old attempts in", &root))?;
        folder(&root).map_err(WorkerError::file("create folder", &root))?;
        let root = root.into_os_string().into_string().map_err(|root| WorkerError::FolderName(root.into()))?;
        Ok(Self {
            root,
            worker,
            servers: servers.join(","),
            output_bytes_max: limits.output_bytes,
            bytes_max: limits.spool_bytes,
            attempts_max: limits.spool_attempts,
            time: limits.spool_time,
            tail_bytes: AtomicU32::new(OUTPUT_TAIL_BYTES_DEFAULT as u32),
            entries: Mutex::default(),
            spares: Mutex::default(),
            gangs: Mutex::default(),
        })
    }

    /// Whether folders in which nothing was left are passed on. Only where all processes of an attempt have certainly
    /// ended with it, and nothing else is written into them: records of process groups, say.
    pub(crate) fn pass_on_folders(&self, pass_on: bool) {
        let unused = lock(&self.spares).allow(pass_on);
        unused.iter().for_each(|folder| report_failure(folder));
    }

    /// How much of each output goes into the report of an end.
    pub(crate) fn set_tail_bytes(&self, bytes: u32) {
        self.tail_bytes.store(bytes.min(OUTPUT_TAIL_BYTES_MAX as u32), Ordering::Relaxed);
    }

    /// The folder of an attempt that runs or whose output is still kept.
    pub(crate) fn entry(&self, key: &AttemptKey) -> Option<Arc<Entry>> {
        self.entries().all.get(key).cloned()
    }

    pub(crate) fn path(&self, key: &AttemptKey) -> PathBuf {
        PathBuf::from(self.folder_name(key))
    }

    fn folder_name(&self, key: &AttemptKey) -> String {
        let AttemptKey { job, task, index, attempt, fence } = key;
        format!("{}/{job}-{task}-{index}-{attempt}-{fence}", self.root)
    }

    /// Makes the folder and says how the attempt is started, or in words why that can't be.
    pub(crate) fn prepare(
        &self,
        key: AttemptKey,
        definition: &Definition,
        inputs: &[Arc<Inputs>],
    ) -> Result<Spawn, String> {
        let path = self.folder_name(&key);
        let gang = definition.gang.as_deref().map(|muster| lock(&self.gangs).join(&self.root, key, muster));
        let entry = Arc::new(Entry {
            folder: PathBuf::from(&path),
            ended: AtomicBool::new(false),
            bare: AtomicBool::new(false),
            gang,
            ending: Notify::new(),
            progress: Mutex::new(ProgressFile::new(Path::new(&path).join(PROGRESS))),
        });
        self.entries().all.insert(key, Arc::clone(&entry));
        let filled = self.fill(key, definition, inputs, &path).and_then(|mut spawn| {
            if let (Some(shared), Some(muster)) = (&entry.gang, &definition.gang) {
                spawn.env.extend(gang::enter(shared, key, muster)?);
            }
            Ok(spawn)
        });
        filled.map_err(|error| {
            tracing::warn!(job = %key.job, %error, "this worker can't make an attempt's folder");
            format!("make the attempt's folder: {error}")
        })
    }

    fn fill(&self, key: AttemptKey, definition: &Definition, inputs: &[Arc<Inputs>], path: &str) -> io::Result<Spawn> {
        let spec = &definition.spec;
        let work = format!("{path}/{WORK}");
        let spare = lock(&self.spares).take(key.job);
        match spare.map(|spare| fs::rename(&spare, path).map_err(|_| spare)) {
            Some(Ok(())) => {}
            Some(Err(spare)) => {
                report_failure(&spare);
                self.make(path, &work)?;
            }
            None => self.make(path, &work)?,
        }
        let working_dir = working_dir(spec, path)?;
        let stdin = spec.stdin.as_ref().map(|_| format!("{path}/{STDIN}"));
        if let (Some(text), Some(file)) = (&spec.stdin, &stdin) {
            fs::write(file, text)?;
        }
        let mut env = self.environment(key, definition, path);
        if !inputs.is_empty() {
            let file = format!("{path}/{INPUTS}");
            inputs::write(Path::new(&file), inputs)?;
            env.push(("QUORATE_INPUTS".to_owned(), file));
        }
        Ok(Spawn {
            key,
            argv: spec.command.clone(),
            env,
            working_dir,
            stdin,
            stdout: format!("{path}/stdout"),
            stderr: format!("{path}/stderr"),
        })
    }

    fn make(&self, path: &str, work: &str) -> io::Result<()> {
        match folder(Path::new(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody has tidied up.
                fs::create_dir_all(&self.root)?;
                folder(Path::new(path))?;
            }
            made => made?,
        }
        folder(Path::new(work))
    }

    /// Reads what an attempt that has ended left, and keeps its folder for a while.
    pub(crate) fn collect(&self, key: AttemptKey) -> Leftover {
        let Some(entry) = self.entry(&key) else { return Leftover::default() };
        let result = match read_up_to(&entry.folder.join(RESULT), RESULT_BYTES_MAX) {
            Ok(bytes) => Some(text_up_to(&bytes, RESULT_BYTES_MAX)),
            Err(_) => None,
        };
        // One byte more shows that it is too long. What is no text is no JSON either.
        let extension = read_up_to(&entry.folder.join(EXTEND), EXTENSION_BYTES_MAX + 1).ok();
        let extension = extension.map(|bytes| String::from_utf8(bytes).unwrap_or_else(|_| '\u{fffd}'.to_string()));
        let tail_bytes = u64::from(self.tail_bytes.load(Ordering::Relaxed));
        let stdout_tail = read_tail(&entry.output(Stream::Stdout), tail_bytes).unwrap_or_default();
        let stderr_tail = read_tail(&entry.output(Stream::Stderr), tail_bytes).unwrap_or_default();
        let bytes = tidy(&entry) + entry.gang.as_ref().map_or(0, |shared| shared.leave());
        if entry.left_nothing() {
            self.pass_on(key.job, &entry);
        }
        finish(&entry);
        self.keep(key, bytes);
        Leftover { result, extension, stdout_tail, stderr_tail }
    }

    /// Keeps the folder for the next attempt, or removes it.
    fn pass_on(&self, job: JobId, entry: &Entry) {
        let folder = entry.folder.clone();
        let unused = if spares::renew(&folder) { lock(&self.spares).put(job, folder) } else { Some(folder) };
        unused.iter().for_each(|folder| report_failure(folder));
    }

    /// Removes the folder of an attempt that nobody will ask for.
    pub(crate) fn discard(&self, key: AttemptKey) {
        let entry = self.entries().all.remove(&key);
        if let Some(entry) = entry {
            finish(&entry);
            report_failure(&entry.folder);
        }
    }

    /// Looks at attempts that run: their output's size, and their progress.
    pub(crate) fn observe(&self, keys: &[AttemptKey]) -> Vec<Observation> {
        let look = |key: &AttemptKey| {
            let entry = self.entry(key)?;
            let over_limit = entry.output_bytes() > self.output_bytes_max;
            let progress = lock(&entry.progress).read_change();
            (over_limit || progress.is_some()).then_some(Observation { key: *key, over_limit, progress })
        };
        keys.iter().filter_map(look).collect()
    }

    fn keep(&self, key: AttemptKey, bytes: u64) {
        let mut entries = self.entries();
        entries.kept.push_back(Kept { key, bytes, since: Instant::now() });
        entries.kept_bytes += bytes;
        drop(entries);
        self.prune();
    }

    /// Removes the folders that were kept long enough or that are too much.
    pub(crate) fn prune(&self) {
        while let Some(entry) = self.next_to_prune() {
            if !entry.left_nothing() {
                report_failure(&entry.folder);
            }
        }
    }

    fn next_to_prune(&self) -> Option<Arc<Entry>> {
        let mut entries = self.entries();
        loop {
            let oldest = entries.kept.front()?;
            let too_much = entries.kept_bytes > self.bytes_max || entries.kept.len() > self.attempts_max;
            if !too_much && oldest.since.elapsed() < self.time {
                return None;
            }
            let oldest = entries.kept.pop_front()?;
            entries.kept_bytes -= oldest.bytes;
            // One that was discarded meanwhile has no entry any more.
            if let Some(entry) = entries.all.remove(&oldest.key) {
                return Some(entry);
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        lock(&self.entries)
    }
}

/// A task may have left what can't be removed, an immutable file say. The worker starts all the same.
fn remove_or_put_aside(root: &Path, data_dir: &Path) -> io::Result<()> {
    let Err(error) = remove(root) else { return Ok(()) };
    let aside = (1..).map(|number| data_dir.join(format!("unremovable-{number}"))).find(|path| !path.exists());
    let aside = aside.unwrap_or_else(|| unreachable!("there is always a next number"));
    fs::rename(root, &aside)?;
    tracing::warn!(%error, aside = %aside.display(), "could not remove what earlier attempts left");
    Ok(())
}

/// A panic elsewhere leaves these maps whole: nothing is half done while a lock is held.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn finish(entry: &Entry) {
    entry.ended.store(true, Ordering::Release);
    entry.ending.notify_waiters();
}

/// Removes what nobody will ask for, and notes if nothing is left. Returns the bytes kept.
fn tidy(entry: &Entry) -> u64 {
    for file in [STDIN, INPUTS, RESULT, PROGRESS, EXTEND] {
        let _ = fs::remove_file(entry.folder.join(file));
    }
    let (work, output) = (entry.folder.join(WORK), entry.output_bytes());
    let empty = fs::read_dir(&work).map_or(true, |mut found| found.next().is_none());
    if empty && output == 0 {
        entry.bare.store(true, Ordering::Release);
    } else if empty {
        let _ = fs::remove_dir(&work);
    }
    if empty { output } else { output + tree_bytes(&work) }
}

fn report_failure(path: &Path) {
    if let Err(error) = remove(path) {
        tracing::warn!(path = %path.display(), %error, "could not remove an attempt's folder");
    }
}

/// Only for the user whom the worker runs as: outputs hold what tasks print.
fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}
