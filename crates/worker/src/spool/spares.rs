//! Folders that attempts have left as they were made: the next attempt of the same job takes one over by a
//! rename. Making and removing folders and files would be eight changes to the file system, for which every sync on
//! the same disk has to wait; this is three.
//!
//! Nothing of an attempt gets to the next one. The working folder is a new one each time. The outputs are the same
//! files, but only if they are empty, bear no mark and are open nowhere: who could still write into them would write
//! into another attempt's. And never from one job to another.

use std::ffi::CString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use quorate_types::JobId;

use super::WORK;
use crate::sys;

/// As many as a worker of this size ends at once, about; the others are removed.
const SPARES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Spares {
    allowed: bool,
    folders: Vec<(JobId, PathBuf)>,
}

impl Spares {
    /// Whether any are kept from now on; gives back those that are not.
    pub(super) fn allow(&mut self, allowed: bool) -> Vec<PathBuf> {
        self.allowed = allowed;
        let unused = if allowed { Vec::new() } else { std::mem::take(&mut self.folders) };
        unused.into_iter().map(|(_, folder)| folder).collect()
    }

    /// Keeps a folder that is as it was made; gives back what there is no room for.
    pub(super) fn put(&mut self, job: JobId, folder: PathBuf) -> Option<PathBuf> {
        if !self.allowed {
            return Some(folder);
        }
        self.folders.push((job, folder));
        (self.folders.len() > SPARES_MAX).then(|| self.folders.remove(0).1)
    }

    /// A folder for the job. Those of other jobs stay until there is no room for them.
    pub(super) fn take(&mut self, job: JobId) -> Option<PathBuf> {
        let at = self.folders.iter().rposition(|(owner, _)| *owner == job)?;
        Some(self.folders.remove(at).1)
    }
}

/// Makes it a folder as the next attempt should find it. False if it holds anything but what the worker has put
/// there, or if any of it is not as the worker has made it.
pub(super) fn renew(folder: &Path) -> bool {
    is_as_made(folder).unwrap_or(false) && renew_work(&folder.join(WORK)).is_ok()
}

/// Fails if it holds anything.
fn renew_work(work: &Path) -> io::Result<()> {
    fs::remove_dir(work)?;
    super::folder(work)
}

fn is_as_made(folder: &Path) -> io::Result<bool> {
    const FOLDER: u32 = 0o700;
    const OWNERS: u32 = 0o7600;
    const FILE: u32 = 0o600;
    let own = nix::unistd::geteuid().as_raw();
    let private = |at: &Metadata| at.is_dir() && at.mode() & 0o7777 == FOLDER && at.uid() == own;
    let output = |at: &Metadata| {
        let ours = at.is_file() && at.mode() & OWNERS == FILE && at.uid() == own;
        ours && at.len() == 0 && at.nlink() == 1
    };
    if !private(&fs::symlink_metadata(folder)?) || !is_unmarked(folder) {
        return Ok(false);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, metadata) = (entry.path(), entry.metadata()?);
        let fine = match entry.file_name().to_str() {
            Some(WORK) => private(&metadata) && is_unmarked(&path),
            Some("stdout" | "stderr") => {
                output(&metadata) && is_unmarked(&path) && sys::is_open_nowhere_else(&open(&path)?)
            }
            Some(_) | None => false,
        };
        if !fine {
            return Ok(false);
        }
    }
    Ok(true)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path)
}

fn is_unmarked(path: &Path) -> bool {
    CString::new(path.as_os_str().as_bytes()).is_ok_and(|path| sys::is_unmarked(&path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn made(dir: &Path, name: &str) -> PathBuf {
        let folder = dir.join(name);
        super::super::folder(&folder).unwrap();
        super::super::folder(&folder.join(WORK)).unwrap();
        fs::write(folder.join("stdout"), "").unwrap();
        fs::write(folder.join("stderr"), "").unwrap();
        folder
    }

    #[test]
    fn a_folder_goes_to_its_own_job_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut spares = Spares::default();
        let unwanted = made(dir.path(), "0");
        assert_eq!(spares.put(JobId(1), unwanted.clone()), Some(unwanted), "nobody has allowed it");
        spares.allow(true);
        let (one, two) = (made(dir.path(), "1"), made(dir.path(), "2"));
        assert_eq!(spares.put(JobId(1), one.clone()), None);
        assert_eq!(spares.put(JobId(2), two), None);
        assert_eq!(spares.take(JobId(3)), None);
        assert_eq!(spares.take(JobId(1)), Some(one));
        assert_eq!(spares.take(JobId(1)), None);
        assert_eq!(spares.allow(false), [dir.path().join("2")]);
        assert_eq!(spares.take(JobId(2)), None);
    }

    #[test]
    fn what_a_task_has_changed_is_not_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let changes: [fn(&Path); 10] = [
            |folder| fs::set_permissions(folder.join("stdout"), fs::Permissions::from_mode(0o000)).unwrap(),
            |folder| fs::set_permissions(folder.join("stdout"), fs::Permissions::from_mode(0o4600)).unwrap(),
            |folder| fs::write(folder.join("extra"), "").unwrap(),
            |folder| fs::write(folder.join("stdout"), "x").unwrap(),
            |folder| fs::write(folder.join("work/.hidden"), "").unwrap(),
            |folder| fs::remove_dir(folder.join("work")).unwrap(),
            |folder| {
                fs::remove_file(folder.join("stderr")).unwrap();
                symlink("/dev/null", folder.join("stderr")).unwrap();
            },
            |folder| fs::hard_link(folder.join("stdout"), folder.with_extension("elsewhere")).unwrap(),
            |folder| fs::set_permissions(folder.join("work"), fs::Permissions::from_mode(0o777)).unwrap(),
            |folder| {
                fs::remove_dir(folder.join("work")).unwrap();
                symlink(folder.parent().unwrap(), folder.join("work")).unwrap();
            },
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let folder = made(dir.path(), &n.to_string());
            assert!(renew(&folder));
            change(&folder);
            assert!(!renew(&folder), "change {n}");
        }
    }

    #[test]
    fn who_still_has_it_open_writes_into_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let folder = made(dir.path(), "1");
        let inode = |name: &str| fs::metadata(folder.join(name)).unwrap().ino();
        let (work, stdout) = (File::open(folder.join(WORK)).unwrap(), inode("stdout"));
        assert!(renew(&folder));
        assert_eq!(inode("stdout"), stdout);
        assert_eq!(work.metadata().unwrap().nlink(), 0, "the old working folder is gone");
        let held = OpenOptions::new().append(true).open(folder.join("stdout")).unwrap();
        assert!(!renew(&folder));
        drop(held);
        assert!(renew(&folder));
    }

    #[test]
    fn attributes_are_not_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let folder = made(dir.path(), "1");
        let marked = std::process::Command::new("python3")
            .args(["-c", "import os, sys; os.setxattr(sys.argv[1], 'user.mark', b'x')"])
            .arg(folder.join(WORK))
            .output();
        match marked {
            Ok(ended) if ended.status.success() => assert!(!renew(&folder)),
            Ok(_) | Err(_) => eprintln!("skipped: needs python3 and extended attributes"),
        }
    }

    #[test]
    fn there_is_room_for_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let mut spares = Spares::default();
        spares.allow(true);
        let put = |spares: &mut Spares, n: usize| spares.put(JobId(1), made(dir.path(), &n.to_string()));
        assert!((0..SPARES_MAX).all(|n| put(&mut spares, n).is_none()));
        assert_eq!(put(&mut spares, SPARES_MAX), Some(dir.path().join("0")));
    }
}
