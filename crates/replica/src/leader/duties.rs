//! What the leader proposes next, decided from a version of the state. One batch at a time: the next
//! decision sees what this one did.

use quorate_placement::{Bounds, Plan, Planner};
use quorate_state::State;
use quorate_state::command::{Command, Entry};
use quorate_types::Timestamp;

use super::liveness::{Liveness, Moment};
use super::ticks::Ticks;
use crate::limits::DUTIES_PER_BATCH;

/// The workers that are to be given up now.
pub(crate) fn expired(now: Moment, state: &State, liveness: &mut Liveness) -> Vec<Command> {
    liveness.on_state(now, state);
    let expired = liveness.expired(now).take(DUTIES_PER_BATCH);
    expired.map(|(worker, epoch)| Command::Expire { worker: worker.clone(), epoch }).collect()
}

/// Whether new jobs are taken; while they are not, ticks stay undecided, and are late afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Open,
    Closed,
}

#[derive(Debug)]
pub(crate) struct Duties {
    planner: Planner,
    bounds: Bounds,
    ticks: Ticks,
}

impl Duties {
    /// `seed` is where random placement starts.
    pub(crate) fn new(seed: u64) -> Self {
        Self { planner: Planner::new(seed), bounds: Bounds::default(), ticks: Ticks::default() }
    }

    /// The commands that are due, the expiry of these workers first; none if there is nothing to do.
    pub(crate) fn decide(
        &mut self,
        time: Timestamp,
        state: &State,
        expired: Vec<Command>,
        admission: Admission,
    ) -> Vec<Command> {
        let mut commands = expired;
        if state.next_timer().is_some_and(|due| due <= time) {
            commands.push(Command::Advance);
        }
        match admission {
            Admission::Open => commands.extend(self.ticks.due(time, state)),
            Admission::Closed => {}
        }
        let plan = self.planner.round(state, time, self.bounds);
        if !plan.preemptions.is_empty() {
            commands.push(Command::Preempt { items: plan.preemptions.clone() });
        }
        commands.extend(assign(plan));
        commands
    }

    /// When time alone may change what a round decides.
    pub(crate) fn next_round(&self) -> Option<Timestamp> {
        self.planner.wake_at()
    }

    /// When a schedule is due next, as far as the last decision saw.
    pub(crate) fn next_tick(&self) -> Option<Timestamp> {
        self.ticks.next()
    }

    /// What is placed together with `entry`, the next of the log after `state`; none if nobody looked.
    pub(crate) fn plan_ahead(&mut self, state: &State, entry: &Entry) -> Option<Vec<Command>> {
        let plan = self.planner.ahead(state, entry)?;
        Some(assign(plan).into_iter().collect())
    }
}

fn assign(plan: Plan) -> Option<Command> {
    (!plan.assignments.is_empty()).then_some(Command::Assign { items: plan.assignments })
}
