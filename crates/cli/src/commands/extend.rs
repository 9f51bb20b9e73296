//! `quorate job extend`: within a task, more tasks for its job. They are checked as far as they can be here, and
//! written to the file that the worker reads when the task has succeeded.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use quorate_types::Extension;
use serde_json::Value;

use super::submit;
use crate::exit::{Failure, REJECTED};
use crate::output;

const VARIABLE: &str = "QUORATE_EXTEND";

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let outside = || Failure::Usage(format!("{VARIABLE} is not set: only a running task can extend its job"));
    let target = std::env::var_os(VARIABLE).ok_or_else(outside)?;
    let failed = |doing: &str, error: &dyn std::fmt::Display| {
        Failure::Usage(format!("can't {doing} {}: {error}", target.display()))
    };
    let before = written(&target).map_err(|error| failed("read", &error))?;
    if before.trim_start().starts_with('[') {
        return Err(failed("add to", &"it holds an array, not lines"));
    }
    let lines = lines(&submit::read(file)?).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    if let Err(complaints) = Extension::read(&format!("{before}{lines}")) {
        output::note("error: the job can't be extended by this");
        for complaint in complaints {
            output::note(format!("  at {}: {}", complaint.pointer, complaint.detail));
        }
        return Err(Failure::Code(REJECTED));
    }
    let open = File::options().create(true).append(true).open(&target);
    open.and_then(|mut file| file.write_all(lines.as_bytes())).map_err(|error| failed("write", &error))
}

fn written(target: &OsString) -> io::Result<String> {
    match fs::read_to_string(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

/// Each task on a line of its own, however it was written.
fn lines(text: &[u8]) -> serde_json::Result<String> {
    let tasks: Vec<Value> = if text.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice(text)?
    } else {
        serde_json::Deserializer::from_slice(text).into_iter().collect::<Result<_, _>>()?
    };
    Ok(tasks.iter().map(|task| format!("{task}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_become_lines() {
        let pretty = "{\n \"name\": \"a\"\n}\n{\"name\":\"b\"}";
        for text in [pretty, "[{\"name\":\"a\"},\n {\"name\":\"b\"}]"] {
            assert_eq!(lines(text.as_bytes()).unwrap(), "{\"name\":\"a\"}\n{\"name\":\"b\"}\n");
        }
        assert!(lines(b"{").is_err());
    }
}
