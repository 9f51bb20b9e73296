//! Ports that nobody listens on and that no outgoing connection will take by chance.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::bail;

/// The lowest port that is handed out.
const FIRST: u16 = 20_000;
/// Linux's default lower end of the ports of outgoing connections.
const EPHEMERAL_DEFAULT: u16 = 32_768;
/// Distinct starting points of processes that search at the same time.
const STEP: u32 = 97;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// `count` distinct free ports on loopback.
///
/// A killed replica must get its port again, so ports below the range of outgoing connections are
/// taken: in that range any connection may sit on the port meanwhile.
pub(crate) fn free(count: usize) -> anyhow::Result<Vec<u16>> {
    let end = ephemeral_start().max(FIRST + 1_000);
    let size = end - FIRST;
    let own = (std::process::id().wrapping_mul(STEP) % u32::from(size)) as u16;
    let mut held = Vec::with_capacity(count);
    for _ in 0..size {
        let offset = own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % size;
        // Held until all are found, so that no port is found twice.
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", FIRST + offset)) {
            held.push((listener, FIRST + offset));
        }
        if held.len() == count {
            return Ok(held.into_iter().map(|(_, port)| port).collect());
        }
    }
    bail!("no {count} free ports between {FIRST} and {end}")
}

fn ephemeral_start() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(EPHEMERAL_DEFAULT)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::{Duration, Instant};

    #[test]
    fn ports_are_distinct_and_can_be_listened_on() {
        let ports = super::free(6).unwrap();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), 6);
        for port in ports {
            // A child that another test starts in this instant holds the search's listener until it executes.
            let deadline = Instant::now() + Duration::from_secs(5);
            while let Err(error) = std::net::TcpListener::bind(("127.0.0.1", port)) {
                assert!(Instant::now() < deadline, "port {port}: {error}");
                std::thread::yield_now();
            }
        }
    }
}
