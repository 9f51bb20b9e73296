//! Records on disk: damage is always noticed, and where the checksum was made to fit it is survived.

use std::collections::HashSet;

use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use quorate_state::archive::{ElementBlock, JobRecord};
use quorate_state::outcome::{ArchiveKey, ArchiveOp};

use super::*;
use crate::fuzz::{Fuzz, Rng, Verdict, damage};
use crate::fuzz_history::{histories, replay};
use crate::identity::Identity;
use crate::log::layout;
use crate::options::Addresses;
use crate::snapshot::file;
use crate::type_config::{Commands, Entry, LogId, Vote};

/// The index of every entry here.
const INDEX: u64 = 70_000;

fn entries() -> Vec<Entry> {
    let histories = histories().into_iter().flatten();
    let commands = histories.map(|entry| {
        let bytes = to_bytes(&entry).unwrap().into();
        EntryPayload::Normal(Commands::new(entry, bytes))
    });
    let nodes = std::collections::BTreeMap::from([(1, Addresses { http: "h:1".into(), peer: "p:1".into() })]);
    let membership = openraft::Membership::new(vec![[1].into()], nodes).unwrap();
    let others = [EntryPayload::Blank, EntryPayload::Membership(membership)];
    commands.chain(others).map(|payload| Entry::new(LogId::new_term_index(3, INDEX), payload)).collect()
}

fn archived() -> Vec<Vec<u8>> {
    let ops = histories().into_iter().flat_map(|entries| replay(&entries).1);
    let values = ops.filter_map(|op| match op {
        // Output is kept as it is.
        ArchiveOp::Put { key: ArchiveKey::Output { .. }, .. } | ArchiveOp::Drop(_) => None,
        ArchiveOp::Put { value, .. } => Some(wrap(Kind::Archived, &value)),
    });
    values.collect()
}

fn records() -> Vec<Vec<u8>> {
    let identity = Identity { id: quorate_types::ReplicaId(1), storage: 1 << 60, cluster: 9, joins: true };
    let positions = [LogId::new_term_index(3, INDEX), LogId::new_term_index(0, 0)];
    let mut records = vec![
        encode(Kind::Identity, &identity).unwrap(),
        encode(Kind::Vote, &Vote::new(3, 1)).unwrap(),
        encode(Kind::Vote, &Vote::new_committed(u64::MAX, 2)).unwrap(),
    ];
    records.extend(positions.map(|position| encode(Kind::Committed, &position).unwrap()));
    records.extend(positions.map(|position| encode(Kind::Purged, &position).unwrap()));
    records.extend(entries().iter().map(|entry| layout::encode(entry).unwrap()));
    records.extend(archived());
    records.extend(file::fuzz_tests::headers_and_trailers());
    records
}

fn kind_of(record: &[u8]) -> Option<Kind> {
    let kinds = [
        Kind::Identity,
        Kind::Vote,
        Kind::Committed,
        Kind::Purged,
        Kind::LogEntry,
        Kind::Archived,
        Kind::SnapshotHeader,
        Kind::SnapshotTrailer,
    ];
    kinds.into_iter().find(|kind| record.get(2) == Some(&(*kind as u8)))
}

/// Most often the payload is damaged and the checksum made to fit.
fn damage_record(rng: &mut Rng, records: &[Vec<u8>]) -> Vec<u8> {
    let record = rng.seed(records).to_vec();
    let (Some(kind), false) = (kind_of(&record), rng.one_in(8)) else { return damage(rng, &[record]) };
    let other = rng.seed(records);
    let payloads = [record[HEADER_BYTES..].to_vec(), other.get(HEADER_BYTES..).unwrap_or_default().to_vec()];
    wrap(kind, &damage(rng, &payloads))
}

/// Whether a record can be decoded. What can be must be encoded and decoded again to the same.
pub(crate) fn is_sound<T: Serialize + DeserializeOwned>(kind: Kind, record: &[u8]) -> bool {
    let Ok(value) = decode::<T>(kind, record) else { return false };
    let again = encode(kind, &value).unwrap();
    assert_eq!(encode(kind, &decode::<T>(kind, &again).unwrap()).unwrap(), again);
    true
}

fn is_entry(record: &[u8]) -> bool {
    let Ok(entry) = layout::decode(INDEX, record) else { return false };
    let again = layout::encode(&entry).unwrap();
    assert_eq!(layout::decode(INDEX, &again).unwrap(), entry);
    true
}

fn is_archived(record: &[u8]) -> bool {
    let Ok(value) = unwrap(Kind::Archived, record) else { return false };
    let job = quorate_state::archive::decode::<JobRecord>(value);
    let elements = quorate_state::archive::decode::<ElementBlock>(value);
    job.is_ok() || elements.is_ok()
}

#[test]
fn any_record_is_decoded_or_refused() {
    assert!(archived().len() >= 2, "the histories archive nothing");
    Fuzz::target("records").and(records()).run(damage_record, |record| {
        let Some(kind) = kind_of(record) else { return Verdict::Refused };
        Verdict::accepted_if(match kind {
            Kind::Identity => is_sound::<Identity>(kind, record),
            Kind::Vote => is_sound::<Vote>(kind, record),
            Kind::Committed | Kind::Purged => is_sound::<LogId>(kind, record),
            Kind::LogEntry => is_entry(record),
            Kind::Archived => is_archived(record),
            Kind::SnapshotHeader | Kind::SnapshotTrailer => file::fuzz_tests::is_header_or_trailer(kind, record),
        })
    });
}

#[test]
fn no_damage_goes_unnoticed() {
    let damage_one = |rng: &mut Rng, records: &[Vec<u8>]| {
        let record = rng.seed(records).to_vec();
        if rng.one_in(16) { record } else { damage(rng, &[record]) }
    };
    let fuzz = Fuzz::target("records").and(records());
    let sound: HashSet<Vec<u8>> = fuzz.inputs().map(<[u8]>::to_vec).collect();
    fuzz.run(damage_one, |record| {
        let believed = kind_of(record).is_some_and(|kind| unwrap(kind, record).is_ok());
        assert!(!believed || sound.contains(record));
        Verdict::accepted_if(believed)
    });
}
