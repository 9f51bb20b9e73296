//! What waits, in the order of the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_state::queue::Queued;
use quorate_types::Name;
use quorate_types::job::Preempt;
use quorate_types::policy::{Backfill, QueueOrder};

use super::facts::Facts;
use crate::book::fleet::Fleet;
use crate::book::queue::{self, Place};
use crate::book::shapes::{ShapeNumbers, Shapes};
use crate::book::traits::Needs;
use crate::book::treap::Treap;
use crate::book::vector::{Least, Vector};
use quorate_types::Policy;

/// Tasks in order, with what the least of them asks for.
pub(crate) type Line = Treap<Place, Least>;

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) facts: Facts,
    pub(crate) wanted: Vector,
    pub(crate) needs: Needs,
    pub(crate) shape: Shapes,
    place: Place,
}

/// What a request is in this fleet.
#[derive(Debug)]
pub(crate) struct Measures {
    pub(crate) wanted: Vector,
    pub(crate) needs: Needs,
    /// Its share of the largest worker, in 1/2²⁰.
    pub(crate) size: u64,
}

#[derive(Debug)]
pub(crate) struct Waiting {
    queue: QueueOrder,
    backfill: Backfill,
    entries: BTreeMap<Queued, Arc<Entry>>,
    line: Line,
    /// A line for each namespace instead, where the order goes by what namespaces use.
    lines: BTreeMap<Name, Line>,
    /// By expected time, kept where backfill goes by it.
    shortest: Line,
    shapes: ShapeNumbers,
    /// Those that may end others to have room.
    preempting: BTreeSet<Place>,
}

impl Waiting {
    pub(crate) fn new(policy: &Policy) -> Self {
        Self {
            queue: policy.queue,
            backfill: policy.backfill,
            entries: BTreeMap::new(),
            line: Line::default(),
            lines: BTreeMap::new(),
            shortest: Line::default(),
            shapes: ShapeNumbers::default(),
            preempting: BTreeSet::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn entry(&self, queued: Queued) -> Option<&Arc<Entry>> {
        self.entries.get(&queued)
    }

    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    pub(crate) fn lines(&self) -> &BTreeMap<Name, Line> {
        &self.lines
    }

    pub(crate) fn preempting(&self) -> impl Iterator<Item = Queued> {
        self.preempting.iter().map(|place| place.1)
    }

    pub(crate) fn shortest(&self) -> &Line {
        &self.shortest
    }

    pub(crate) fn insert(&mut self, queued: Queued, facts: Facts, measures: Measures) {
        self.remove(queued);
        if self.entries.is_empty() {
            self.shapes = ShapeNumbers::default();
        }
        let Measures { wanted, needs, size } = measures;
        let shape = self.shapes.of(&facts);
        let place = (queue::rank(self.queue, &facts, size), queued);
        let time_ms = facts.expected.map_or(u64::MAX, |span| span.0);
        if facts.preempts == Preempt::Lower || self.queue == QueueOrder::Srtf {
            self.preempting.insert(place);
        }
        let least = Least { request: wanted, time_ms, shapes: shape };
        if queue::goes_by_use(self.queue) {
            self.lines.entry(facts.namespace.clone()).or_default().insert(place, least);
        } else {
            self.line.insert(place, least);
        }
        if self.backfill == Backfill::EasySjbf {
            self.shortest.insert((time_ms, queued), least);
        }
        self.entries.insert(queued, Arc::new(Entry { facts, wanted, needs, shape, place }));
    }

    /// Looks at all requests anew: workers have a kind or a taint that nobody had before.
    pub(crate) fn measure(&mut self, fleet: &Fleet) {
        for (queued, entry) in std::mem::take(&mut self.entries) {
            self.forget(queued, &entry);
            let facts = Arc::unwrap_or_clone(entry).facts;
            let wanted = fleet.kinds.vector(&facts.request);
            let measures = Measures { wanted, needs: fleet.needs(&facts), size: fleet.size_of(&wanted) };
            self.insert(queued, facts, measures);
        }
    }

    pub(crate) fn remove(&mut self, queued: Queued) -> Option<Facts> {
        let entry = self.entries.remove(&queued)?;
        self.forget(queued, &entry);
        Some(Arc::unwrap_or_clone(entry).facts)
    }

    /// Takes it out of the lines.
    fn forget(&mut self, queued: Queued, entry: &Entry) {
        self.preempting.remove(&entry.place);
        if let Some(line) = self.lines.get_mut(&entry.facts.namespace) {
            line.remove(&entry.place);
            if line.len() == 0 {
                self.lines.remove(&entry.facts.namespace);
            }
        } else {
            self.line.remove(&entry.place);
        }
        if self.backfill == Backfill::EasySjbf {
            self.shortest.remove(&(entry.facts.expected.map_or(u64::MAX, |span| span.0), queued));
        }
    }
}
