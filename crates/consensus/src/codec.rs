//! How things are encoded on disk: magic, kind, schema version, length, CRC-32, payload.
//!
//! The payload is bincode's standard configuration over serde. What can't be decoded is never skipped:
//! the error names the place, and the replica stops.
//!
//! Peers' messages are the same bytes, and a stranger's first one is read before its token is: so no
//! length is believed. bincode makes room for what a length claims before it looks at the input; here a
//! limit that grows with the input comes first, and a short input can only ask for little.

use std::io;

use quorate_types::{Bug, is_planted};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes before a payload.
pub(crate) const HEADER_BYTES: usize = 12;
const MAGIC: [u8; 2] = *b"QR";

/// What a record holds. Numbers are for ever; a changed layout gets the next version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Identity = 1,
    Vote = 2,
    Committed = 3,
    Purged = 4,
    LogEntry = 5,
    Archived = 6,
    SnapshotHeader = 7,
    SnapshotTrailer = 8,
}

impl Kind {
    /// The schema version that is written, and the only one that is read so far.
    const fn version(self) -> u8 {
        match self {
            Self::Identity | Self::Vote | Self::Committed | Self::Purged | Self::SnapshotTrailer => 1,
            // 2: jobs have conditions, times, keys and schedules. 3: tasks are constrained, and workers tainted.
            // 4: gangs, cluster resources, rates, quotas, extensions, frozen jobs. 5: attempts behind others.
            // 6: how long a service must have been well, jobs on their way to the archive. 7: why an attempt was told
            // to stop. 8: what namespaces used before. 9: jobs that come back from the archive.
            Self::LogEntry | Self::Archived | Self::SnapshotHeader => 9,
        }
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("these bytes are no record of Quorate")]
    Magic,
    #[error("a record of kind {found} stands where {wanted:?} belongs")]
    Kind { found: u8, wanted: Kind },
    #[error("a {kind:?} record has schema version {found}; this build knows version {known}")]
    Version { kind: Kind, found: u8, known: u8 },
    #[error("a record of {wanted} bytes has only {found}")]
    Incomplete { wanted: usize, found: usize },
    #[error("the checksum does not match: the bytes have changed since they were written")]
    Checksum,
    #[error("the payload can't be decoded: {0}")]
    Payload(String),
}

impl CodecError {
    /// The error with the place it was found at, for a human and for openraft.
    pub(crate) fn at(self, place: impl std::fmt::Display) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("{place}: {self}"))
    }
}

fn config() -> bincode::config::Configuration {
    bincode::config::standard()
}

/// What decoding may claim for each byte of the input. bincode counts a number at its full width though it
/// is written in one byte; `u64` is the widest that we have.
const CLAIM_FACTOR: usize = 8;
/// The steps of the limit, in bytes of input: a handshake, messages of several sizes, the largest frame by
/// default, and more than any record has. A false claim costs no more memory than its step allows.
const SMALL: usize = 4 << 10;
const MEDIUM: usize = 128 << 10;
const LARGE: usize = 4 << 20;
const FRAME: usize = 64 << 20;
const HUGE: usize = 128 << 20;

pub(crate) fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, config()).map_err(|e| CodecError::Payload(e.to_string()))
}

/// Decodes a value that must fill `bytes`.
pub(crate) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = take_from(bytes)?;
    if used == bytes.len() { Ok(value) } else { Err(CodecError::Payload("bytes are left over".into())) }
}

/// Decodes the value at the front of `bytes`, and says how many bytes it took.
pub(crate) fn take_from<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), CodecError> {
    match bytes.len() {
        len if len <= SMALL => decode_within::<{ SMALL * CLAIM_FACTOR }, T>(bytes),
        len if len <= MEDIUM => decode_within::<{ MEDIUM * CLAIM_FACTOR }, T>(bytes),
        len if len <= LARGE => decode_within::<{ LARGE * CLAIM_FACTOR }, T>(bytes),
        len if len <= FRAME => decode_within::<{ FRAME * CLAIM_FACTOR }, T>(bytes),
        len if len <= HUGE => decode_within::<{ HUGE * CLAIM_FACTOR }, T>(bytes),
        // Beyond every frame and record: not ours.
        len => Err(CodecError::Payload(format!("{len} bytes are too many"))),
    }
}

fn decode_within<const LIMIT: usize, T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), CodecError> {
    let decoded = bincode::serde::decode_from_slice(bytes, config().with_limit::<LIMIT>());
    decoded.map_err(|e| CodecError::Payload(e.to_string()))
}

pub(crate) fn encode<T: Serialize + ?Sized>(kind: Kind, value: &T) -> Result<Vec<u8>, CodecError> {
    let mut record = vec![0; HEADER_BYTES];
    bincode::serde::encode_into_std_write(value, &mut record, config())
        .map_err(|e| CodecError::Payload(e.to_string()))?;
    seal(kind, &mut record);
    Ok(record)
}

