//! EASY: the head of the queue, the first task that does not fit, has a reservation on the worker that will have room
//! first, from the expected ends of what runs there. A later task may start if it goes to another worker, or ends by
//! the reservation, or takes only what the reservation leaves over. (Mu'alem and Feitelson, "Utilization,
//! predictability, workloads, and user runtime estimates in scheduling the IBM SP2 with backfilling", IEEE TPDS
//! 12(6), 2001, section 2. Shortest first: Srinivasan, Kettimuthu, Subramani and Sadayappan, "Characterization of
//! backfilling strategies for parallel job scheduling", ICPP workshops, 2002.) With one worker of many processors it
//! is what those papers describe.
//!
//! Bound: the head is never delayed beyond its reservation as long as nothing runs for longer than expected, and each
//! task becomes the head when all in front of it have started.

use quorate_state::queue::Queued;
use quorate_types::{Span, Timestamp};

use crate::book::fleet::Slot;
use crate::book::vector::{Least, Sum, Vector};
use crate::book::{Book, Entry, LAST_KEY, Pass, Placing, Wish};

/// The order in which later tasks are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Queue,
    Shortest,
}

/// A worker that is kept for the head of the queue.
#[derive(Clone, Copy, Debug)]
struct Reservation {
    slot: Slot,
    /// When the head will start there.
    window: Window,
}

#[derive(Clone, Copy, Debug)]
enum Window {
    /// Nobody knows when: nothing else starts there.
    Unknown,
    /// In so many milliseconds; `spare` is what will be free besides then.
    Opens { in_ms: u64, spare: Vector },
}

pub(crate) fn run(pass: &mut Pass<'_>, order: Order) {
    let Some((head, mut reservation)) = start_head(pass) else { return };
    pass.hold(reservation.slot);
    if let Some(entry) = pass.book.waiting.entry(head).cloned() {
        pass.keep_gates(&entry);
    }
    let at = match reservation.window {
        Window::Unknown => None,
        Window::Opens { in_ms, .. } => Some(pass.now.plus(Span(in_ms))),
    };
    pass.book.keep(reservation.slot, head, at);
    pass.looked_ahead = true;
    if order == Order::Shortest {
        pass.walk_shortest();
    }
    while !pass.is_over() {
        let Some(queued) = next_candidate(pass, &reservation) else { break };
        if queued == head {
            continue;
        }
        let placing = pass.place_by(queued, |book, wish| squeeze(book, wish, &mut reservation));
        if placing == Placing::Short {
            pass.miss();
            give_up_elsewhere(pass, queued, &reservation);
        }
    }
}

/// Starts what fits, in order, up to the first task that has to wait.
fn start_head(pass: &mut Pass<'_>) -> Option<(Queued, Reservation)> {
    let largest = pass.book.fleet.largest();
    while !pass.is_over() {
        let queued = pass.next(|least| least.request.fits(&largest))?;
        if pass.place(queued) == Placing::Short {
            match reserve(pass, queued) {
                Some(reservation) => return Some((queued, reservation)),
                // Larger than every worker: it blocks nobody.
                None => pass.stray(),
            }
        }
    }
    None
}

fn next_candidate(pass: &mut Pass<'_>, reservation: &Reservation) -> Option<Queued> {
    let most = pass.book.fleet.most_room().map(|room| room.free);
    let beside = pass.book.fleet.member(reservation.slot).room;
    pass.next(|least: &Least| {
        most.is_some_and(|most| least.request.fits(&most))
            || match reservation.window {
                Window::Unknown => false,
                Window::Opens { in_ms, spare } => {
                    least.request.fits(&beside) && (least.time_ms <= in_ms || least.request.fits(&spare))
                }
            }
    })
}

/// The reserved worker, if the task does not delay the head there.
fn squeeze(book: &mut Book, wish: &Wish<'_>, reservation: &mut Reservation) -> Option<Slot> {
    let Window::Opens { in_ms, spare } = &mut reservation.window else { return None };
    if !book.fleet.has_room(reservation.slot, wish) {
        return None;
    }
    let ends_before = wish.facts.expected.is_some_and(|span| span.0 <= *in_ms);
    if !ends_before {
        if !wish.wanted.fits(spare) {
            return None;
        }
        *spare = spare.minus(&wish.wanted);
    }
    Some(reservation.slot)
}

/// Room only becomes less in a decision: what found none, not on the reserved worker
/// either, finds none later.
fn give_up_elsewhere(pass: &mut Pass<'_>, queued: Queued, reservation: &Reservation) {
    let Some(entry) = pass.book.waiting.entry(queued).cloned() else { return };
    let room = pass.book.fleet.has_room(reservation.slot, &pass.wish(queued, &entry));
    if entry.facts.constraints.is_some() && !room {
        pass.give_up(&entry);
    }
}

/// Where and when the task will have room first. None if it is larger than every worker.
fn reserve(pass: &mut Pass<'_>, queued: Queued) -> Option<Reservation> {
    let now = pass.now;
    let entry = pass.book.waiting.entry(queued)?.clone();
    let fleet = &pass.book.fleet;
    let able = fleet.ready().filter(|slot| pass.could_take(*slot, queued, &entry));
    let soonest = able.filter_map(|slot| Some((opening(pass.book, slot, &entry)?, slot))).min_by_key(|(at, _)| *at);
    let Some((at, slot)) = soonest else {
        let slot = pass.most_free(queued, &entry)?;
        return Some(Reservation { slot, window: Window::Unknown });
    };
    let member = fleet.member(slot);
    let then = member.ends.prefix(Sum(member.room), &(at, LAST_KEY)).0;
    let window = Window::Opens { in_ms: at.since(now).0, spare: then.minus(&entry.wanted) };
    Some(Reservation { slot, window })
}

/// When the worker will have room; none if nobody knows.
pub(super) fn opening(book: &Book, slot: Slot, entry: &Entry) -> Option<Timestamp> {
    let member = book.fleet.member(slot);
    let ((at, _), _) = member.ends.first_prefix(Sum(member.room), |sum| entry.wanted.fits(&sum.0))?;
    (*at != Timestamp(u64::MAX)).then_some(*at)
}
