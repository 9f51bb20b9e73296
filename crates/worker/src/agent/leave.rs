//! How the worker leaves: its attempts end, their reports are committed, it signs off.

use std::time::Duration;

use tokio::time::Instant;

use super::Agent;
use super::registration::Link;

/// What ending takes after the last KILL, on a busy host.
const KILL_SLACK: Duration = Duration::from_secs(2);
/// For a watchdog that runs nothing any more.
const WATCHDOG_PATIENCE: Duration = Duration::from_secs(5);
/// For writing the goodbye.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Leaving {
    /// What has not ended by then is left to the watchdog's own end.
    ended_by: Instant,
    /// Set when everything has ended.
    reported_by: Option<Instant>,
}

impl Agent {
    pub(super) fn leave(&mut self) {
        tracing::info!("leaving: ending all attempts");
        let grace = self.options.limits.leave_grace;
        self.leaving = Some(Leaving { ended_by: Instant::now() + grace + KILL_SLACK, reported_by: None });
        let actions = self.table.close(grace);
        self.carry_out(actions);
    }

    /// Whether everything has ended and is reported, or waiting for it is over.
    pub(super) fn has_left(&mut self) -> bool {
        let Some(leaving) = &mut self.leaving else { return false };
        let now = Instant::now();
        match self.link {
            // Nothing is to be reported when there is no registration.
            Link::Idle => return true,
            Link::Ending { .. } => return now >= leaving.ended_by,
            Link::Connecting(_) | Link::Up(_) => {}
        }
        if !self.table.is_idle() {
            return now >= leaving.ended_by;
        }
        let until = *leaving.reported_by.get_or_insert(now + self.options.limits.leave_reports);
        self.table.outbox.is_empty() || now >= until
    }

    /// Ends the watchdog, and so everything that may still run; only then is it true that this worker goes.
    pub(super) async fn finish(self) {
        let Self { mut link, keeper, .. } = self;
        let namespaced = keeper.namespaced;
        keeper.shut_down(WATCHDOG_PATIENCE).await;
        if let Link::Up(session) = std::mem::replace(&mut link, Link::Idle) {
            session.close(GOODBYE_PATIENCE).await;
        }
        tracing::info!(namespaced, "left");
    }
}
