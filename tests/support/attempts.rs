//! What the tasks say themselves about when they ran, and the checker that at no instant two attempts of one task did.
//!
//! Each attempt appends `start`, a `beat` every 20 ms and `end` to a file of its task; a grandchild in a session of
//! its own (`setsid`) appends too. The file's order is the order of the writes, whatever clocks say: once a line of
//! a later attempt is there, a line of an earlier one is proof that both lived.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::process::path;

/// bash, because it can wait and read the clock without starting processes: a `read` from a pipe that nobody writes.
const SCRIPT: &str = r#"
file="$JOURNAL/$QUORATE_JOB_ID.$QUORATE_TASK.$QUORATE_INDEX"
exec 9<> <(:)
say() { echo "$1 ${EPOCHREALTIME//[.,]/} $QUORATE_FENCE $QUORATE_ATTEMPT $QUORATE_WORKER" >> "$file"; }
if [ "$1" = grandchild ]; then while :; do say child; read -t 0.02 -u 9; done; fi
say start
[ "$GRANDCHILD" = 1 ] && setsid bash -c "$SCRIPT" attempt grandchild &
for ((beat = 0; beat < BEATS; beat++)); do read -t 0.02 -u 9; say beat; done
say end
"#;
const BEAT: Duration = Duration::from_millis(20);

/// The folder of the files.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
}

/// One attempt, as its own lines tell it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) fence: u64,
    pub(crate) attempt: u64,
    pub(crate) worker: String,
    pub(crate) first: Duration,
    pub(crate) last: Duration,
    pub(crate) ended: bool,
}

impl Journal {
    pub(crate) fn new(dir: &Path) -> Self {
        let folder = dir.join("journal");
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder }
    }

    /// A task that runs for so long and keeps the journal.
    pub(crate) fn task(&self, name: &str, count: u64, runs: Duration) -> Value {
        json!({
            "name": name, "count": count, "command": ["bash", "-c", SCRIPT, "attempt"], "resources": {"cpu": 1},
            "env": {
                "JOURNAL": path(&self.folder), "SCRIPT": SCRIPT, "GRANDCHILD": "1",
                "BEATS": (runs.as_millis() / BEAT.as_millis()).to_string(),
            },
        })
    }

    /// All attempts of each element (`job.task.index`) in order; fails where two of them overlap.
    pub(crate) fn check(&self) -> BTreeMap<String, Vec<Seen>> {
        let files = std::fs::read_dir(&self.folder).unwrap().flatten();
        let read = |file: std::fs::DirEntry| {
            (file.file_name().into_string().unwrap(), std::fs::read_to_string(file.path()).unwrap())
        };
        files.map(read).map(|(name, text)| (name.clone(), check(&name, &text))).collect()
    }

    /// The attempts of one element so far.
    pub(crate) fn of(&self, job: u64, task: &str, index: u64) -> Vec<Seen> {
        let name = format!("{job}.{task}.{index}");
        check(&name, &std::fs::read_to_string(self.folder.join(&name)).unwrap_or_default())
    }
}

/// The same clock as the journal's.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Checks the file of one element.
pub(crate) fn check(name: &str, text: &str) -> Vec<Seen> {
    let mut attempts: Vec<Seen> = Vec::new();
    // The last line may be half written while the file is read.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, micros, fence, attempt, worker] = words[..] else { panic!("{name}: {line:?}") };
        let (fence, at) = (fence.parse().unwrap(), Duration::from_micros(micros.parse().unwrap()));
        if attempts.last().is_none_or(|last| last.fence < fence) {
            if let Some(before) = attempts.last() {
                assert!(before.last < at, "{name}: two attempts at one time: {before:?} and {line:?}");
            }
            let (attempt, worker) = (attempt.parse().unwrap(), worker.to_owned());
            attempts.push(Seen { fence, attempt, worker, first: at, last: at, ended: false });
        }
        let last = attempts.last_mut().unwrap();
        assert_eq!(last.fence, fence, "{name}: an earlier attempt lives beside {last:?}: {line:?}");
        assert!(!(what == "start" && last.first != at), "{name}: one attempt started twice: {line:?}");
        last.last = last.last.max(at);
        last.ended |= what == "end";
    }
    attempts
}
