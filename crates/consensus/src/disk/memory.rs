//! A disk for tests: it keeps what was synced and, at a power cut, forgets the rest.

use std::collections::BTreeMap;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Disk, Visit};

type Trees = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// Trees in memory. Clones share them, as two openings of one folder do.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Inner>>,
    /// While this is set, no tree goes.
    drops_wait: Arc<(Mutex<bool>, Condvar)>,
}

#[derive(Debug, Default)]
struct Inner {
    visible: Trees,
    durable: Trees,
    syncs: u64,
    /// Set when syncs are to fail.
    broken: bool,
}

impl MemoryDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// What is left after the power went: a new disk with only what was synced.
    pub fn after_power_cut(&self) -> Self {
        let durable = self.inner().durable.clone();
        let inner = Inner { visible: durable.clone(), durable, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)), drops_wait: Arc::default() }
    }

    /// How often [`Disk::sync`] was called.
    pub fn syncs(&self) -> u64 {
        self.inner().syncs
    }

    /// Makes every later sync fail.
    pub fn break_syncs(&self) {
        self.inner().broken = true;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes every [`Disk::drop_tree`] wait, or lets them go on.
    pub fn set_drops_wait(&self, wait: bool) {
        let (waits, changed) = &*self.drops_wait;
        *waits.lock().unwrap_or_else(PoisonError::into_inner) = wait;
        changed.notify_all();
    }
}

impl Disk for MemoryDisk {
    fn insert(&self, tree: &str, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.inner().visible.entry(tree.to_owned()).or_default().insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn remove(&self, tree: &str, key: &[u8]) -> io::Result<()> {
        if let Some(tree) = self.inner().visible.get_mut(tree) {
            tree.remove(key);
        }
        Ok(())
    }

    fn get(&self, tree: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.inner().visible.get(tree).and_then(|tree| tree.get(key).cloned()))
    }

    fn scan(&self, tree: &str, range: Range<&[u8]>, visit: Visit<'_>) -> io::Result<()> {
        // The lock is not held while visiting: a visitor may read the disk.
        let found: Vec<_> = match self.inner().visible.get(tree) {
            Some(tree) => {
                let keys = tree.range(range.start.to_vec()..range.end.to_vec());
                keys.map(|(k, v)| (k.clone(), v.clone())).collect()
            }
            None => Vec::new(),
        };
        for (key, value) in found {
            if visit(&key, &value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn last_key(&self, tree: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.inner().visible.get(tree).and_then(|tree| tree.keys().next_back().cloned()))
    }

    fn trees(&self) -> io::Result<Vec<String>> {
        Ok(self.inner().visible.keys().cloned().collect())
    }

    fn drop_tree(&self, tree: &str) -> io::Result<()> {
        let (waits, changed) = &*self.drops_wait;
        let waits = waits.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(waits, |wait| *wait).unwrap_or_else(PoisonError::into_inner));
        self.inner().visible.remove(tree);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.inner();
        inner.syncs += 1;
        if inner.broken {
            return Err(io::Error::other("the disk is broken"));
        }
        inner.durable = inner.visible.clone();
        Ok(())
    }
}
