//! x
pub mod disk;
mod archive;
mod codec;
mod error;
mod fatal;
mod log;
mod machine;
mod options;
mod snapshot;
mod type_config;
