//! A disk for each replica: an ext4 in an image file on a loop mount, which can be full, frozen, or read-only.

use std::path::{Path, PathBuf};

use crate::support::namespaces::run;
use crate::support::process::path;

/// A replica needs a few MiB; sled takes them in steps of 4 MiB.
const DISK_BYTES: u64 = 160 << 20;
const FILLER: &str = "filler";

#[derive(Debug)]
pub(crate) struct Disks {
    folder: PathBuf,
    ids: Vec<u64>,
    frozen: Option<u64>,
}

impl Disks {
    /// Or why that can't be had here.
    pub(crate) fn new(folder: &Path, count: u64) -> Result<Self, String> {
        let mut disks = Self { folder: folder.to_owned(), ids: Vec::new(), frozen: None };
        (1..=count).try_for_each(|id| disks.add(id))?;
        Ok(disks)
    }

    /// An empty one.
    pub(crate) fn add(&mut self, id: u64) -> Result<(), String> {
        let image = self.image(id);
        std::fs::File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).map_err(|e| e.to_string())?;
        run("mkfs.ext4", &["-qF", "-m", "0", &path(&image)])?;
        std::fs::create_dir_all(self.mount_point(id)).map_err(|e| e.to_string())?;
        self.ids.push(id);
        self.mount(id)
    }

    fn image(&self, id: u64) -> PathBuf {
        self.folder.join(format!("r{id}.img"))
    }

    /// Also the data folder of the replica.
    pub(crate) fn mount_point(&self, id: u64) -> PathBuf {
        self.folder.join(format!("r{id}"))
    }

    fn mount(&self, id: u64) -> Result<(), String> {
        let (image, at) = (path(&self.image(id)), path(&self.mount_point(id)));
        run("mount", &["-o", "loop,errors=remount-ro", &image, &at]).map(drop)
    }

    /// Takes all space there is, and says how much that was.
    pub(crate) fn fill(&self, id: u64) -> u64 {
        use std::io::Write;
        let mut filler = std::fs::File::create(self.mount_point(id).join(FILLER)).unwrap();
        let mut taken = 0;
        for size in [1 << 20, 4096, 1] {
            let piece = vec![1_u8; size];
            while filler.write_all(&piece).is_ok() {
                taken += size as u64;
            }
        }
        // Space that was only promised to the file might be given back.
        let _ = filler.sync_all();
        taken
    }

    pub(crate) fn free(&self, id: u64) {
        let _ = std::fs::remove_file(self.mount_point(id).join(FILLER));
    }

    /// From now on writes wait.
    pub(crate) fn freeze(&mut self, id: u64) {
        run("fsfreeze", &["-f", &path(&self.mount_point(id))]).unwrap();
        self.frozen = Some(id);
    }

    pub(crate) fn thaw(&mut self) {
        if let Some(id) = self.frozen.take() {
            let _ = run("fsfreeze", &["-u", &path(&self.mount_point(id))]);
        }
    }

    /// An error of the file system, upon which the kernel makes it read-only under the open files.
    pub(crate) fn make_read_only(&self, id: u64) -> Result<(), String> {
        let device = self.device(id)?;
        let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        std::fs::write(&trigger, "chaos").map_err(|e| format!("write {trigger}: {e}"))?;
        match self.is_read_only(id) {
            true => Ok(()),
            false => Err(format!("{device} is not read-only after an error")),
        }
    }

    pub(crate) fn is_read_only(&self, id: u64) -> bool {
        std::fs::write(self.mount_point(id).join("probe"), "1").is_err_and(|e| e.raw_os_error() == Some(libc::EROFS))
    }

    fn device(&self, id: u64) -> Result<String, String> {
        let source = run("findmnt", &["-no", "SOURCE", &path(&self.mount_point(id))])?;
        let name = source.trim().rsplit('/').next().map(str::to_owned);
        name.filter(|name| !name.is_empty()).ok_or_else(|| format!("no device below {source:?}"))
    }

    /// What a restart of the machine would do; nobody may have it open.
    pub(crate) fn mount_again(&self, id: u64) {
        run("umount", &[&path(&self.mount_point(id))]).unwrap();
        // Exit code 1 says that something was mended.
        let _ = run("fsck.ext4", &["-p", &path(&self.image(id))]);
        self.mount(id).unwrap();
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        self.thaw();
        for id in &self.ids {
            let _ = run("umount", &["-l", &path(&self.mount_point(*id))]);
        }
    }
}
