//! What may start before a task that stands further ahead and does not fit yet.
//!
//! A worker's future is known as far as the ends of what it runs are. Where nobody knows them, a task that does not fit
//! *holds* a worker: what stands behind it in the queue goes elsewhere.

pub(crate) mod conservative;
pub(crate) mod easy;
pub(crate) mod none;
mod profile;
