//! No backfill. A task that fits no worker now, but would fit an empty one, holds the worker that is nearest to having
//! room: what stands behind it in the queue goes elsewhere. So a large task does not starve behind small ones, and a
//! task that waits for the one GPU does not block the rest of the cluster. On one worker this is the strict order. The
//! first gang that waits holds a worker for each of its elements.

use crate::book::pass::Holding;
use crate::book::{Pass, Placing};

pub(crate) fn run(pass: &mut Pass<'_>) {
    let largest = pass.book.fleet.largest();
    while !pass.is_over() && pass.book.has_workers() {
        let Some(queued) = pass.next(|least| least.request.fits(&largest)) else { break };
        if pass.place(queued) == Placing::Short {
            match pass.hold_for(queued) {
                Holding::Held | Holding::Waits => {
                    pass.miss();
                    if pass.is_futile() {
                        break;
                    }
                }
                Holding::Nobody => pass.stray(),
            }
        }
    }
}
