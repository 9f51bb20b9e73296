//! Whose turn it is, where the order goes by what namespaces use: each namespace has a line of its own, and the one that
//! stands best has the next turn. A turn costs O(log namespaces) besides the look into the line.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::queue::Queued;
use quorate_types::policy::QueueOrder;
use quorate_types::{JobId, Name};

use super::{Place, fair_share, multifactor};
use crate::book::Book;
use crate::book::vector::Least;

/// Where a namespace stands, with the first of its tasks; ties end in that.
type Standing = (u64, Place);

/// Before every other task.
const FIRST: Place = (0, Queued { job: JobId(0), task: 0 });

/// The turns of one decision.
#[derive(Debug)]
pub(crate) struct Turns {
    order: BTreeSet<(Standing, Name)>,
    lines: BTreeMap<Name, Cursor>,
    /// Who has the turn.
    current: Option<Turn>,
    /// Elements of tasks whose turn ended before all of theirs were placed.
    placed: BTreeMap<Queued, u64>,
}

/// How far a namespace's line was looked at.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    after: Option<Place>,
    /// What its tasks count as later, for its past use. Nothing where that changes from start to start.
    penalty: u64,
}

#[derive(Debug)]
struct Turn {
    namespace: Name,
    standing: Standing,
    before: Option<Place>,
}

impl Turns {
    /// All from the beginning; what the namespaces use must be up to date.
    pub(crate) fn new(book: &Book) -> Self {
        let (mut order, mut lines) = (BTreeSet::new(), BTreeMap::new());
        let namespaces = book.waiting.lines();
        let all = namespaces.keys().map(|name| u128::from(book.usage.share(name, &book.fleet.capacity()))).sum();
        for name in namespaces.keys() {
            let penalty = if book.policy.queue == QueueOrder::Multifactor {
                multifactor::penalty(book, name, all, namespaces.len())
            } else {
                0
            };
            let cursor = Cursor { after: None, penalty };
            order.insert((standing(book, name, cursor, FIRST), name.clone()));
            lines.insert(name.clone(), cursor);
        }
        Self { order, lines, current: None, placed: BTreeMap::new() }
    }

    /// The next task of which `may` holds. A namespace without any is left out from then on: as there is less and less
    /// room, it has none later either.
    pub(crate) fn next(&mut self, book: &Book, mut may: impl FnMut(&Least) -> bool) -> Option<Queued> {
        loop {
            let (lowest, namespace) = self.order.pop_first()?;
            let (Some(line), Some(cursor)) = (book.waiting.lines().get(&namespace), self.lines.get_mut(&namespace))
            else {
                continue;
            };
            let Some((place, _)) = line.first(cursor.after.as_ref(), &mut may) else { continue };
            let standing = standing(book, &namespace, *cursor, *place);
            self.order.insert((standing, namespace.clone()));
            // Where it stands was known for an earlier task only.
            if standing > lowest && self.order.first().is_some_and(|(_, first)| *first != namespace) {
                continue;
            }
            let before = cursor.after.replace(*place);
            self.current = Some(Turn { namespace, standing, before });
            return Some(place.1);
        }
    }

    /// The tasks that come next, about: one of each namespace, those first that have the next turns, and so on, as long
    /// as they are `wanted`.
    pub(crate) fn ahead(
        &self,
        book: &Book,
        mut may: impl FnMut(&Least) -> bool,
        mut wanted: impl FnMut(Queued) -> bool,
    ) {
        let names = self.order.iter().map(|(_, name)| name);
        let lines = names.filter_map(|name| Some((book.waiting.lines().get(name)?, self.lines.get(name)?.after)));
        let mut lines: Vec<_> = lines.collect();
        let mut more = true;
        while more && !lines.is_empty() {
            lines.retain_mut(|(line, after)| {
                let Some((place, _)) = line.first(after.as_ref(), &mut may).filter(|_| more) else { return false };
                *after = Some(*place);
                more = wanted(place.1);
                more
            });
        }
    }

    /// How many elements of the task were placed in earlier turns.
    pub(crate) fn placed(&self, queued: Queued) -> u64 {
        self.placed.get(&queued).copied().unwrap_or(0)
    }

    /// An element of the current task was placed, which makes `placed` of them: whether another namespace has the next
    /// turn. The task comes again then.
    pub(crate) fn pass_on(&mut self, book: &Book, queued: Queued, placed: u64) -> bool {
        let Some(turn) = &mut self.current else { return false };
        let Some(cursor) = self.lines.get_mut(&turn.namespace) else { return false };
        let now = standing(book, &turn.namespace, *cursor, turn.standing.1);
        if now == turn.standing {
            return false;
        }
        self.order.remove(&(turn.standing, turn.namespace.clone()));
        self.order.insert((now, turn.namespace.clone()));
        turn.standing = now;
        if self.order.first().is_none_or(|(_, first)| *first == turn.namespace) {
            return false;
        }
        self.placed.insert(queued, placed);
        cursor.after = turn.before;
        true
    }
}

fn standing(book: &Book, namespace: &Name, cursor: Cursor, head: Place) -> Standing {
    // There are turns under these two orders only.
    if book.policy.queue == QueueOrder::Multifactor {
        (head.0.saturating_add(cursor.penalty), (0, head.1))
    } else {
        (fair_share::standing(book, namespace), head)
    }
}
