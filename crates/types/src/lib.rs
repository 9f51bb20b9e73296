//! The vocabulary of Quorate: identifiers, units, the validated job specification, and the shapes
//! that travel between replicas, workers and clients.
//!
//! Layout: `id` and `name` (who), `time` and `resources` (how much), `job` (what is submitted) with `task_list`,
//! `need`, `when` and `schedule` (what it waits for), `service` (what never ends by itself), `constraint` and `apart`
//! (where it may run), `gang` (what starts together), `gate` (what it has to get before it starts, and locks),
//! `namespace` (what its owner is entitled to) and `validate` (how a request becomes a job), `extension` (what a task
//! adds to its job), `status` (the states of things), `api` (answers of the HTTP API), `explain` (why a task is where
//! it is), `problem` (its errors), `event` (what changed), `session` (the worker protocol) with `inputs` (what a task
//! gets of what it needs), `policy` (what the scheduler goes by), `scheduling` (how well that goes) and `limits`
//! (every bound that a specification must respect). `planted` is for the simulation's own test.
//!
//! Invariants: a [`job::JobSpec`] exists only validated; names are checked when they are made; units
//! are integers inside (milliseconds, millicores, bytes) and human strings only at the edge. Types
//! that go into the log use plain serde derives, so that they encode the same in JSON and in bincode; but for a
//! specification, which `service::form` shows as its author wrote it.

mod apart;
pub mod api;
mod backoff;
pub mod constraint;
pub mod event;
pub mod explain;
pub mod extension;
mod follow;
pub mod gang;
pub mod gate;
pub mod id;
pub mod inputs;
pub mod job;
pub mod limits;
pub mod name;
pub mod namespace;
pub mod need;
pub mod planted;
pub mod policy;
pub mod problem;
pub mod resources;
pub mod schedule;
pub mod scheduling;
pub mod service;
pub mod session;
pub mod status;
pub mod task_list;
pub mod time;
pub mod validate;
pub mod when;
mod words;

pub use apart::{Apart, JobLabel};
pub use constraint::{Condition, Labels, Preference, Spread, Taint, Toleration};
pub use extension::{Extension, NewTask};
pub use gate::Rate;
pub use id::{AttemptNumber, Epoch, Fence, JobId, LogIndex, ReplicaId, TaskIndex};
pub use job::{JobSpec, TaskSpec};
pub use name::{JobName, Name};
pub use namespace::{Allowance, NamespaceRules, Reclaim};
pub use need::{End, Need, On};
pub use planted::{Bug, is_planted};
pub use policy::Policy;
pub use problem::{Code, Problem};
pub use resources::Resources;
pub use task_list::TaskList;
pub use time::{Span, Timestamp};
pub use when::When;
