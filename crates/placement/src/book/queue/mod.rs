//! In which order tasks are looked at. Each policy gives a task a rank that does not change while it waits: lower ranks
//! come first, and ties end in the job's number and the task's position.
//!
//! To add one: a file here, a variant of [`QueueOrder`], an arm below, a test.

mod critical_path;
mod deadline;
mod least_work;
mod priority;
mod sjf;

use quorate_state::queue::Queued;

use crate::book::Facts;
use quorate_types::policy::QueueOrder;

/// Where a task stands in the queue.
pub(crate) type Place = (u64, Queued);

pub(crate) fn rank(order: QueueOrder, facts: &Facts) -> u64 {
    match order {
        // Jobs are numbered as they come.
        QueueOrder::Fifo => 0,
        QueueOrder::Priority => priority::rank(facts),
        QueueOrder::Sjf => sjf::rank(facts),
        QueueOrder::LeastWork => least_work::rank(facts),
        QueueOrder::Deadline => deadline::rank(facts),
        QueueOrder::CriticalPath => critical_path::rank(facts),
    }
}
