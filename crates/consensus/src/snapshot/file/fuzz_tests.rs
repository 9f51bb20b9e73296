//! Snapshot files: damage is an error that names the file; a file with contradictory records and sound checksums
//! is an error as well, or gives a state that keeps every invariant.

use std::fs;

use super::*;
use crate::codec::fuzz_tests::is_sound;
use crate::disk::HostFiles;
use crate::fuzz::{Fuzz, Rng, Verdict, damage};
use crate::fuzz_history::{histories, replay};

/// A block's length, checksum and kind.
const BLOCK_HEAD_BYTES: usize = 9;

fn meta(term: u64, index: u64) -> SnapshotMeta {
    let nodes = [(1, Addresses::default()), (2, Addresses { http: "h:1".into(), peer: "p:1".into() })];
    let membership = openraft::Membership::new(vec![[1, 2].into()], std::collections::BTreeMap::from(nodes)).unwrap();
    SnapshotMeta {
        last_log_id: Some(log_id((term, index))),
        last_membership: StoredMembership::new(Some(log_id((1, 1))), membership),
    }
}

/// A snapshot after each entry of each history.
fn files(path: &Path) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for entries in histories() {
        for len in 1..=entries.len() {
            write(&HostFiles, path, &meta(3, len as u64), &replay(&entries[..len]).0).unwrap();
            files.push(fs::read(path).unwrap());
        }
    }
    files
}

pub(crate) fn headers_and_trailers() -> Vec<Vec<u8>> {
    let headers = [Header::of(&meta(3, 70_000)), Header::of(&SnapshotMeta::default())];
    let mut records = headers.map(|header| encode(Kind::SnapshotHeader, &header).unwrap()).to_vec();
    records.push(encode(Kind::SnapshotTrailer, &Trailer { records: 1 << 40 }).unwrap());
    records
}

pub(crate) fn is_header_or_trailer(kind: Kind, record: &[u8]) -> bool {
    match kind {
        Kind::SnapshotHeader => is_sound::<Header>(kind, record),
        _ => is_sound::<Trailer>(kind, record),
    }
}

/// Reads a file of these bytes. An error must name the file.
fn read_bytes(path: &Path, bytes: &[u8]) -> Option<(SnapshotMeta, State)> {
    fs::write(path, bytes).unwrap();
    let found = read(&HostFiles, path);
    let name = path.display().to_string();
    found.inspect_err(|error| assert!(error.to_string().contains(&name), "{error}")).ok()
}

#[test]
fn a_damaged_file_is_never_another_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let fuzz = Fuzz::target("snapshot_damaged").and(files(&path));
    let identity = |(meta, state): (SnapshotMeta, State)| (meta, state.digest());
    let sound: Vec<_> = fuzz.inputs().filter_map(|file| read_bytes(&path, file)).map(identity).collect();
    let damage_one = |rng: &mut Rng, files: &[Vec<u8>]| {
        let file = rng.seed(files).to_vec();
        if rng.one_in(16) { file } else { damage(rng, &[file]) }
    };
    fuzz.run(damage_one, |bytes| {
        let found = read_bytes(&path, bytes).map(identity);
        assert!(found.as_ref().is_none_or(|found| sound.contains(found)), "another state");
        Verdict::accepted_if(found.is_some())
    });
}

/// What a file consists of, without lengths and checksums.
struct Parts {
    header: Vec<u8>,
    records: Vec<Vec<u8>>,
}

impl Parts {
    fn of(file: &[u8]) -> Option<Self> {
        let (header, mut rest) = take_block(file)?;
        let mut records = Vec::new();
        while let Some((block, after)) = take_block(rest).filter(|(_, after)| !after.is_empty()) {
            let mut block = block;
            while !block.is_empty() {
                let (_, len) = codec::take_from::<Record>(block).ok()?;
                records.push(block[..len].to_vec());
                block = &block[len..];
            }
            rest = after;
        }
        Some(Self { header: header.get(codec::HEADER_BYTES..)?.to_vec(), records })
    }

    /// The file with every count and checksum as it should be.
    fn into_file(self) -> Vec<u8> {
        let trailer = Trailer { records: self.records.len() as u64 };
        let mut file = block(HEADER, &codec::wrap(Kind::SnapshotHeader, &self.header));
        if !self.records.is_empty() {
            file.extend(block(RECORDS, &self.records.concat()));
        }
        file.extend(block(TRAILER, &encode(Kind::SnapshotTrailer, &trailer).unwrap()));
        file
    }
}

fn take_block(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = file.split_first_chunk::<BLOCK_HEAD_BYTES>()?;
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    rest.split_at_checked(len.checked_sub(1)?)
}

fn block(kind: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() + 1) as u32;
    [&len.to_le_bytes()[..], &checksum(kind, payload).to_le_bytes(), &[kind], payload].concat()
}

/// A file with damaged, lost, repeated, moved or foreign records, and with sound checksums.
fn forge(rng: &mut Rng, files: &[Vec<u8>]) -> Vec<u8> {
    let (parts, other) = (Parts::of(rng.seed(files)), Parts::of(rng.seed(files)));
    let (Some(mut parts), Some(other)) = (parts, other) else { return damage(rng, files) };
    let records = &mut parts.records;
    for _ in 0..=rng.below(3) {
        let at = rng.below(records.len());
        match rng.below(12) {
            0 if !records.is_empty() => drop(records.remove(at)),
            1 if !records.is_empty() => records.push(records[at].clone()),
            2 if !records.is_empty() => {
                let to = rng.below(records.len());
                records.swap(at, to);
            }
            3 | 4 => records.insert(at, rng.seed(&other.records).to_vec()),
            5 => parts.header = damage(rng, &[parts.header.clone(), other.header.clone()]),
            _ if !records.is_empty() => records[at] = damage(rng, &[records[at].clone()]),
            _ => {}
        }
    }
    parts.into_file()
}

#[test]
fn a_forged_file_gives_no_impossible_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    Fuzz::target("snapshot_forged").and(files(&path)).run(forge, |bytes| {
        let Some((meta, state)) = read_bytes(&path, bytes) else { return Verdict::Refused };
        state.check().unwrap();
        assert_eq!(meta.last_log_id.map_or(0, |last| last.index), state.index().0);
        Verdict::Accepted
    });
}
