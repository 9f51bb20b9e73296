//! Text files line by line, packed by gzip or not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use quorate_types::limits::JOB_BYTES_MAX;

use super::error::{InputError, LineError};

/// What a gzip file begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// A line holds a job at most.
const LINE_BYTES_MAX: usize = JOB_BYTES_MAX;
const BUFFER_BYTES: usize = 128 << 10;

/// Opens a file for reading, unpacked.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>, InputError> {
    let failed = |source: io::Error| InputError::Open { path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(failed)?);
    if file.fill_buf().map_err(failed)?.starts_with(&GZIP_MAGIC) {
        return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(file))));
    }
    Ok(Box::new(file))
}

/// The lines of a file, with their numbers from 1.
pub(super) struct Lines {
    reader: Box<dyn BufRead>,
    path: PathBuf,
    number: u64,
    line: Vec<u8>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("path", &self.path).field("number", &self.number).finish_non_exhaustive()
    }
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, InputError> {
        Ok(Self { reader: open(path)?, path: path.to_owned(), number: 0, line: Vec::new() })
    }

    /// The next line that is not blank, without white space around it.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, InputError> {
        loop {
            self.line.clear();
            let mut bounded = self.reader.by_ref().take(LINE_BYTES_MAX as u64 + 1);
            let read = bounded.read_until(b'\n', &mut self.line);
            let read = read.map_err(|source| InputError::Read { path: self.path.clone(), source })?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read > LINE_BYTES_MAX {
                return Err(self.wrong(LineError::TooLong(LINE_BYTES_MAX)));
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some(self.line.trim_ascii()));
            }
        }
    }

    /// An error about the line that was read last.
    pub(super) fn wrong(&self, source: LineError) -> InputError {
        InputError::Line { path: self.path.clone(), line: self.number, source }
    }
}
