//! The raft log on disk.
//!
//! `store` is what openraft talks to; `writer` is the one thread that writes, with group commit; `cache`
//! keeps recent entries in memory; `reader` gets the others back from disk; `layout` says where things
//! lie; `watermark` notices a log that lost its end.

mod cache;
pub(crate) mod layout;
mod reader;
mod store;
mod watermark;
mod writer;

pub(crate) use store::{LogShared, LogStore};
pub(crate) use watermark::Watermark;
pub(crate) use writer::{Write, Writer, WriterThread};

#[cfg(test)]
mod position_tests;
#[cfg(test)]
mod tests;
