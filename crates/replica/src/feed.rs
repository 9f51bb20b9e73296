//! What comes out of apply, spread to those who wait for it. Called in log order from the apply path.

use std::sync::Arc;

use quorate_consensus::{Observer, Version};
use quorate_state::outcome::Applied;

use crate::events::History;
use crate::sessions::Registry;
use crate::waiters::Waiters;

#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) history: Arc<History>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) waiters: Arc<Waiters>,
}

impl Observer for Feed {
    fn applied(&self, _version: &Arc<Version>, applied: Applied) {
        self.registry.notify(applied.index, applied.notices);
        self.waiters.on_events(&applied.events);
        self.history.push(applied.index, applied.time, applied.events);
    }

    fn restored(&self, version: &Arc<Version>) {
        self.registry.resync_all();
        self.history.reset(version.index);
        self.waiters.wake_all();
    }
}
