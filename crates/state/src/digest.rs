//! The digest: a hash over all records. Replicas that applied the same index have the same one.

use std::io::{self, Write};

use xxhash_rust::xxh3::Xxh3;

use crate::state::State;

impl State {
    /// Sixty-four bits over the whole state, the archive's history included. O(size of the state).
    pub fn digest(&self) -> u64 {
        let mut hash = HashWriter(Xxh3::new());
        for record in self.snapshot_records() {
            bincode::serde::encode_into_std_write(&record, &mut hash, bincode::config::standard())
                .unwrap_or_else(|e| unreachable!("hashing a record: {e}"));
        }
        hash.0.digest()
    }
}

struct HashWriter(Xxh3);

impl Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
