//! What policies know of a task.

use std::borrow::Cow;
use std::sync::Arc;

use quorate_state::company::Company;
use quorate_state::queue::Queued;
use quorate_types::job::Preempt;
use quorate_types::{
    Condition, Labels, Name, Preference, Resources, Span, Spread, Taint, TaskSpec, Timestamp, Toleration,
};

use super::gate::Gate;

/// What a task of a job is to the policies. All of its elements share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whose it is.
    pub namespace: Name,
    pub submitted: Timestamp,
    /// When it came to the end of the line: at its submission, when an element of it started last, or when it came
    /// back.
    pub turn: Timestamp,
    /// From 0 to 100, higher first.
    pub priority: u8,
    /// What it may end to have room.
    pub preempts: Preempt,
    /// Of one element.
    pub request: Resources,
    /// How long one element will run. If nobody says, what was learned of its lineage stands in, or the limit.
    pub expected: Option<Span>,
    /// How long one element may run.
    pub limit: Option<Span>,
    /// Tasks of its job that wait for it.
    pub open_dependencies: u32,
    /// When its job has to be done.
    pub deadline: Option<Timestamp>,
    /// How long it and the longest chain of tasks that wait for it, each for the one before, will run.
    pub path: Span,
    /// What learned times and consistent hashing go by; the latter else by the job's number.
    pub lineage: Option<Lineage>,
    /// What consistent hashing goes by instead.
    pub key: Option<Name>,
    /// Where it may run, if not everywhere.
    pub constraints: Option<Arc<Constraints>>,
    /// What other jobs may mind about it, and what it minds about them.
    pub company: Option<Arc<Company>>,
    /// What runs of it may be moved.
    pub movable: bool,
    /// As what its siblings are counted, where they are no elements of one task.
    pub kin: Option<Queued>,
    /// What each element has to get besides room on a worker.
    pub gates: Option<Arc<[Gate]>>,
    /// Of the first task of a gang: all of its tasks, this one too, in the order of ranks.
    pub gang: Option<Arc<Vec<Member>>>,
}

/// A task of a gang.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub queued: Queued,
    pub count: u32,
    pub facts: Facts,
}

/// Where a task may run, and where it would rather.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Constraints {
    pub requires: Vec<Condition>,
    pub prefers: Vec<Preference>,
    pub tolerations: Vec<Toleration>,
    pub spread: Vec<Spread>,
    /// Tasks of its job that must not share a worker with it.
    pub apart: Vec<u32>,
}

impl Constraints {
    /// None if every worker will do. `apart` are the tasks of its job that must not share a worker with it, whichever
    /// of them says so.
    pub fn of(spec: &TaskSpec, apart: Vec<u32>) -> Option<Arc<Self>> {
        let free = spec.is_unconstrained() && apart.is_empty();
        (!free).then(|| {
            Arc::new(Self {
                requires: spec.requires.to_vec(),
                prefers: spec.prefers.to_vec(),
                tolerations: spec.tolerations.to_vec(),
                spread: spec.spread.to_vec(),
                apart,
            })
        })
    }

    /// Whether a worker with these labels and taints is what is required, and has the labels to spread over.
    pub fn are_met_by(&self, labels: Labels<'_>, taints: &[Taint]) -> bool {
        self.requires.iter().all(|condition| condition.is_met_by(labels))
            && taints.iter().all(|taint| taint.is_tolerated_by(&self.tolerations))
            && self.spread.iter().all(|spread| labels.get(&spread.label).is_some())
    }

    /// Whether it depends on where other elements are.
    pub(crate) fn are_social(&self) -> bool {
        !self.spread.is_empty() || !self.apart.is_empty()
    }
}

/// Tasks that are likely to run equally long: those of one owner under one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lineage {
    pub owner: Name,
    pub name: Arc<str>,
}

impl Facts {
    /// The facts of a plain task: what it asks for, and nothing else known.
    pub fn new(submitted: Timestamp, request: Resources) -> Self {
        Self {
            namespace: quorate_types::validate::default_namespace(),
            submitted,
            turn: submitted,
            priority: 50,
            preempts: Preempt::Never,
            request,
            expected: None,
            limit: None,
            open_dependencies: 0,
            deadline: None,
            path: Span(0),
            lineage: None,
            key: None,
            constraints: None,
            company: None,
            movable: false,
            kin: None,
            gates: None,
            gang: None,
        }
    }

    /// What starts at once: an element, or a whole gang.
    pub(crate) fn at_once(&self) -> Cow<'_, Resources> {
        if self.gang.is_none() {
            return Cow::Borrowed(&self.request);
        }
        let mut all = Resources::default();
        for member in self.members() {
            (0..member.count).for_each(|_| all.add(&member.facts.request));
        }
        Cow::Owned(all)
    }

    /// The tasks of its gang; none if it is in none.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.gang.iter().flat_map(|gang| gang.iter())
    }
}
