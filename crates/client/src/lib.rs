//! The typed client of Quorate's HTTP API.
//!
//! A [`Client`] is given the addresses of some replicas and needs one of them alive. It remembers the
//! one that answers, moves on when that one dies or has no leader, and repeats what is safe to repeat.
//!
//! Layout: `transport` (one request until it is answered) with `servers` (whose turn it is), `retry` (again, elsewhere,
//! or give up) and `error`; `jobs`, `explain`, `submit`, `workers`, `namespaces`, `cluster`, `policy`, `resources`,
//! `locks`, `scheduling` (the routes); `events` and `logs` (streams that survive the replica they came from); `lines`
//! (NDJSON).
//!
//! Invariants: a submission always carries an idempotency key, so it can be repeated through another
//! replica when its answer was lost. A write that can't be told apart from its own repetition is
//! looked up before a conflict is reported. No call waits longer than [`Options::patience`] for a
//! cluster that does not answer.
//!
//! Only `http` is spoken for now; TLS is a matter of [`transport`]'s one `reqwest` builder.

mod cluster;
mod error;
mod events;
mod explain;
mod jobs;
mod key;
mod lines;
mod locks;
mod logs;
mod namespaces;
mod policy;
mod resources;
mod retry;
mod scheduling;
mod servers;
mod submit;
mod transport;
mod workers;

pub use error::{Error, Refusal};
pub use events::{EventFilter, Events};
pub use jobs::{JobFilter, TaskFilter};
pub use key::generate as generate_idempotency_key;
pub use logs::{LogFilter, LogPiece, Logs, TaskAddress};
pub use submit::LineOutcome;
pub use transport::{Client, Options};
