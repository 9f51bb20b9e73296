//! What this host has to offer.

use std::fs;
use std::path::Path;

use quorate_types::Resources;
use quorate_types::validate::check_host;

/// Cores and memory of this host, or what its control group leaves of them.
pub fn detect_capacity() -> Resources {
    // It respects the affinity and the cpu quota of the process.
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let memory = host_memory().unwrap_or(0);
    let limit = own_cgroup().and_then(|group| memory_limit(Path::new("/sys/fs/cgroup"), &group));
    Resources::new(cores * 1000, limit.map_or(memory, |limit| limit.min(memory)))
}

/// The host's name, under which others most likely reach it.
pub fn detect_host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().to_owned();
    if check_host(&name).is_ok() { name } else { "localhost".to_owned() }
}

fn host_memory() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The path of this process's control group (version 2).
fn own_cgroup() -> Option<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().find_map(|line| line.strip_prefix("0::/")).map(str::to_owned)
}

/// The smallest limit of the group and its ancestors.
fn memory_limit(root: &Path, group: &str) -> Option<u64> {
    let own = root.join(group);
    let ancestors = own.ancestors().take_while(|path| path.starts_with(root));
    ancestors.filter_map(|path| fs::read_to_string(path.join("memory.max")).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_cores_and_memory() {
        let capacity = detect_capacity();
        assert!(capacity.cpu_millis >= 1000 && capacity.memory_bytes > 1 << 20, "{capacity:?}");
    }

    #[test]
    fn the_tightest_limit_counts() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/memory.max"), "1000\n").unwrap();
        fs::write(root.path().join("a/b/memory.max"), "max\n").unwrap();
        assert_eq!(memory_limit(root.path(), "a/b"), Some(1000));
        assert_eq!(memory_limit(root.path(), ""), None);
    }
}
