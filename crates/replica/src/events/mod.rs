//! The history of events, newest in memory, and how streams read it.

mod history;

pub(crate) use history::{Gone, History, Seen};
