//! A snapshot on its way: the file in bounded frames, then the archive's records, then one answer.
//!
//! The receiver writes the file under a temporary name and reads it back as a whole before anything else
//! happens; the archive's records go in unswept and are synced. Only then does raft hear of it. A crash
//! anywhere in between means doing it again.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use openraft::alias::SnapshotOf;
use tokio::time::timeout;

use super::dial::{Destination, dial};
use super::wire::{self, Frames, SnapshotAnswer, SnapshotFrame};
use super::{Local, SILENCE_MAX};
use crate::archive::{Archive, ArchiveWrite, last_record};
use crate::disk::Files;
use crate::host::blocking;
use crate::snapshot::{SnapshotFile, Snapshots, file};
use crate::type_config::{Raft, SnapshotMeta, TypeConfig, Vote};

const CHUNK_BYTES: usize = 256 << 10;
/// The receiver reads the file back, syncs and installs: that takes as long as it takes, within reason.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(120);
/// A sender that pauses longer than this between frames is gone.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends a snapshot and waits until it is installed; gives the receiver's vote.
pub(super) async fn send(
    local: &Arc<Local>,
    to: &Destination,
    archive: &Archive,
    files: Arc<dyn Files>,
    vote: Vote,
    snapshot: SnapshotOf<TypeConfig, SnapshotFile>,
) -> io::Result<Vote> {
    let mut frames = dial(local.clone(), to.clone()).await.map_err(io::Error::other)?;
    let index = wire::index_of(snapshot.meta.last_log_id);
    tracing::info!(peer = %to.id, ?index, "sending a snapshot");
    put(&mut frames, &SnapshotFrame::Begin { vote, meta: snapshot.meta }).await?;
    send_file(&mut frames, files, &snapshot.snapshot).await?;
    let sent = send_archive(&mut frames, archive).await;
    sent.inspect_err(|error| local.fatal.report_damage(local.id, error))?;
    put(&mut frames, &SnapshotFrame::End).await?;
    match get(&mut frames, INSTALL_TIMEOUT).await? {
        SnapshotAnswer::Installed(vote) | SnapshotAnswer::HigherVote(vote) => Ok(vote),
        SnapshotAnswer::Failed(reason) => Err(io::Error::other(reason)),
    }
}

async fn send_file(frames: &mut Frames, files: Arc<dyn Files>, snapshot: &SnapshotFile) -> io::Result<()> {
    let path = snapshot.path.clone();
    let mut file = blocking(move || files.open(&path)).await?;
    loop {
        let read = move || {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
            Ok((file, chunk))
        };
        let chunk;
        (file, chunk) = blocking(read).await?;
        if chunk.is_empty() {
            return Ok(());
        }
        put(frames, &SnapshotFrame::Chunk(Bytes::from(chunk))).await?;
    }
}

/// Whole records, after a look at each.
async fn send_archive(frames: &mut Frames, archive: &Archive) -> io::Result<()> {
    let (mut from, mut held) = (Vec::new(), Vec::new());
    loop {
        let start = from.clone();
        let reader = archive.clone();
        let pieces = blocking(move || reader.pieces(&start, CHUNK_BYTES)).await?;
        let is_end = pieces.is_empty();
        if let Some((last, _)) = pieces.last() {
            from = [last, &[0][..]].concat();
        }
        held.extend(pieces);
        let rest = held.split_off(if is_end { held.len() } else { last_record(&held) });
        archive.check(&held).await?;
        if !held.is_empty() {
            put(frames, &SnapshotFrame::Archive(held)).await?;
        }
        if is_end {
            return Ok(());
        }
        held = rest;
    }
}

async fn put(frames: &mut Frames, frame: &SnapshotFrame) -> io::Result<()> {
    let sent = timeout(FRAME_TIMEOUT, frames.send(wire::encode(frame)?));
    sent.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn get<T: serde::de::DeserializeOwned>(frames: &mut Frames, wait: Duration) -> io::Result<T> {
    match timeout(wait, frames.next()).await {
        Ok(Some(frame)) => wire::decode(&frame?),
        Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Takes in a snapshot and installs it.
pub(super) async fn receive(
    raft: Raft,
    mut frames: Frames,
    snapshots: &Snapshots,
    archive: &Archive,
) -> io::Result<()> {
    let answer = match snapshots.begin_receiving() {
        Some(_only_one) => receive_alone(&raft, &mut frames, snapshots, archive).await,
        None => SnapshotAnswer::Failed("another snapshot is coming in".into()),
    };
    if let SnapshotAnswer::Failed(reason) = &answer {
        tracing::warn!(%reason, "a snapshot could not be received");
    }
    let sent = timeout(SILENCE_MAX, frames.send(wire::encode(&answer)?));
    sent.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn receive_alone(raft: &Raft, frames: &mut Frames, snapshots: &Snapshots, archive: &Archive) -> SnapshotAnswer {
    let incoming = Incoming { files: snapshots.files.clone(), path: snapshots.unfinished_path() };
    match take(frames, &incoming, archive).await {
        Ok((vote, meta)) => install(raft, &incoming, vote, meta).await,
        Err(error) => SnapshotAnswer::Failed(error.to_string()),
    }
}

/// Removes the temporary file, if it still bears its name.
struct Incoming {
    files: Arc<dyn Files>,
    path: PathBuf,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // It was renamed when it was installed; then there is nothing to remove.
        let _ = self.files.remove(&self.path);
    }
}

async fn take(frames: &mut Frames, incoming: &Incoming, archive: &Archive) -> io::Result<(Vote, SnapshotMeta)> {
    let SnapshotFrame::Begin { vote, meta } = get(frames, FRAME_TIMEOUT).await? else {
        return Err(unexpected());
    };
    let mut file = {
        let (files, path) = (incoming.files.clone(), incoming.path.clone());
        blocking(move || files.create(&path)).await?
    };
    // From here on a crash leaves records that may belong to no job: the next start sweeps them.
    archive.queue(ArchiveWrite::Unswept).await?;
    loop {
        match get(frames, FRAME_TIMEOUT).await? {
            SnapshotFrame::Begin { .. } => return Err(unexpected()),
            SnapshotFrame::Chunk(chunk) => {
                file = blocking(move || file.write_all(&chunk).map(|()| file)).await?;
            }
            SnapshotFrame::Archive(pieces) => archive.queue(ArchiveWrite::Pieces(pieces)).await?,
            SnapshotFrame::End => break,
        }
    }
    blocking(move || file.sync()).await?;
    archive.sync().await?;
    verify(incoming, &meta).await?;
    Ok((vote, meta))
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "snapshot frames in a wrong order")
}

async fn verify(incoming: &Incoming, meta: &SnapshotMeta) -> io::Result<()> {
    let (files, path) = (incoming.files.clone(), incoming.path.clone());
    let (found, _) = blocking(move || file::read(&*files, &path)).await?;
    if found == *meta { Ok(()) } else { Err(io::Error::other("the snapshot is not what it was announced to be")) }
}

async fn install(raft: &Raft, incoming: &Incoming, vote: Vote, meta: SnapshotMeta) -> SnapshotAnswer {
    let snapshot = SnapshotFile { path: incoming.path.clone().into(), received: true };
    match raft.install_full_snapshot(vote, SnapshotOf::<TypeConfig, _> { meta, snapshot }).await {
        Ok(response) if response.vote > vote => SnapshotAnswer::HigherVote(response.vote),
        Ok(response) => SnapshotAnswer::Installed(response.vote),
        Err(error) => SnapshotAnswer::Failed(error.to_string()),
    }
}
