//! In which order tasks are looked at. Each policy gives a task a rank that does not change while it waits: lower ranks
//! come first, and ties end in the job's number and the task's position. Where the order goes by what namespaces use,
//! which changes all the time, ranks hold within a namespace, and [`turns`] says whose turn it is. So it is where
//! namespaces have quotas or limits.
//!
//! To add one: a file here, a variant of [`QueueOrder`], an arm below, a test.

mod aged_sjf;
mod critical_path;
mod deadline;
pub(crate) mod fair_share;
mod least_work;
pub(crate) mod multifactor;
mod priority;
mod round_robin;
mod sjf;
mod srtf;
pub(crate) mod turns;

use quorate_state::queue::Queued;

use crate::book::Facts;
use quorate_types::policy::QueueOrder;

/// Where a task stands in the queue.
pub(crate) type Place = (u64, Queued);

/// Whether the order goes by what namespaces use.
pub(crate) fn goes_by_use(order: QueueOrder) -> bool {
    match order {
        QueueOrder::Multifactor | QueueOrder::FairShare => true,
        QueueOrder::Fifo
        | QueueOrder::Priority
        | QueueOrder::Sjf
        | QueueOrder::Srtf
        | QueueOrder::LeastWork
        | QueueOrder::Deadline
        | QueueOrder::CriticalPath
        | QueueOrder::RoundRobin
        | QueueOrder::AgedSjf => false,
    }
}

/// Whether ranks depend on how long tasks are expected to run, learned times included.
pub(crate) fn goes_by_time(queue: QueueOrder) -> bool {
    match queue {
        QueueOrder::Sjf | QueueOrder::Srtf | QueueOrder::AgedSjf | QueueOrder::LeastWork => true,
        QueueOrder::Fifo
        | QueueOrder::Priority
        | QueueOrder::Deadline
        | QueueOrder::CriticalPath
        | QueueOrder::FairShare
        | QueueOrder::RoundRobin
        | QueueOrder::Multifactor => false,
    }
}

/// Whether those that wait end others to have room, whatever their priorities.
pub(crate) fn ends_others(queue: QueueOrder) -> bool {
    match queue {
        QueueOrder::Srtf | QueueOrder::RoundRobin => true,
        QueueOrder::Fifo
        | QueueOrder::Priority
        | QueueOrder::Sjf
        | QueueOrder::LeastWork
        | QueueOrder::Deadline
        | QueueOrder::CriticalPath
        | QueueOrder::FairShare
        | QueueOrder::Multifactor
        | QueueOrder::AgedSjf => false,
    }
}

/// `size` is the request's share of the largest worker, in 1/2²⁰.
pub(crate) fn rank(order: QueueOrder, facts: &Facts, size: u64) -> u64 {
    match order {
        // Jobs are numbered as they come.
        QueueOrder::Fifo | QueueOrder::FairShare => 0,
        QueueOrder::Priority => priority::rank(facts),
        QueueOrder::Sjf => sjf::rank(facts),
        QueueOrder::Srtf => srtf::rank(facts),
        QueueOrder::LeastWork => least_work::rank(facts),
        QueueOrder::Deadline => deadline::rank(facts),
        QueueOrder::CriticalPath => critical_path::rank(facts),
        QueueOrder::Multifactor => multifactor::rank(facts, size),
        QueueOrder::AgedSjf => aged_sjf::rank(facts, size),
        QueueOrder::RoundRobin => round_robin::rank(facts),
    }
}
