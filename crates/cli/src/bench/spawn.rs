//! How many processes a second this machine can start and reap, without any scheduler.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::Context;

/// As many at a time as the reference measurements have.
const IN_FLIGHT: usize = 2;

/// Starts `count` processes of `true`, two at a time, and waits for each; answers processes a second.
/// The standard library spawns with `posix_spawn`, the cheapest way there is.
pub(super) fn rate(count: u32) -> anyhow::Result<f64> {
    let left = AtomicU32::new(count);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..IN_FLIGHT).map(|_| scope.spawn(|| spawn_until_none(&left))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

fn spawn_until_none(left: &AtomicU32) -> anyhow::Result<()> {
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    while take().is_ok() {
        Command::new("true").status().context("start `true`")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_machine_can_start_processes() {
        assert!(super::rate(10).unwrap() > 1.0);
    }
}
