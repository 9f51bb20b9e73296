//! Whose turn it is, where the order goes by what namespaces use or are entitled to: each namespace has a line of its
//! own, and the one that stands best has the next turn. A turn costs O(log namespaces) besides the look into the line.
//!
//! What is within a quota comes before all that would be borrowed. A task that waits only for its namespace's limit
//! holds nobody up but its own namespace: what stands behind it there may take what it leaves over, so that it does not
//! starve either.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::queue::Queued;
use quorate_types::policy::QueueOrder;
use quorate_types::{JobId, Name, Resources};

use super::{Place, fair_share, multifactor};
use crate::book::Book;
use crate::book::spaces::Tier;
use crate::book::vector::Least;
use crate::book::waiting::Line;

/// Tasks of a namespace that are found to wait for its limit before the rest of its line is left alone. The index knows
/// the limits of cpu, memory and two kinds more, and finds at most one for each of them; only of other kinds there can
/// be so many.
const BLOCKED_MAX: usize = 64;

/// Where a namespace stands, with the first of its tasks; ties end in that.
type Standing = (Tier, u64, Place);

/// Before every other task.
const FIRST: Place = (0, Queued { job: JobId(0), task: 0 });

/// Which lines are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walked {
    Queue,
    /// By expected time, in each namespace.
    Shortest,
}

/// The turns of one decision.
#[derive(Debug)]
pub(crate) struct Turns {
    walked: Walked,
    order: BTreeSet<(Standing, Name)>,
    lines: BTreeMap<Name, Cursor>,
    /// Who has the turn.
    current: Option<Turn>,
    /// Elements of tasks whose turn ended before all of theirs were placed.
    placed: BTreeMap<Queued, u64>,
}

/// How far a namespace's line was looked at.
#[derive(Clone, Debug)]
struct Cursor {
    after: Option<Place>,
    /// What its tasks count as later, for its past use. Nothing where that changes from start to start.
    penalty: u64,
    /// What tasks take that wait for the limit, and how many those are.
    reserved: Option<Resources>,
    blocked: usize,
}

#[derive(Debug)]
struct Turn {
    namespace: Name,
    queued: Queued,
    standing: Standing,
    before: Option<Place>,
    placed: u64,
}

impl Cursor {
    fn new(penalty: u64) -> Self {
        Self { after: None, penalty, reserved: None, blocked: 0 }
    }
}

impl Turns {
    /// All from the beginning; what the namespaces use must be up to date.
    pub(crate) fn new(book: &Book) -> Self {
        let namespaces = book.waiting.lines();
        let all = namespaces.keys().map(|name| u128::from(book.usage.share(name, &book.fleet.capacity()))).sum();
        let weights = namespaces.keys().map(|name| book.spaces.weight(name)).sum();
        let penalty = |name: &Name| {
            if book.policy.queue == QueueOrder::Multifactor {
                multifactor::penalty(book, name, all, weights)
            } else {
                0
            }
        };
        Self::of(book, Walked::Queue, penalty, BTreeMap::new())
    }

    /// By expected time; of some tasks so many elements have been placed before.
    pub(crate) fn shortest(book: &Book, placed: BTreeMap<Queued, u64>) -> Self {
        Self::of(book, Walked::Shortest, |_| 0, placed)
    }

    fn of(book: &Book, walked: Walked, penalty: impl Fn(&Name) -> u64, placed: BTreeMap<Queued, u64>) -> Self {
        let mut turns = Self { walked, order: BTreeSet::new(), lines: BTreeMap::new(), current: None, placed };
        for name in turns.walked_lines(book).keys() {
            let cursor = Cursor::new(penalty(name));
            let standing = turns.standing(book, name, &cursor, FIRST);
            turns.order.insert((standing, name.clone()));
            turns.lines.insert(name.clone(), cursor);
        }
        turns
    }

