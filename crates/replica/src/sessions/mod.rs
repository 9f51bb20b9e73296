//! The workers' connections to this replica.
//!
//! `registry` knows who is connected and passes notices on; `desk` turns notices into messages (sans-IO);
//! `shell` is one connection's task; `wire` its frames; `relay` takes heartbeats to the leader; `reports`
//! checks reports before they are logged; `output`
//! reads a worker's spool.

mod desk;
mod inputs;
mod output;
mod registry;
mod relay;
mod reports;
mod shell;
mod wire;

pub(crate) use output::{OutputError, OutputReader};
pub(crate) use registry::Registry;
pub(crate) use relay::Relay;
pub(crate) use shell::{Host, serve};
