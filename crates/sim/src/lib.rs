//! The whole cluster in one thread and in virtual time: the real consensus (openraft, log, snapshots, peer
//! protocol), state, placement, leader's duties, routes, sessions and agents, on simulated machines, disks,
//! networks and clocks. One seed is one run, to the byte.
//!
//! Layout: `world` (machines, time, what travels, operators), `faults` (what goes wrong when), `client`,
//! `history`, `keyed` and `linear` (what clients do, and whether what they were told can be true), `replica`
//! and `worker` (the real processes on their machines), `applied` and `physical` (what replicas agreed on, and
//! what really ran), `watchdog` (simulated, with the processes that it starts), `node`, `disk`, `files`,
//! `network` (the machine), `panics`, `chance` and `trace` (what makes a run one run). `lab` is something else:
//! placement alone, over recorded work.
//!
//! Invariants: nothing here asks the host for time, chance or threads; every choice comes from the seed;
//! maps that are walked are ordered.

mod applied;
mod chance;
mod client;
mod disk;
mod faults;
mod files;
mod history;
mod keyed;
pub mod lab;
mod linear;
mod network;
mod node;
mod panics;
mod physical;
mod replica;
mod run;
mod shrink;
mod trace;
mod watchdog;
mod worker;
mod world;

pub use faults::Fault;
pub use run::{Failure, Kind, Options, Report, is_reproducible, run};
pub use shrink::shrink;