    fn walked_lines<'a>(&self, book: &'a Book) -> &'a BTreeMap<Name, Line> {
        match self.walked {
            Walked::Queue => book.waiting.lines(),
            Walked::Shortest => book.waiting.shortest_lines(),
        }
    }

    /// The next task of which `may` holds. A namespace without any is left out from then on: as there is less and less
    /// room, it has none later either.
    pub(crate) fn next(
        &mut self,
        book: &Book,
        pending: impl Fn(Queued) -> u64,
        mut may: impl FnMut(&Least) -> bool,
    ) -> Option<Queued> {
        self.leave(book, &pending);
        loop {
            let (lowest, namespace) = self.order.pop_first()?;
            let Some(line) = self.walked_lines(book).get(&namespace) else { continue };
            let Some(cursor) = self.lines.get(&namespace).filter(|cursor| cursor.blocked < BLOCKED_MAX) else {
                continue;
            };
            let most = book.spaces.most(&namespace, cursor.reserved.as_ref(), &book.fleet.kinds);
            let within = |least: &Least| most.is_none_or(|most| least.request.fits(&most));
            let found = line.first(cursor.after.as_ref(), |least| within(least) && may(least));
            let Some((place, _)) = found else { continue };
            let standing = self.standing(book, &namespace, cursor, *place);
            self.order.insert((standing, namespace.clone()));
            // Where it stands was known for an earlier task only.
            if standing > lowest && self.order.first().is_some_and(|(_, first)| *first != namespace) {
                continue;
            }
            let Some(cursor) = self.lines.get_mut(&namespace) else { continue };
            let before = cursor.after.replace(*place);
            let queued = place.1;
            // It may have placed its elements already, where the walk began anew.
            let placed = self.placed.get(&queued).copied().unwrap_or(0);
            if placed > 0 && placed >= pending(queued) {
                continue;
            }
            if is_at_limit(book, queued, cursor.reserved.as_ref()) {
                wait_for_limit(book, cursor, queued);
                continue;
            }
            self.current = Some(Turn { namespace, queued, standing, before, placed });
            return Some(queued);
        }
    }

    /// The turn is over. If the limit was reached before all of the task's elements were placed, they wait for it.
    fn leave(&mut self, book: &Book, pending: impl Fn(Queued) -> u64) {
        let Some(turn) = self.current.take() else { return };
        let Some(cursor) = self.lines.get_mut(&turn.namespace) else { return };
        if is_at_limit(book, turn.queued, cursor.reserved.as_ref()) && turn.placed < pending(turn.queued) {
            wait_for_limit(book, cursor, turn.queued);
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
        let lines = names.filter_map(|name| Some((self.walked_lines(book).get(name)?, self.lines.get(name)?.after)));
        let mut lines: Vec<_> = lines.collect();
        let mut more = true;
        while more && !lines.is_empty() {
            lines.retain_mut(|(line, after)| {
                let found = if more { line.first(after.as_ref(), &mut may) } else { None };
                let Some((place, _)) = found else { return false };
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

    /// What other tasks of the namespace wait for.
    pub(crate) fn reserved(&self, namespace: &Name) -> Option<&Resources> {
        self.lines.get(namespace)?.reserved.as_ref()
    }

    /// An element of the current task was placed, which makes `placed` of them: whether another namespace has the next
    /// turn. The task comes again then.
    pub(crate) fn pass_on(&mut self, book: &Book, placed: u64) -> bool {
        let Some(mut turn) = self.current.take() else { return false };
        turn.placed = placed;
        let over = self.is_over(book, &mut turn);
        if over {
            self.placed.insert(turn.queued, placed);
            if let Some(cursor) = self.lines.get_mut(&turn.namespace) {
                cursor.after = turn.before;
            }
        } else {
            self.current = Some(turn);
        }
        over
    }

    fn is_over(&mut self, book: &Book, turn: &mut Turn) -> bool {
        let Some(cursor) = self.lines.get(&turn.namespace) else { return false };
        let now = self.standing(book, &turn.namespace, cursor, turn.standing.2);
        if now == turn.standing {
            return false;
        }
        self.order.remove(&(turn.standing, turn.namespace.clone()));
        self.order.insert((now, turn.namespace.clone()));
        turn.standing = now;
        self.order.first().is_some_and(|(_, first)| *first != turn.namespace)
    }

    fn standing(&self, book: &Book, namespace: &Name, cursor: &Cursor, head: Place) -> Standing {
        let tier = match book.spaces.have_quotas() {
            false => Tier::Covered,
            true => match book.waiting.entry(head.1) {
                Some(entry) => book.spaces.tier(&entry.facts),
                None => book.spaces.best_tier(namespace),
            },
        };
        if self.walked == Walked::Queue && book.policy.queue == QueueOrder::FairShare {
            return (tier, fair_share::standing(book, namespace), head);
        }
        (tier, head.0.saturating_add(cursor.penalty), (0, head.1))
    }
}

/// Whether no element of the task may start beside what its namespace has and what is reserved there.
fn is_at_limit(book: &Book, queued: Queued, reserved: Option<&Resources>) -> bool {
    let entry = book.waiting.entry(queued).filter(|_| book.spaces.bound_starts());
    entry.is_some_and(|entry| book.spaces.times(&entry.facts.namespace, &entry.facts.at_once(), reserved) == 0)
}

/// What asks for more than the whole limit waits for ever, and keeps nothing from the others.
fn wait_for_limit(book: &Book, cursor: &mut Cursor, queued: Queued) {
    let Some(entry) = book.waiting.entry(queued) else { return };
    cursor.blocked += 1;
    if book.spaces.could_hold(&entry.facts.namespace, &entry.facts.at_once()) {
        cursor.reserved.get_or_insert_default().add(&entry.facts.at_once());
    }
}
