//! In which way a decision walks the tasks that wait.

use std::collections::BTreeMap;

use quorate_state::queue::Queued;
use quorate_types::{Name, Resources};

use crate::book::Book;
use crate::book::queue::Place;
use crate::book::queue::turns::Turns;
use crate::book::vector::Least;

/// How far the tasks were walked.
#[derive(Debug)]
pub(crate) struct Walk {
    order: Order,
    after: Option<Place>,
}

#[derive(Debug)]
enum Order {
    /// By their rank, all of them in one line.
    Line,
    /// Each namespace in its turn.
    Turns(Turns),
    /// By their expected time; of some, so many elements have been placed before.
    Shortest { placed: BTreeMap<Queued, u64> },
}

impl Walk {
    pub(crate) fn line() -> Self {
        Self { order: Order::Line, after: None }
    }

    pub(crate) fn turns(turns: Turns) -> Self {
        Self { order: Order::Turns(turns), after: None }
    }

    /// From the shortest that waits; of some, so many elements have been placed before.
    pub(crate) fn shortest(placed: BTreeMap<Queued, u64>) -> Self {
        Self { order: Order::Shortest { placed }, after: None }
    }

    /// The next task in order of which `may` holds. `pending` are the elements of a task that could be placed.
    pub(crate) fn next(
        &mut self,
        book: &Book,
        pending: impl Fn(Queued) -> u64,
        mut may: impl FnMut(&Least) -> bool,
    ) -> Option<Queued> {
        match &mut self.order {
            Order::Turns(turns) => turns.next(book, pending, may),
            Order::Line => {
                self.after = Some(*book.waiting.line().first(self.after.as_ref(), may)?.0);
                self.after.map(|place| place.1)
            }
            Order::Shortest { placed } => loop {
                let place = *book.waiting.shortest().first(self.after.as_ref(), &mut may)?.0;
                self.after = Some(place);
                if placed.get(&place.1).is_none_or(|placed| *placed < pending(place.1)) {
                    return Some(place.1);
                }
            },
        }
    }

    /// The tasks that come next, of which `may` holds, as long as they are `wanted`. Where namespaces take turns that
    /// is about so: one of each.
    pub(crate) fn ahead(
        &self,
        book: &Book,
        mut may: impl FnMut(&Least) -> bool,
        mut wanted: impl FnMut(Queued) -> bool,
    ) {
        let line = match &self.order {
            Order::Turns(turns) => return turns.ahead(book, may, wanted),
            Order::Line => book.waiting.line(),
            Order::Shortest { .. } => book.waiting.shortest(),
        };
        let mut after = self.after;
        while let Some((place, _)) = line.first(after.as_ref(), &mut may) {
            after = Some(*place);
            if !wanted(place.1) {
                return;
            }
        }
    }

    /// How many elements of the task were placed in an earlier turn.
    pub(crate) fn placed(&self, queued: Queued) -> u64 {
        match &self.order {
            Order::Line => 0,
            Order::Turns(turns) => turns.placed(queued),
            Order::Shortest { placed } => placed.get(&queued).copied().unwrap_or(0),
        }
    }

    /// An element of the current task was placed, which makes `placed` of them: whether another namespace comes first
    /// now, and the task again later.
    pub(crate) fn pass_on(&mut self, book: &Book, placed: u64) -> bool {
        match &mut self.order {
            Order::Turns(turns) => turns.pass_on(book, placed),
            Order::Line | Order::Shortest { .. } => false,
        }
    }

    /// What other tasks of the namespace wait for.
    pub(crate) fn reserved(&self, namespace: &Name) -> Option<&Resources> {
        match &self.order {
            Order::Turns(turns) => turns.reserved(namespace),
            Order::Line | Order::Shortest { .. } => None,
        }
    }
}
