//! What an attempt finds in its environment.

use quorate_types::Span;
use quorate_types::job::TaskSpec;
use quorate_types::session::{AttemptKey, Definition};

use super::files::working_dir;
use super::{EXTEND, PROGRESS, RESULT, Spool};
use crate::watchdog::wire::Spawn;

impl Spool {
    /// How the health command of an attempt is run, in its folder and with its environment, and for how long. Nobody
    /// reads what it prints.
    pub(crate) fn probe(&self, key: AttemptKey, definition: &Definition) -> Option<(Spawn, Span)> {
        let health = definition.health.as_deref()?;
        let path = self.folder_name(&key);
        let nowhere = || "/dev/null".to_owned();
        let spawn = Spawn {
            key,
            argv: health.command.clone()?,
            env: self.environment(key, definition, &path),
            working_dir: working_dir(&definition.spec, &path).ok()?,
            stdin: None,
            stdout: nowhere(),
            stderr: nowhere(),
        };
        Some((spawn, health.timeout))
    }

    /// The task's own variables, which can't pose as ours, and ours.
    pub(super) fn environment(&self, key: AttemptKey, definition: &Definition, path: &str) -> Vec<(String, String)> {
        let TaskSpec { env, name, .. } = &*definition.spec;
        let own = env.iter().filter(|(name, _)| !name.starts_with("QUORATE_"));
        let own = own.map(|(name, value)| (name.clone(), value.clone()));
        let ours = [
            ("QUORATE_JOB_ID", key.job.to_string()),
            ("QUORATE_TASK", name.to_string()),
            ("QUORATE_INDEX", key.index.to_string()),
            ("QUORATE_ATTEMPT", key.attempt.to_string()),
            ("QUORATE_FENCE", key.fence.to_string()),
            ("QUORATE_WORKER", self.worker.to_string()),
            ("QUORATE_NAMESPACE", definition.namespace.to_string()),
            ("QUORATE_SERVER", self.servers.clone()),
            ("QUORATE_RESULT", format!("{path}/{RESULT}")),
            ("QUORATE_PROGRESS", format!("{path}/{PROGRESS}")),
            ("QUORATE_EXTEND", format!("{path}/{EXTEND}")),
        ];
        own.chain(ours.map(|(name, value)| (name.to_owned(), value))).collect()
    }
}
