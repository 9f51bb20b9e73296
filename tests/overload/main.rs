//! Overload and hostile input: more load than the cluster can take, clients that are slow, silent or lie, strangers
//! at the peer port. While each of these goes on, honest clients are answered and the leader and the workers stay.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod calm;
mod connections;
mod flood;
mod limits;
mod memory;
mod peer_port;
#[path = "../support/mod.rs"]
mod support;
mod wire;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::const_new(());

/// For tests that mostly wait: several of them may run at once.
async fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}

/// For a test that takes all the machine has.
async fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}
