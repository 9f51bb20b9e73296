//! The worker.
#![allow(dead_code)]

mod capacity;
mod clock;
mod error;
mod lease;
mod options;
mod outbox;
mod sys;
mod table;
pub mod watchdog;

pub use capacity::detect_capacity;
pub use error::WorkerError;
pub use options::{Limits, Options};