/// Wraps bytes that are encoded already.
pub(crate) fn wrap(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER_BYTES + payload.len());
    record.resize(HEADER_BYTES, 0);
    record.extend_from_slice(payload);
    seal(kind, &mut record);
    record
}

fn seal(kind: Kind, record: &mut [u8]) {
    let (header, payload) = record.split_at_mut(HEADER_BYTES);
    // A record is at most a snapshot block or a command; both are bounded far below 4 GiB.
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    header[..2].copy_from_slice(&MAGIC);
    header[2] = kind as u8;
    header[3] = kind.version();
    header[4..8].copy_from_slice(&len);
    let crc = checksum(&header[..8], payload).to_le_bytes();
    header[8..].copy_from_slice(&crc);
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

pub(crate) fn decode<T: DeserializeOwned>(kind: Kind, record: &[u8]) -> Result<T, CodecError> {
    from_bytes(unwrap(kind, record)?)
}

/// Checks a record and gives its payload.
pub(crate) fn unwrap(kind: Kind, record: &[u8]) -> Result<&[u8], CodecError> {
    let incomplete = CodecError::Incomplete { wanted: HEADER_BYTES, found: record.len() };
    let (header, payload) = record.split_at_checked(HEADER_BYTES).ok_or(incomplete)?;
    if header[..2] != MAGIC {
        return Err(CodecError::Magic);
    }
    if header[2] != kind as u8 {
        return Err(CodecError::Kind { found: header[2], wanted: kind });
    }
    if header[3] != kind.version() {
        return Err(CodecError::Version { kind, found: header[3], known: kind.version() });
    }
    let wanted = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    if payload.len() < wanted {
        return Err(CodecError::Incomplete { wanted, found: payload.len() });
    }
    let crc = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    if payload.len() > wanted || (checksum(&header[..8], payload) != crc && !is_planted(Bug::ChecksumIgnored)) {
        return Err(CodecError::Checksum);
    }
    Ok(payload)
}

#[cfg(test)]
pub(crate) mod fuzz_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_of_a_record_is_fixed() {
        let record = encode(Kind::Vote, &(7_u64, true, "x")).unwrap();
        let golden = [b'Q', b'R', 2, 1, 4, 0, 0, 0, 0xac, 0xe4, 0xcd, 0xb0, 7, 1, 1, b'x'];
        assert_eq!(record, golden);
        assert_eq!(record, wrap(Kind::Vote, &golden[12..]));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let record = encode(Kind::LogEntry, &"a payload").unwrap();
        for bit in 0..record.len() * 8 {
            let mut bad = record.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<String>(Kind::LogEntry, &bad).is_err(), "bit {bit}");
        }
        for len in 0..record.len() {
            assert!(decode::<String>(Kind::LogEntry, &record[..len]).is_err());
        }
    }

    /// What follows a claim of `2^62` bytes, in bincode's varint.
    fn huge_claim() -> Vec<u8> {
        [&[253][..], &(1_u64 << 62).to_le_bytes()].concat()
    }

    #[test]
    fn a_claimed_length_makes_no_room() {
        for claim in [huge_claim(), [&[252][..], &u32::MAX.to_le_bytes()].concat(), vec![251, 0xff, 0xff]] {
            assert!(from_bytes::<String>(&claim).is_err());
            assert!(from_bytes::<Vec<u64>>(&claim).is_err());
            assert!(take_from::<bytes::Bytes>(&claim).is_err());
            assert!(decode::<String>(Kind::Vote, &wrap(Kind::Vote, &claim)).is_err());
            let padded = [&claim[..], &vec![7; MEDIUM - 100]].concat();
            assert!(from_bytes::<Vec<String>>(&padded).is_err());
        }
        let limited = from_bytes::<String>(&huge_claim()).unwrap_err().to_string();
        assert!(limited.contains("LimitExceeded"), "bincode had begun to read: {limited}");
    }

    #[test]
    fn the_limit_never_stands_in_the_way_of_what_was_encoded() {
        for len in [1, SMALL - 3, SMALL, SMALL + 1, MEDIUM, MEDIUM + 1, LARGE, LARGE + 1] {
            // Numbers that are eight times as wide as they are long, the worst that we have.
            let numbers = vec![(7_u64, Some(3_u32)); len / 3];
            assert_eq!(from_bytes::<Vec<(u64, Option<u32>)>>(&to_bytes(&numbers).unwrap()), Ok(numbers));
            let text = "x".repeat(len);
            assert_eq!(from_bytes::<String>(&to_bytes(&text).unwrap()), Ok(text));
        }
    }

    #[test]
    fn an_unknown_version_is_named() {
        let mut record = encode(Kind::Identity, &1_u64).unwrap();
        record[3] = 9;
        let error = decode::<u64>(Kind::Identity, &record).unwrap_err().at("tree meta, key identity");
        assert!(error.to_string().contains("tree meta, key identity"), "{error}");
        assert!(error.to_string().contains("version 9"), "{error}");
    }
}
