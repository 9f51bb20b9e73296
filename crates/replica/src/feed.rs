//! What comes out of apply, spread to those who wait for it. Called in log order from the apply path.

use quorate_types::{Bug, is_planted};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_consensus::{Observer, Version};
use quorate_state::outcome::Applied;

use crate::events::History;
use crate::limits::EVENTS_MAX;
use crate::sessions::Registry;
use crate::waiters::Waiters;

/// One of each for a replica; clones speak of the same.
#[derive(Clone, Debug)]
pub struct Feed {
    pub(crate) history: Arc<History>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) waiters: Arc<Waiters>,
    /// How often the state was replaced by a snapshot.
    pub(crate) restored: Arc<AtomicU64>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            history: Arc::new(History::new(EVENTS_MAX)),
            registry: Arc::default(),
            waiters: Arc::default(),
            restored: Arc::default(),
        }
    }
}

impl Feed {
    pub fn new() -> Self {
        Self::default()
    }

    /// What consensus tells of each entry that it applied.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(self.clone())
    }
}

impl Observer for Feed {
    fn applied(&self, _version: &Arc<Version>, applied: Applied) {
        self.registry.notify(applied.index, applied.notices);
        self.waiters.on_events(&applied.events);
        self.history.push(applied.index, applied.time, applied.events);
    }

    fn restored(&self, version: &Arc<Version>) {
        self.restored.fetch_add(1, Ordering::AcqRel);
        self.registry.resync_all();
        if !is_planted(Bug::EventsLostAtInstall) {
            self.history.reset(version.index);
        }
        self.waiters.wake_all();
    }
}
