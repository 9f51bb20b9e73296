//! Spread: evenly over the values of a label, such as zones, so that the loss of one takes no more than its part. The
//! value with the fewest attempts comes first, and the least loaded of its workers; workers without the label count as
//! one value. (Nomad's `spread` and the topology spread of Kubernetes count likewise, for one job; this counts all.)

use crate::book::Wish;
use crate::book::fleet::{Fleet, Slot};

pub(super) fn choose(fleet: &Fleet, wish: &Wish<'_>) -> Option<Slot> {
    fleet.first_of_zones(wish)
}
