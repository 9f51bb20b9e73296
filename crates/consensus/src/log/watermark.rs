//! Notices a log that lost its end.
//!
//! sled recovers from a damaged file by cutting it off at the damage, silently: acknowledged entries
//! would be gone, and the replica would vote as if it had never had them. So the last index that was
//! synced is written to a small file beside the database. The file itself is not synced when it rises
//! (an older value is merely a weaker check) but always when it is made and before it falls. A file that is
//! missing or makes no sense beside a log that is not empty is damage, like that of the log itself.

use std::io;
use std::path::Path;

use crate::disk::{Files, OpenFile};

const RECORD_BYTES: usize = 12;

#[derive(Debug)]
pub(crate) struct Watermark {
    file: Box<dyn OpenFile>,
    index: u64,
    /// The file was there and made sense.
    pub(crate) proven: bool,
}

impl Watermark {
    pub(crate) fn open(files: &dyn Files, path: &Path) -> io::Result<Self> {
        let mut file = files.open_or_create(path)?;
        let mut record = Vec::new();
        file.read_to_end(&mut record)?;
        let found = decode(&record);
        let mut watermark = Self { file, index: found.unwrap_or(0), proven: found.is_some() };
        if record.is_empty() {
            watermark.write(0)?;
            watermark.file.sync()?;
            path.parent().map_or(Ok(()), |folder| files.sync_folder(folder))?;
        }
        Ok(watermark)
    }

    /// All entries up to here were synced once.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    pub(crate) fn rise(&mut self, index: u64) -> io::Result<()> {
        if index > self.index { self.write(index) } else { Ok(()) }
    }

    /// Before entries are truncated.
    pub(crate) fn fall(&mut self, index: u64) -> io::Result<()> {
        if index < self.index {
            self.write(index)?;
            self.file.sync()?;
        }
        Ok(())
    }

    fn write(&mut self, index: u64) -> io::Result<()> {
        self.file.write_all_at(&encode(index), 0)?;
        self.index = index;
        Ok(())
    }
}

fn encode(index: u64) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(&index.to_le_bytes());
    record[8..].copy_from_slice(&crc32fast::hash(&index.to_le_bytes()).to_le_bytes());
    record
}

fn decode(record: &[u8]) -> Option<u64> {
    let index = u64::from_le_bytes(*record.first_chunk()?);
    (record == encode(index)).then_some(index)
}
