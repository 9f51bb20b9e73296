//! The clock of leases: `CLOCK_BOOTTIME`, which goes on while the host sleeps.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::host;

/// Nanoseconds since the host started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Boottime(pub u64);

impl Boottime {
    pub(crate) fn now() -> Self {
        host::boottime()
    }

    pub(crate) fn of_host() -> Self {
        // The call fails only for a clock that the kernel does not know, which Linux 2.6.39 has. Should it
        // fail nevertheless, "very late" ends leases instead of prolonging them.
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Self(u64::MAX), |time| Self(nanoseconds(Duration::from(time))))
    }

    pub(crate) fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }

    /// How much later this is than `earlier`; zero if it is not later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
