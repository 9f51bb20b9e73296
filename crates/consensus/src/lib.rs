//! Consensus: one replicated log on openraft, stored in sled, spoken over TCP; and the state it makes.
//!
//! Layout: `start` puts a replica together, `handle` is what it gives out, `options` what it takes.
//! `log/` (the raft log: writer thread, cache, reader) and `archive` lie on `disk/`, the storage seam;
//! `snapshot/` holds the state in files; `codec` is how all of it is encoded; `storage` and `identity`
//! open the folder. `machine` applies entries. `propose/` brings commands into the log, `read` makes
//! reads linearizable, `freshness` says how stale a replica is, `membership` changes who takes part, `naming`
//! gives cluster and folders their names, `vigil` notices the death of the leader's process. `transport/` is how
//! replicas talk. `host` is what they take from their machine, and what a simulation replaces; `runtime` is
//! openraft's view of it.
//!
//! Invariants:
//! - openraft hears that something is stored only after `fdatasync` of the database file returned.
//! - One thread writes to the database. After its first error nothing is written any more.
//! - What can't be decoded stops the replica; nothing on disk is ever skipped.
//! - An id and a data folder belong together for ever: both ends of every connection check it.
//! - Versions are published in log order, each before whoever proposed its entry hears of it.
//! - Every queue, frame, batch and wait has its bound in [`Limits`] or in a constant beside it.

pub mod disk;
pub mod host;

mod archive;
mod clock;
mod codec;
mod error;
mod fatal;
mod freshness;
#[cfg(test)]
#[path = "../../types/tests/fuzz/mod.rs"]
mod fuzz;
#[cfg(test)]
#[path = "../tests/fuzz/history.rs"]
mod fuzz_history;
mod handle;
mod identity;
mod leadership;
mod log;
mod machine;
mod membership;
mod naming;
mod options;
mod propose;
mod read;
mod runtime;
mod snapshot;
mod start;
mod storage;
mod transport;
mod type_config;
mod vigil;

pub use crate::error::{ArchiveError, CallError, FatalError, MembershipError, ProposeError, ReadError, StartError};
pub use crate::handle::{Handle, MemberStatus, ReadRecord, Role, Status};
pub use crate::leadership::Leadership;
pub use crate::options::{Addresses, Limits, Observer, Options, Start, Timing, Version};
pub use crate::propose::{Committed, Planner};
pub use crate::start::{start, start_on};
pub use crate::transport::net::{Connection, Listener, Network, Tcp};
pub use crate::transport::server::CallHandler;
