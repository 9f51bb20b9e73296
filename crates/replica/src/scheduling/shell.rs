//! Looks at versions as they come, a few times a second and whenever somebody asks, on threads that may block.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quorate_consensus::Handle;
use quorate_types::Name;
use quorate_types::scheduling::{SchedulingView, Window};
use tokio::task::JoinError;
use tokio::time::{MissedTickBehavior, interval};

use super::meter::Meter;
use crate::limits::SCHEDULING_LOOK_EVERY;

/// The measurements of a replica. Clones speak of the same.
#[derive(Clone, Debug)]
pub(crate) struct Scheduling {
    handle: Handle,
    /// How often the state was replaced by a snapshot.
    restored: Arc<AtomicU64>,
    measured: Arc<Mutex<Measured>>,
}

#[derive(Debug, Default)]
struct Measured {
    meter: Option<Box<Meter>>,
    /// As it was when the meter began.
    restored: u64,
}

impl Scheduling {
    pub(crate) fn new(handle: Handle, restored: Arc<AtomicU64>) -> Self {
        Self { handle, restored, measured: Arc::default() }
    }

    /// What is known now. All that the newest version here holds is in it.
    pub(crate) async fn report(
        &self,
        namespace: Option<Name>,
        windows: Vec<Window>,
    ) -> Result<SchedulingView, JoinError> {
        self.with(move |meter| meter.report(namespace.as_ref(), &windows)).await
    }

    pub(crate) async fn prometheus(&self) -> Result<String, JoinError> {
        self.with(|meter| meter.prometheus()).await
    }

    async fn with<T: Send + 'static>(&self, read: impl FnOnce(&Meter) -> T + Send + 'static) -> Result<T, JoinError> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            this.look(|meter, now| {
                meter.on_time(now);
                read(meter)
            })
        })
        .await
    }

    /// Brings the meter up to date. After a snapshot it begins anew: what led there is not known.
    fn look<T>(&self, then: impl FnOnce(&mut Meter, quorate_types::Timestamp) -> T) -> T {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let restored = self.restored.load(Ordering::Acquire);
        let version = self.handle.version();
        let now = self.handle.leader_time();
        let same = measured.restored == restored;
        let mut meter = match measured.meter.take().filter(|_| same) {
            Some(mut meter) => {
                meter.on_version(now, &version.state);
                meter
            }
            None => Box::new(Meter::new(now, &version.state)),
        };
        let result = then(&mut meter, now);
        *measured = Measured { meter: Some(meter), restored };
        result
    }
}

/// Follows the versions for as long as the replica runs.
pub(crate) async fn watch(scheduling: Scheduling) {
    let mut due = interval(SCHEDULING_LOOK_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let looking = scheduling.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || looking.look(|_, _| ())).await {
            tracing::error!(%error, "look at what the scheduler does");
        }
    }
}
