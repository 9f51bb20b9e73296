//! EASY: the head of the queue, the first task that does not fit, has a reservation on the worker that will have room
//! first, from the expected ends of what runs there. A later task may start if it goes to another worker, or ends by
//! the reservation, or takes only what the reservation leaves over. (Mu'alem and Feitelson, "Utilization,
//! predictability, workloads, and user runtime estimates in scheduling the IBM SP2 with backfilling", IEEE TPDS
//! 12(6), 2001, section 2. Shortest first: Srinivasan, Kettimuthu, Subramani and Sadayappan, "Characterization of
//! backfilling strategies for parallel job scheduling", ICPP workshops, 2002.) With one worker of many processors it
//! is what those papers describe.
//!
//! A gang at the head has a reservation on each worker of its formation.
//!
//! Bound: the head is never delayed beyond its reservation as long as nothing runs for longer than expected, and each
//! task becomes the head when all in front of it have started. If something does, nothing else starts on the reserved
//! worker once the head has waited for ten times as long as it was told first ([`crate::book::dates`]).

use std::collections::BTreeMap;

use quorate_state::queue::Queued;
use quorate_types::Timestamp;

use crate::book::fleet::Slot;
use crate::book::vector::{Least, Sum, Vector};
use crate::book::{Book, LAST_KEY, Pass, Placing, Wish};

/// The order in which later tasks are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Queue,
    Shortest,
}

/// What is kept for the head of the queue: a worker, or those of a gang.
#[derive(Clone, Debug)]
struct Reservation {
    /// When the head will start, in milliseconds. If nobody knows, nothing else starts there.
    in_ms: Option<u64>,
    /// What will be free besides then on each.
    spare: BTreeMap<Slot, Vector>,
}

pub(crate) fn run(pass: &mut Pass<'_>, order: Order) {
    let found = start_head(pass);
    if found.is_some() || !pass.is_over() {
        pass.book.dates.retain(|queued| found.as_ref().is_some_and(|(head, _)| *head == queued));
    }
    let Some((head, mut reservation)) = found else { return };
    if let Some(entry) = pass.book.waiting.entry(head).cloned() {
        pass.keep_gates(&entry);
    }
    pass.forms = false;
    pass.looked_ahead = true;
    if order == Order::Shortest {
        pass.walk_shortest();
    }
    while !pass.is_over() {
        let Some(queued) = next_candidate(pass, &reservation) else { break };
        if queued == head {
            continue;
        }
        let before = pass.is_gang(queued).then(|| reservation.clone());
        let placing = pass.place_by(queued, |book, wish| squeeze(book, wish, &mut reservation));
        if placing == Placing::Short {
            // What part of a gang would have taken is there again.
            reservation = before.unwrap_or(reservation);
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
    // The most that any of the reserved workers has.
    let (mut beside, mut spare) = (Vector::default(), Vector::default());
    for (slot, left) in &reservation.spare {
        (beside, spare) = (beside.larger(&pass.book.fleet.member(*slot).room), spare.larger(left));
    }
    pass.next(|least: &Least| {
        most.is_some_and(|most| least.request.fits(&most))
            || reservation.in_ms.is_some_and(|in_ms| {
                least.request.fits(&beside) && (least.time_ms <= in_ms || least.request.fits(&spare))
            })
    })
}

/// A reserved worker on which the task does not delay the head.
fn squeeze(book: &mut Book, wish: &Wish<'_>, reservation: &mut Reservation) -> Option<Slot> {
    let in_ms = reservation.in_ms?;
    let ends_before = wish.facts.expected.is_some_and(|span| span.0 <= in_ms);
    let mut all = reservation.spare.iter_mut();
    let may = |spare: &Vector| ends_before || wish.wanted.fits(spare);
    let (slot, spare) = all.find(|(slot, spare)| may(spare) && book.fleet.has_room(**slot, wish))?;
    if !ends_before {
        *spare = spare.minus(&wish.wanted);
    }
    Some(*slot)
}

/// Room only becomes less in a decision: what found none, not on the reserved worker
/// either, finds none later.
fn give_up_elsewhere(pass: &mut Pass<'_>, queued: Queued, reservation: &Reservation) {
    let Some(entry) = pass.book.waiting.entry(queued).cloned() else { return };
    let wish = pass.wish(queued, &entry);
    let room = reservation.spare.keys().any(|slot| pass.book.fleet.has_room(*slot, &wish));
    if entry.facts.constraints.is_some() && entry.gang.is_none() && !room {
        pass.give_up(&entry);
    }
}

/// Keeps what the task will have room on first. None if it is larger than every worker.
fn reserve(pass: &mut Pass<'_>, queued: Queued) -> Option<Reservation> {
    let entry = pass.book.waiting.entry(queued)?.clone();
    if let Some(gang) = &entry.gang {
        let formation = pass.formation_of(queued)?;
        let loads = pass.hold_formation(gang, &formation);
        let missed = pass.has_missed(queued, loads.iter().map(|(slot, load)| (*slot, load.wanted)));
        if let (Some(start), Some(slot)) = (formation.start, loads.keys().next().filter(|_| !missed)) {
            pass.date(queued, start, *slot);
        }
        let start = formation.start.filter(|_| !missed);
        let spare = loads.iter().map(|(slot, load)| (*slot, spare_on(pass.book, *slot, start, &load.wanted)));
        return Some(Reservation { in_ms: start.map(|at| at.since(pass.now).0), spare: spare.collect() });
    }
    if let Some(slot) = pass.missed_on(queued, &entry) {
        pass.hold(slot);
        pass.book.keep(slot, queued, pass.book.fleet.member(slot).opening(&entry.wanted));
        return Some(Reservation { in_ms: None, spare: [(slot, Vector::default())].into() });
    }
    let (at, slot) = match pass.soonest(queued, &entry) {
        Some((at, slot)) => (Some(at), slot),
        None => (None, pass.most_free(queued, &entry)?),
    };
    pass.hold(slot);
    pass.book.keep(slot, queued, at);
    if let Some(at) = at {
        pass.date(queued, at, slot);
    }
    let spare = spare_on(pass.book, slot, at, &entry.wanted);
    Some(Reservation { in_ms: at.map(|at| at.since(pass.now).0), spare: [(slot, spare)].into() })
}

/// What the worker will have free then, besides what is reserved; nothing if nobody knows when.
fn spare_on(book: &Book, slot: Slot, at: Option<Timestamp>, reserved: &Vector) -> Vector {
    let member = book.fleet.member(slot);
    at.map_or_else(Vector::default, |at| member.ends.prefix(Sum(member.room), &(at, LAST_KEY)).0.minus(reserved))
}
