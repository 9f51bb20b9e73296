//! In which order tasks are looked at. Each policy gives a task a rank that does not change while it waits: lower ranks
//! come first, and ties end in the job's number and the task's position.
//!
//! To add one: a file here, a variant of [`QueueOrder`], an arm below, a golden test.

mod critical_path;
mod deadline;
mod least_work;
mod multifactor;
mod priority;
mod round_robin;
mod sjf;

use quorate_state::command::QueueOrder;
use quorate_state::queue::Queued;

use crate::book::Facts;

/// Where a task stands in the queue.
pub(crate) type Place = (u64, Queued);

pub(crate) fn rank(order: QueueOrder, facts: &Facts) -> u64 {
    match order {
        // Jobs are numbered as they come.
        QueueOrder::Fifo => 0,
        QueueOrder::Priority | QueueOrder::FairShare => priority::rank(facts),
        // What starts again starts from the beginning: all of it remains.
        QueueOrder::Sjf | QueueOrder::Srtf => sjf::rank(facts),
        QueueOrder::RoundRobin => round_robin::rank(facts),
        QueueOrder::Deadline => deadline::rank(facts),
        QueueOrder::Multifactor => multifactor::rank(facts),
        QueueOrder::LeastWork => least_work::rank(facts),
        QueueOrder::CriticalPath => critical_path::rank(facts),
    }
}
