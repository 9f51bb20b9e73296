//! The duties of the leader: expire silent workers, let time pass, place tasks.
//!
//! `liveness` and `duties` decide and are plain structs; `shell` waits, reads clocks and proposes.

mod duties;
mod liveness;
mod shell;
mod ticks;

pub(crate) use shell::Leader;
