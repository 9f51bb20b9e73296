//! Fair share: the namespace with the lowest dominant share comes next, and in it the task that was submitted first.
//! That is Dominant Resource Fairness (Ghodsi, Zaharia, Hindman, Konwinski, Shenker and Stoica, "Dominant resource
//! fairness: fair allocation of multiple resource types", NSDI 2011, section 4, algorithm 1), each share divided by
//! the namespace's weight (section 4.3). Past
//! use counts besides, with a half-life, as in fair-share schedulers since Kay and Lauder, "A fair share scheduler",
//! CACM 31(1), 1988: see `usage`. It is decided element by element, so that an array takes no more than its share.
//!
//! Bound: in time there is none, as in any order within a namespace; but nobody is overtaken by a namespace with a
//! larger share unless the task does not fit where the other's does. Each start raises the share of who has it, and
//! past use is forgiven, so that each namespace that waits has its turn again and again.

use quorate_types::Name;
use quorate_types::limits::NAMESPACE_WEIGHT_MAX;

use crate::book::Book;

/// Lower comes first.
pub(super) fn standing(book: &Book, namespace: &Name) -> u64 {
    let share = book.usage.share(namespace, &book.fleet.capacity());
    share.saturating_mul(u64::from(NAMESPACE_WEIGHT_MAX)) / book.spaces.weight(namespace)
}
