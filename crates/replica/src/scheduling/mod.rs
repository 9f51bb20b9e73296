//! The scheduler in numbers, over sliding windows: what `/v1/scheduling` and Prometheus say of it.
//!
//! Layout: `meter` adds up, sans-IO: it is given versions of the state and the time, and finds in `follow` what changed
//! from one to the next; `scope` (a namespace, or the cluster), `spaces` (all namespaces) and `fleet` (the workers)
//! keep the sums, in steps of a `ring` for each window, with waits in a `histogram` and amounts in `kinds`; `fairness`
//! is Jain's index; `report` makes answers of it all, `prometheus` text; `shell` looks at versions as they come.
//!
//! Every replica measures by itself. Times are those of the state, so that replicas that have watched for equally
//! long say nearly the same; what is held is exact, from the times of attempts, however seldom anybody looks.
//! Nothing here runs on raft's threads.

mod fairness;
mod fleet;
mod follow;
mod histogram;
mod kinds;
mod meter;
mod prometheus;
mod report;
mod ring;
mod scope;
mod shell;
mod spaces;
#[cfg(test)]
mod tests;

pub(crate) use prometheus::entitlements;
pub(crate) use shell::{Scheduling, watch};
