//! Critical path: the task with the longest remaining path first, by the expected times of the tasks on it, since
//! that is what the end of its job hangs on. (Hu, "Parallel sequencing and assembly line problems", Operations Research
//! 9(6), 1961; as "HLFET" in Adam, Chandy and Dickson, "A comparison of list schedules for parallel processing
//! systems", CACM 17(12), 1974, the one that came nearest to the optimum.)
//!
//! Bound: none. A task with a short path waits while those with longer ones keep coming.

use crate::book::Facts;

pub(super) fn rank(facts: &Facts) -> u64 {
    u64::MAX - facts.path.0
}
