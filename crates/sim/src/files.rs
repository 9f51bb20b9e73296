//! The files of a simulated disk: what was not synced may be lost or torn, and names may be what they were.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use quorate_consensus::disk::{Files, OpenFile};

use crate::chance::Chance;
use crate::disk::{SimDisk, Trouble};

/// How often what a power cut left of a file's end is zeros.
const ZEROS_PERMILLE: u32 = 300;

/// A change of names that is not synced yet.
#[derive(Clone, Debug)]
enum Renaming {
    Create(PathBuf, u64),
    Move(PathBuf, PathBuf),
    Remove(PathBuf),
}

type Names = BTreeMap<PathBuf, u64>;

impl Renaming {
    fn apply(self, names: &mut Names) {
        match self {
            Self::Create(path, file) => {
                names.insert(path, file);
            }
            Self::Move(from, to) => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
            Self::Remove(path) => {
                names.remove(&path);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Content {
    /// What a reader sees.
    visible: Vec<u8>,
    /// What was synced, unless that is the same.
    durable: Option<Vec<u8>>,
    /// Handles that are open.
    open: usize,
}

/// All files of a disk.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    contents: BTreeMap<u64, Content>,
    newest: u64,
    visible: Names,
    durable: Names,
    unsynced: Vec<Renaming>,
}

impl Folder {
    /// What is left after a power cut. Returns how many changes were lost.
    pub(crate) fn power_cut(&mut self, chance: &mut Chance) -> usize {
        let mut unsynced = std::mem::take(&mut self.unsynced);
        let kept = chance.below(unsynced.len() + 1);
        let mut lost = unsynced.len() - kept;
        unsynced.truncate(kept);
        for renaming in unsynced {
            renaming.apply(&mut self.durable);
        }
        self.visible = self.durable.clone();
        for content in self.contents.values_mut() {
            if let Some(durable) = content.durable.take() {
                content.visible = torn(durable, std::mem::take(&mut content.visible), chance);
                lost += 1;
            }
        }
        self.forget();
        lost
    }

    /// Files that have neither a name nor a reader are gone.
    fn forget(&mut self) {
        let (visible, durable, unsynced) = (&self.visible, &self.durable, &self.unsynced);
        self.contents.retain(|file, content| {
            let created = |renaming: &Renaming| matches!(renaming, Renaming::Create(_, created) if created == file);
            let named = visible.values().chain(durable.values()).any(|named| named == file);
            content.open > 0 || named || unsynced.iter().any(created)
        });
    }

    fn rename(&mut self, renaming: Renaming) {
        renaming.clone().apply(&mut self.visible);
        self.unsynced.push(renaming);
    }

    fn create(&mut self, path: &Path) -> u64 {
        self.newest += 1;
        self.contents.insert(self.newest, Content { durable: Some(Vec::new()), ..Content::default() });
        self.rename(Renaming::Create(path.to_owned(), self.newest));
        self.newest
    }

    /// Changes a bit of a file. Says where, or `None` if there is nothing to change.
    pub(crate) fn flip_bit(&mut self, chance: &mut Chance) -> Option<(PathBuf, usize)> {
        let filled = |file: &u64| self.contents.get(file).is_some_and(|content| !content.visible.is_empty());
        let files: Vec<(PathBuf, u64)> =
            self.visible.iter().filter(|(_, file)| filled(file)).map(|(path, file)| (path.clone(), *file)).collect();
        let (path, file) = chance.pick(&files)?.clone();
        let bytes = &mut self.contents.get_mut(&file)?.visible;
        let bit = chance.below(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        Some((path, bit))
    }
}

/// What a power cut leaves of a file that was not synced: what was added may be there in part, or be zeros;
/// what was overwritten is the old or the new.
fn torn(durable: Vec<u8>, visible: Vec<u8>, chance: &mut Chance) -> Vec<u8> {
    if !visible.starts_with(&durable) {
        return if chance.permille(500) { durable } else { visible };
    }
    let kept = durable.len() + chance.below(visible.len() - durable.len() + 1);
    let mut left = visible;
    if chance.permille(ZEROS_PERMILLE) {
        left[kept..].fill(0);
    } else {
        left.truncate(kept);
    }
    left
}

impl Files for SimDisk {
    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let inner = self.inner();
        let paths = inner.files.visible.keys().filter(|path| path.parent() == Some(folder));
        Ok(paths.cloned().collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        let file = self.inner().files.visible.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile::new(self.clone(), file)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        let file = {
            let mut inner = self.inner();
            inner.allows_write()?;
            inner.files.create(path)
        };
        Ok(Box::new(SimFile::new(self.clone(), file)))
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        let is_there = self.inner().files.visible.contains_key(path);
        if is_there { self.open(path) } else { self.create(path) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.allows_write()?;
        inner.files.rename(Renaming::Move(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.allows_removal()?;
        if !inner.files.visible.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        inner.files.rename(Renaming::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.allows_sync()?;
        let files = &mut inner.files;
        for renaming in std::mem::take(&mut files.unsynced) {
            renaming.apply(&mut files.durable);
        }
        files.forget();
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    file: u64,
    position: usize,
}

impl SimFile {
    fn new(disk: SimDisk, file: u64) -> Self {
        if let Some(content) = disk.inner().files.contents.get_mut(&file) {
            content.open += 1;
        }
        Self { disk, file, position: 0 }
    }

    fn put(&self, bytes: &[u8], at: usize) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.allows_write()?;
        let content = inner.files.contents.get_mut(&self.file).ok_or(io::ErrorKind::NotFound)?;
        if content.durable.is_none() {
            content.durable = Some(content.visible.clone());
        }
        let end = at + bytes.len();
        if content.visible.len() < end {
            content.visible.resize(end, 0);
        }
        content.visible[at..end].copy_from_slice(bytes);
        Ok(())
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.file)
    }
}

impl Read for SimFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let inner = self.disk.inner();
        let content = inner.files.contents.get(&self.file).ok_or(io::ErrorKind::NotFound)?;
        let left = content.visible.get(self.position..).unwrap_or_default();
        let n = left.len().min(buffer.len());
        buffer[..n].copy_from_slice(&left[..n]);
        drop(inner);
        self.position += n;
        Ok(n)
    }
}

impl Write for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes, self.position)?;
        self.position += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl OpenFile for SimFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.put(bytes, offset as usize)
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.allows_sync()?;
        if let Some(content) = inner.files.contents.get_mut(&self.file) {
            content.durable = None;
        }
        Ok(())
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if let Some(content) = self.disk.inner().files.contents.get_mut(&self.file) {
            content.open -= 1;
        }
    }
}

impl crate::disk::Inner {
    fn allows_write(&self) -> io::Result<()> {
        match self.trouble {
            Trouble::Frozen => Err(io::ErrorKind::BrokenPipe.into()),
            Trouble::Full => Err(io::ErrorKind::StorageFull.into()),
            Trouble::None | Trouble::SyncFails => Ok(()),
        }
    }

    fn allows_removal(&self) -> io::Result<()> {
        if self.trouble == Trouble::Frozen { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn allows_sync(&self) -> io::Result<()> {
        match self.trouble {
            Trouble::SyncFails => Err(io::Error::other("input/output error")),
            Trouble::Frozen | Trouble::Full | Trouble::None => self.allows_write(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &SimDisk, path: &str, text: &[u8]) -> Box<dyn OpenFile> {
        let mut file = disk.create(Path::new(path)).unwrap();
        file.write_all(text).unwrap();
        file
    }

    fn read(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        disk.open(Path::new(path)).ok()?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn what_was_synced_survives_a_power_cut() {
        for seed in 0..50 {
            let disk = SimDisk::default();
            write(&disk, "/d/new", b"all of it").sync().unwrap();
            disk.rename(Path::new("/d/new"), Path::new("/d/s")).unwrap();
            disk.sync_folder(Path::new("/d")).unwrap();
            disk.power_cut(&mut Chance::new(seed, 0));
            assert_eq!(read(&disk, "/d/s").unwrap(), b"all of it");
        }
    }

    #[test]
    fn what_was_not_synced_may_be_lost_torn_or_undone() {
        let (mut whole, mut torn, mut undone) = (0, 0, 0);
        for seed in 0..200 {
            let disk = SimDisk::default();
            write(&disk, "/d/new", b"all of it");
            disk.rename(Path::new("/d/new"), Path::new("/d/s")).unwrap();
            disk.power_cut(&mut Chance::new(seed, 0));
            match read(&disk, "/d/s") {
                Some(bytes) if bytes == b"all of it" => whole += 1,
                Some(_) => torn += 1,
                None => undone += 1,
            }
        }
        assert!(whole > 0 && torn > 0 && undone > 0, "{whole} {torn} {undone}");
    }

    #[test]
    fn an_open_file_can_be_read_although_it_has_no_name_any_more() {
        let disk = SimDisk::default();
        write(&disk, "/d/s", b"text").sync().unwrap();
        let mut file = disk.open(Path::new("/d/s")).unwrap();
        disk.remove(Path::new("/d/s")).unwrap();
        disk.sync_folder(Path::new("/d")).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        assert_eq!(read(&disk, "/d/s"), None);
    }
}
