//! What waits, in the order of the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_state::queue::Queued;
use quorate_types::Name;
use quorate_types::job::Preempt;
use quorate_types::policy::{Backfill, QueueOrder};

use super::facts::{Facts, Member};
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
    /// The tasks of its gang, if it stands for one.
    pub(crate) gang: Option<Arc<[Mate]>>,
    place: Place,
}

/// A task of a gang.
#[derive(Clone, Debug)]
pub(crate) struct Mate {
    pub(crate) queued: Queued,
    pub(crate) count: u32,
    pub(crate) entry: Entry,
}

/// What a request is in this fleet.
#[derive(Debug)]
pub(crate) struct Measures {
    pub(crate) wanted: Vector,
    pub(crate) needs: Needs,
    /// Its share of the largest worker, in 1/2²⁰.
    pub(crate) size: u64,
    gang: Option<Arc<[Mate]>>,
}

impl Measures {
    /// Of a gang, the least that any of its members wants, so that none is passed over that may fit; and the size of
    /// all together.
    pub(crate) fn of(fleet: &Fleet, facts: &Facts) -> Self {
        let wanted = fleet.kinds.vector(&facts.request);
        let Some(gang) = &facts.gang else {
            return Self { wanted, needs: fleet.needs(facts), size: fleet.size_of(&wanted), gang: None };
        };
        let (mut least, mut all) = (wanted, Vector::default());
        let mates = gang.iter().map(|Member { queued, count, facts }| {
            let wanted = fleet.kinds.vector(&facts.request);
            least = least.smaller(&wanted);
            (0..*count).for_each(|_| all = all.plus(&wanted));
            let (needs, shape, place) = (fleet.needs(facts), Shapes::default(), (0, *queued));
            let entry = Entry { facts: facts.clone(), wanted, needs, shape, gang: None, place };
            Mate { queued: *queued, count: *count, entry }
        });
        let mates: Arc<[Mate]> = mates.collect();
        Self { wanted: least, needs: fleet.needs(facts), size: fleet.size_of(&all), gang: Some(mates) }
    }
}

#[derive(Debug)]
pub(crate) struct Waiting {
    policy: Policy,
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
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
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
        let Measures { wanted, needs, size, gang } = measures;
        let shape = self.shapes.of(&facts);
        let place = (queue::rank(self.policy.queue, &facts, size), queued);
        let time_ms = facts.expected.map_or(u64::MAX, |span| span.0);
        // A gang ends nothing for its own sake: one worker's room would not be enough.
        if gang.is_none() && (facts.preempts == Preempt::Lower || self.policy.queue == QueueOrder::Srtf) {
            self.preempting.insert(place);
        }
        let least = Least { request: wanted, time_ms, shapes: shape };
        if queue::goes_by_use(self.policy.queue) {
            self.lines.entry(facts.namespace.clone()).or_default().insert(place, least);
        } else {
            self.line.insert(place, least);
        }
        if self.policy.backfill == Backfill::EasySjbf {
            self.shortest.insert((time_ms, queued), least);
        }
        self.entries.insert(queued, Arc::new(Entry { facts, wanted, needs, shape, gang, place }));
    }

    /// Looks at all requests anew: workers have a kind or a taint that nobody had before.
    pub(crate) fn measure(&mut self, fleet: &Fleet) {
        for (queued, entry) in std::mem::take(&mut self.entries) {
            self.forget(queued, &entry);
            let facts = Arc::unwrap_or_clone(entry).facts;
            let measures = Measures::of(fleet, &facts);
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
        if self.policy.backfill == Backfill::EasySjbf {
            self.shortest.remove(&(entry.facts.expected.map_or(u64::MAX, |span| span.0), queued));
        }
    }
}
