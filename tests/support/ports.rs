//! Ports that nobody listens on and that no outgoing connection takes by chance.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports of outgoing connections, so that a killed replica gets its port again, and below those
/// that `quorate demo` and `dev` pick.
const FIRST: u16 = 10_000;
const COUNT: u16 = 10_000;

/// A port of `host` that was free a moment ago.
pub(crate) fn free(host: &str) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = (std::process::id().wrapping_mul(101) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let port = FIRST + (own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed))) % COUNT;
        if TcpListener::bind((host, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}
