//! Reading what a task has left, which may be anything; and where it begins.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path};

use quorate_types::job::TaskSpec;

use super::WORK;

pub(super) fn file_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Bytes of all files below `path`, links not followed.
pub(super) fn tree_bytes(path: &Path) -> u64 {
    let (mut bytes, mut folders) = (0, vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => bytes += metadata.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

/// Opens a plain file. A task may have put something else there, which could block the reader for ever.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    File::open(path)
}

pub(super) fn read_up_to(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_plain(path)?.take(bytes_max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn read_tail(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut file = open_plain(path)?;
    let len = file.metadata()?.len();
    let mut bytes = Vec::new();
    if len > 0 && bytes_max > 0 {
        file.seek(SeekFrom::Start(len.saturating_sub(bytes_max)))?;
        file.take(bytes_max).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// As text; what replaces broken characters is longer than they, so it is cut once more.
pub(super) fn text_up_to(bytes: &[u8], bytes_max: usize) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// Where the processes of an attempt begin.
pub(super) fn working_dir(spec: &TaskSpec, path: &str) -> io::Result<String> {
    let work = format!("{path}/{WORK}");
    match spec.working_dir.as_deref() {
        None => Ok(work),
        Some(dir) if dir.starts_with('/') => Ok(dir.to_owned()),
        Some(dir) => inside(&work, dir),
    }
}

fn inside(work: &str, dir: &str) -> io::Result<String> {
    if Path::new(dir).components().any(|part| part == Component::ParentDir) {
        return Err(io::Error::other("the working folder may not be left with \"..\""));
    }
    let path = format!("{work}/{dir}");
    fs::create_dir_all(&path)?;
    Ok(path)
}
