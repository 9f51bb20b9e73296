//! Idempotency keys for submissions that came without one.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Two keyed hashers whose keys the operating system's random source made for this process.
static SEEDS: LazyLock<(RandomState, RandomState)> = LazyLock::new(|| (RandomState::new(), RandomState::new()));
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A key that no other submission has: 128 bits that depend on the process's random seed, its id,
/// the time and a counter.
pub fn generate() -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let input = (NEXT.fetch_add(1, Ordering::Relaxed), std::process::id(), nanos);
    format!("{:016x}{:016x}", SEEDS.0.hash_one(input), SEEDS.1.hash_one(input))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn keys_do_not_repeat() {
        let keys: HashSet<String> = (0..10_000).map(|_| super::generate()).collect();
        assert_eq!(keys.len(), 10_000);
        assert!(keys.iter().all(|key| key.len() == 32));
    }
}
