//! No backfill. A task that fits no worker now, but would fit an empty one, holds the worker that is nearest to having
//! room: what stands behind it in the queue goes elsewhere. So a large task does not starve behind small ones, and a
//! task that waits for the one GPU does not block the rest of the cluster. On one worker this is the strict order.

use crate::book::{Pass, Placing};

pub(crate) fn run(pass: &mut Pass<'_>) {
    while !pass.is_over() && pass.book.has_workers() {
        let Some(queued) = pass.next(|_| true) else { break };
        if pass.place(queued) == Placing::Short {
            pass.miss();
            pass.hold_for(queued);
        }
    }
}
