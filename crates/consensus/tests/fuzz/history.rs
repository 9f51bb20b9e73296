//! Recorded histories, for the fuzz targets: the corpus of the state machine.

use std::fs;
use std::path::Path;

use quorate_state::State;
use quorate_state::command::Entry;
use quorate_state::outcome::ArchiveOp;
use quorate_types::LogIndex;

use crate::codec;

/// The entries of each history.
pub(crate) fn histories() -> Vec<Vec<Entry>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../state/tests/corpus/history");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut valid: Vec<_> =
        paths.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("valid-")).collect();
    valid.sort();
    valid.iter().map(|path| entries(&fs::read(path).unwrap())).collect()
}

fn entries(mut bytes: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<2>() {
        let (frame, rest) = rest.split_at(usize::from(u16::from_le_bytes(*len)));
        entries.push(codec::from_bytes(frame).unwrap());
        bytes = rest;
    }
    entries
}

/// The state after these entries, and what went to the archive.
pub(crate) fn replay(entries: &[Entry]) -> (State, Vec<ArchiveOp>) {
    let (mut state, mut archive) = (State::default(), Vec::new());
    for (index, entry) in (1..).zip(entries) {
        archive.extend(state.apply(LogIndex(index), entry).archive);
    }
    (state, archive)
}
