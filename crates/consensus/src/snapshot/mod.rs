//! Snapshots: files `snapshots/<index>-<term>.snap`.
//!
//! `file` is the format; `store` keeps the newest ones; `builder` writes one from an O(1) copy of the
//! state while apply goes on. How a snapshot travels is `transport::snapshot`.

mod builder;
pub(crate) mod file;
mod store;

pub(crate) use builder::Builder;
pub(crate) use store::{SnapshotFile, Snapshots};

#[cfg(test)]
mod tests;
