//! Removing folders that anybody may have filled with anything.

use std::fs;
use std::io;
use std::io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory, NotFound};
use std::path::Path;

/// Removes a folder with all that is in it, however deep a task has nested it: folders in folders are moved up
/// first, so that neither the stack nor a path grows with their depth. Links are removed, not followed.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_dir() => return fs::remove_file(path),
        Ok(_) => {}
        Err(error) if error.kind() == NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let mut moved = 0_u64;
    loop {
        let mut folders = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => fs::remove_file(entry.path())?,
            }
        }
        if folders.is_empty() {
            return fs::remove_dir(path);
        }
        for folder in folders {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    moved = move_up(&entry.path(), path, moved)?;
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
            fs::remove_dir(&folder)?;
        }
    }
}

/// Moves a folder to `top`, under a name that is free; the first number after `from` that is. Gives that number.
fn move_up(folder: &Path, top: &Path, from: u64) -> io::Result<u64> {
    let mut number = from;
    loop {
        number += 1;
        let target = top.join(format!(".removing-{number}"));
        // A folder that is there and empty would be replaced, which is as good.
        match fs::rename(folder, target) {
            Err(error) if matches!(error.kind(), DirectoryNotEmpty | AlreadyExists | NotADirectory) => {}
            renamed => return renamed.map(|()| number),
        }
    }
}
