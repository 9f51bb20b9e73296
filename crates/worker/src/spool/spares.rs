//! Folders that attempts have left as they were made: the next attempt of the same job takes one over by a
//! rename, where making and removing folders and files would be eight changes to the file system.
//!
//! Only within a job, so that nothing ever gets from one user's task into another's.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use quorate_types::JobId;

use super::WORK;

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

/// Whether there is nothing in it but what the worker has put there: an empty working folder, and empty outputs
/// under no second name; and whether the worker may still do with all of it what it could.
pub(super) fn is_as_made(folder: &Path) -> bool {
    look(folder).unwrap_or(false)
}

fn look(folder: &Path) -> io::Result<bool> {
    const PRIVATE: u32 = 0o700;
    const OURS: u32 = 0o600;
    let own = nix::unistd::geteuid().as_raw();
    let private =
        |metadata: &Metadata| metadata.is_dir() && metadata.mode() & 0o7777 == PRIVATE && metadata.uid() == own;
    let fresh = |metadata: &Metadata| {
        let (plain, ours) = (metadata.is_file(), metadata.mode() & 0o7600 == OURS && metadata.uid() == own);
        plain && ours && metadata.len() == 0 && metadata.nlink() == 1
    };
    let mut working = false;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let fine = match entry.file_name().to_str() {
            Some(WORK) => {
                working = private(&metadata) && fs::read_dir(entry.path())?.next().is_none();
                working
            }
            Some("stdout" | "stderr") => fresh(&metadata),
            Some(_) | None => false,
        };
        if !fine {
            return Ok(false);
        }
    }
    Ok(working && private(&fs::symlink_metadata(folder)?))
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
        let changes: [fn(&Path); 9] = [
            |folder| fs::set_permissions(folder.join("stdout"), fs::Permissions::from_mode(0)).unwrap(),
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
            assert!(is_as_made(&folder));
            change(&folder);
            assert!(!is_as_made(&folder), "change {n}");
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
