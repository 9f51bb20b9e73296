//! Everything that is printed. Data goes to standard output through [`data`], all else to standard
//! error, so that output can be piped.

pub(crate) mod json;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod time;

use std::io::{self, Write};

use crate::exit::Failure;

/// Writes a line of data. A closed pipe is an error here, and no failure at the exit.
pub(crate) fn data(line: impl AsRef<str>) -> Result<(), Failure> {
    raw(&[line.as_ref().as_bytes(), b"\n"].concat())
}

/// Writes bytes of data as they are.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::Stdout)
}

/// Writes bytes to standard error; nobody can be told if that fails.
pub(crate) fn raw_error(bytes: &[u8]) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(bytes).and_then(|()| stderr.flush());
}

/// Says something on standard error; unlike `eprintln!` it does not panic when nobody listens.
pub(crate) fn note(line: impl AsRef<str>) {
    raw_error(&[line.as_ref().as_bytes(), b"\n"].concat());
}
