//! What a member of a gang finds: who the others are, and a folder that those on this worker share.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use quorate_types::gang::Muster;
use quorate_types::session::AttemptKey;
use quorate_types::{Fence, JobId};

use super::files::tree_bytes;
use super::{folder, report_failure};

/// All attempts of a gang that began together share a fence.
type Incarnation = (JobId, u32, Fence);

/// The folder that members share. It is removed with the last of their own folders, so that none finds it gone that
/// starts after another has ended.
#[derive(Debug)]
pub(super) struct Shared {
    path: PathBuf,
    /// Members here that have not ended.
    running: AtomicUsize,
}

impl Drop for Shared {
    fn drop(&mut self) {
        report_failure(&self.path);
    }
}

impl Shared {
    /// One member less runs. Gives the bytes that the last one leaves.
    pub(super) fn leave(&self) -> u64 {
        match self.running.fetch_sub(1, Ordering::AcqRel) {
            1 => tree_bytes(&self.path),
            _ => 0,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Gangs(HashMap<Incarnation, Weak<Shared>>);

impl Gangs {
    /// The folder of the gang that the attempt belongs to.
    pub(super) fn join(&mut self, root: &str, key: AttemptKey, muster: &Muster) -> Arc<Shared> {
        let incarnation @ (job, first_task, fence) = (key.job, muster.first_task, key.fence);
        if let Some(shared) = self.0.get(&incarnation).and_then(Weak::upgrade) {
            shared.running.fetch_add(1, Ordering::AcqRel);
            return shared;
        }
        self.0.retain(|_, shared| shared.strong_count() > 0);
        let path = Path::new(root).join(format!("gang-{job}-{first_task}-{fence}"));
        let shared = Arc::new(Shared { path, running: AtomicUsize::new(1) });
        self.0.insert(incarnation, Arc::downgrade(&shared));
        shared
    }
}

/// Makes the shared folder unless another member has, and gives the variables of a member.
pub(super) fn enter(shared: &Shared, key: AttemptKey, muster: &Muster) -> io::Result<[(String, String); 5]> {
    match folder(&shared.path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && fs::metadata(&shared.path)?.is_dir() => {}
        made => made?,
    }
    let rank = (muster.rank + key.index.0) as usize;
    let host = muster.hosts.get(rank);
    let local_rank = muster.hosts.iter().take(rank).filter(|other| Some(*other) == host).count();
    let variables = [
        ("QUORATE_GANG_HOSTS", muster.hosts.join(",")),
        ("QUORATE_GANG_SIZE", muster.hosts.len().to_string()),
        ("QUORATE_GANG_RANK", rank.to_string()),
        ("QUORATE_GANG_LOCAL_RANK", local_rank.to_string()),
        ("QUORATE_GANG_DIR", shared.path.display().to_string()),
    ];
    Ok(variables.map(|(name, value)| (name.to_owned(), value)))
}
