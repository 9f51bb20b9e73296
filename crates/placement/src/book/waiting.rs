//! What waits, in the order of the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_state::queue::Queued;
use quorate_types::job::Preempt;
use quorate_types::policy::{Backfill, QueueOrder};
use quorate_types::{JobId, Name, Policy, Timestamp};

use super::facts::{Facts, Member};
use crate::book::fleet::Fleet;
use crate::book::queue::{self, Place};
use crate::book::shapes::{ShapeNumbers, Shapes};
use crate::book::traits::Needs;
use crate::book::treap::Treap;
use crate::book::vector::{Least, Vector};

/// Tasks in order, with what the least of them asks for.
pub(crate) type Line = Treap<Place, Least>;

/// In how many lines tasks stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    OneLine,
    /// Where namespaces have quotas or limits.
    OfEachNamespace,
}

/// A line for all, or one for each namespace.
#[derive(Debug, Default)]
struct Lines {
    whole: Line,
    parts: BTreeMap<Name, Line>,
}

impl Lines {
    fn insert(&mut self, own: Option<&Name>, place: Place, least: Least) {
        match own {
            Some(namespace) => self.parts.entry(namespace.clone()).or_default().insert(place, least),
            None => self.whole.insert(place, least),
        };
    }

    fn remove(&mut self, namespace: &Name, place: &Place) {
        let Some(line) = self.parts.get_mut(namespace).and_then(|line| line.remove(place).then_some(line)) else {
            self.whole.remove(place);
            return;
        };
        if line.len() == 0 {
            self.parts.remove(namespace);
        }
    }
}

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

impl Entry {
    /// Of something that does not wait.
    pub(crate) fn stray(measures: Measures, facts: Facts) -> Self {
        let Measures { wanted, needs, .. } = measures;
        let nowhere = (u64::MAX, Queued { job: JobId(u64::MAX), task: u32::MAX });
        Self { facts, wanted, needs, shape: Shapes::default(), gang: None, place: nowhere }
    }
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
    order: QueueOrder,
    backfill: Backfill,
    entries: BTreeMap<Queued, Arc<Entry>>,
    queue: Lines,
    /// By expected time, kept where backfill goes by it.
    shortest: Lines,
    /// In how many lines, where the order does not ask for one of each namespace anyway.
    layout: Layout,
    shapes: ShapeNumbers,
    /// Those that may end others to have room.
    preempting: BTreeSet<Place>,
    gangs: usize,
}

impl Waiting {
    pub(crate) fn new(policy: &Policy) -> Self {
        Self {
            order: policy.queue,
            backfill: policy.backfill,
            entries: BTreeMap::new(),
            queue: Lines::default(),
            shortest: Lines::default(),
            layout: Layout::OneLine,
            shapes: ShapeNumbers::default(),
            preempting: BTreeSet::new(),
            gangs: 0,
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

    /// All in one line, unless each namespace has its own.
    pub(crate) fn line(&self) -> &Line {
        &self.queue.whole
    }

    pub(crate) fn lines(&self) -> &BTreeMap<Name, Line> {
        &self.queue.parts
    }

    pub(crate) fn preempting(&self) -> impl Iterator<Item = Queued> {
        self.preempting.iter().map(|place| place.1)
    }

    /// How many gangs there are among them.
    pub(crate) fn gangs(&self) -> usize {
        self.gangs
    }

    pub(crate) fn shortest(&self) -> &Line {
        &self.shortest.whole
    }

    pub(crate) fn shortest_lines(&self) -> &BTreeMap<Name, Line> {
        &self.shortest.parts
    }

    /// Puts all that waits into other lines.
    pub(crate) fn arrange(&mut self, layout: Layout, fleet: &Fleet) {
        self.layout = layout;
        self.measure(fleet);
    }

    pub(crate) fn insert(&mut self, queued: Queued, facts: Facts, measures: Measures) {
        self.remove(queued);
        if self.entries.is_empty() {
            self.shapes = ShapeNumbers::default();
        }
        let Measures { wanted, needs, size, gang } = measures;
        let shape = self.shapes.of(&facts);
        let place = (queue::rank(self.order, &facts, size), queued);
        let time_ms = facts.expected.map_or(u64::MAX, |span| span.0);
        // One worker is not enough for a gang: it is looked at by itself.
        if gang.is_none() && (facts.preempts == Preempt::Lower || queue::ends_others(self.order)) {
            self.preempting.insert(place);
        }
        self.gangs += usize::from(gang.is_some());
        let least = Least { request: wanted, time_ms, shapes: shape };
        let (divided, own) = (self.layout == Layout::OfEachNamespace, Some(&facts.namespace));
        self.queue.insert(own.filter(|_| divided || queue::goes_by_use(self.order)), place, least);
        if self.backfill == Backfill::EasySjbf {
            self.shortest.insert(own.filter(|_| divided), (time_ms, queued), least);
        }
        self.entries.insert(queued, Arc::new(Entry { facts, wanted, needs, shape, gang, place }));
    }

    /// An element of the task has its turn: what is left of it goes to the end of the line.
    pub(crate) fn take_turn(&mut self, queued: Queued, at: Timestamp) {
        let Some(entry) = self.entries.get(&queued).cloned() else { return };
        let Entry { facts, wanted, needs, gang, .. } = Arc::unwrap_or_clone(entry);
        // Sizes count for nothing where there are turns.
        let measures = Measures { wanted, needs, size: 0, gang };
        self.insert(queued, Facts { turn: facts.turn.max(at), ..facts }, measures);
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
        self.gangs -= usize::from(entry.gang.is_some());
        self.queue.remove(&entry.facts.namespace, &entry.place);
        if self.backfill == Backfill::EasySjbf {
            let time_ms = entry.facts.expected.map_or(u64::MAX, |span| span.0);
            self.shortest.remove(&entry.facts.namespace, &(time_ms, queued));
        }
    }
}
