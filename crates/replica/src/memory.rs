//! The memory budget: what all queues, caches and the state may take together.
//!
//! Bounds of single things can't bound their sum, since most of it is the state, and how much a job weighs
//! there depends on the job. So the process looks at what it really takes, and near the budget it refuses
//! what makes the state grow: new jobs. Reports, cancels and reads go on: with them the state shrinks again.

use std::fs;
use std::time::Duration;

use anyhow::ensure;
use metrics::gauge;
use quorate_consensus::{Handle, Limits};
use quorate_types::resources::parse_bytes;
use tokio::time::{MissedTickBehavior, interval};

/// Below it there is no room for jobs beside the caches.
const BUDGET_MIN: u64 = 256 << 20;
/// Where neither machine nor control group says how much there is.
const MACHINE_DEFAULT: u64 = 4 << 30;
/// How often the process looks: the largest flood takes a second for what is left above the mark.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// A queue or cache takes this part of the budget at most.
const PARTS: u64 = 16;

/// Bytes that the process may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(u64);

impl Budget {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let bytes = parse_bytes(text).map_err(anyhow::Error::msg)?;
        ensure!(bytes >= BUDGET_MIN, "{text} is less than {} MiB", BUDGET_MIN >> 20);
        Ok(Self(bytes))
    }

    /// Four fifths of what there is; the rest is the kernel's, for its buffers and the files in its cache.
    pub(crate) fn of_host() -> Self {
        let least = [control_group_limit(), machine_memory()].into_iter().flatten().min();
        let budget = Self(least.unwrap_or(MACHINE_DEFAULT) / 5 * 4);
        if budget.0 < BUDGET_MIN {
            tracing::warn!(budget_mib = budget.0 >> 20, "there is little memory here: few jobs will be taken");
        }
        budget
    }

    /// What one queue or cache may take that needs no more than `most`.
    pub(crate) fn part(self, most: usize) -> usize {
        usize::try_from(self.0 / PARTS).map_or(most, |part| part.min(most))
    }

    pub(crate) fn limits(self, limits: Limits) -> Limits {
        Limits {
            queued_proposal_bytes: self.part(limits.queued_proposal_bytes),
            cached_bytes: self.part(limits.cached_bytes),
            archive_backlog_bytes: self.part(limits.archive_backlog_bytes),
            page_cache_bytes: limits.page_cache_bytes.min(self.0 / PARTS),
            ..limits
        }
    }

    /// Whether new jobs are to be taken, when so many bytes are in use. Between the two marks nothing
    /// changes, so that it doesn't flicker.
    fn admits(self, resident: u64, admitted: bool) -> bool {
        let mark = if admitted { self.0 / 8 * 7 } else { self.0 / 4 * 3 };
        resident < mark
    }
}

/// Opens and closes the replica for new jobs, for as long as it runs.
pub(crate) async fn watch(budget: Budget, replica: Handle) {
    gauge!("quorate_memory_budget_bytes").set(budget.0 as f64);
    let (mut ticks, mut admitted) = (interval(LOOK_INTERVAL), true);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(resident) = resident() else {
            tracing::warn!("how much memory this process takes can't be found out: the memory budget is not kept");
            return;
        };
        gauge!("quorate_memory_resident_bytes").set(resident as f64);
        let now = budget.admits(resident, admitted);
        if now != admitted {
            admitted = now;
            replica.admit_jobs(admitted);
            let (resident_mib, budget_mib) = (resident >> 20, budget.0 >> 20);
            if admitted {
                tracing::info!(resident_mib, budget_mib, "new jobs are taken again");
            } else {
                tracing::warn!(resident_mib, budget_mib, "the memory budget is nearly used up: new jobs are refused");
            }
        }
    }
}

/// What the process has in memory.
fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    kib_of(&text, "VmRSS:")
}

fn machine_memory() -> Option<u64> {
    kib_of(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// The bytes of a line such as `VmRSS:   1024 kB`.
fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The lowest limit on the way from the process's control group (version 2) to the root.
fn control_group_limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut folder = std::path::Path::new("/sys/fs/cgroup").join(path.trim());
    let mut least = None;
    while folder.starts_with("/sys/fs/cgroup") {
        let limit = fs::read_to_string(folder.join("memory.max")).ok();
        let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
        least = [least, limit].into_iter().flatten().min();
        if !folder.pop() {
            break;
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_size_with_room_for_jobs() {
        assert_eq!(Budget::parse("1GiB").unwrap(), Budget(1 << 30));
        for bad in ["", "lots", "255MiB", "-1"] {
            assert!(Budget::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn jobs_are_refused_above_one_mark_and_taken_below_another() {
        let budget = Budget(800);
        assert!(budget.admits(699, true));
        assert!(!budget.admits(700, true));
        assert!(!budget.admits(600, false));
        assert!(budget.admits(599, false));
    }

    #[test]
    fn a_small_budget_has_small_queues_and_a_large_one_the_usual() {
        let usual = Limits::default();
        let small = Budget(256 << 20).limits(usual);
        assert_eq!((small.queued_proposal_bytes, small.page_cache_bytes), (16 << 20, 16 << 20));
        let large = Budget(64 << 30).limits(usual);
        assert_eq!((large.cached_bytes, large.page_cache_bytes), (usual.cached_bytes, usual.page_cache_bytes));
    }

    #[test]
    fn the_process_knows_what_it_takes() {
        let resident = resident().unwrap();
        assert!(resident > 1 << 20 && resident < machine_memory().unwrap(), "{resident}");
        assert_eq!(kib_of("VmRSS:\t   12 kB\n", "VmRSS:"), Some(12 << 10));
        assert_eq!(kib_of("VmRSS:\t   x kB\n", "VmRSS:"), None);
    }
}
