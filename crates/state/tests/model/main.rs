//! The state machine against a model of it: random commands go to both, and after each entry both must be in the same
//! state. The model (`machine`, `job`, `gang`, `growth`, `workers`, `gates`, `control`, `schedule`, `service`,
//! `spaces`) is written from docs/flow.md, docs/services.md and docs/api.md on plain lists, and finds out everything
//! anew each time; it shares with the state machine no more than the types of commands, outcomes and specifications,
//! and what those say of themselves. `plan` makes jobs, `steps` commands; `compare` says what must agree, and
//! `describe` what happened.
//!
//! `PROPTEST_CASES` asks for more histories than the default.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a panic is how a test fails")]

mod compare;
mod control;
mod describe;
mod gang;
mod gates;
mod growth;
mod job;
mod machine;
mod plan;
mod schedule;
mod service;
mod spaces;
mod steps;
mod workers;

use std::collections::BTreeSet;

use proptest::prelude::*;
use quorate_state::State;
use quorate_state::command::{Command, Entry, Origin, Proposal};
use quorate_state::outcome::Outcome;
use quorate_types::{JobId, LogIndex, Timestamp};

use compare::Invariants;
use machine::Model;
use steps::{Memory, Step, step};

/// Both, side by side.
struct Pair {
    state: State,
    model: Model,
    memory: Memory,
    invariants: Invariants,
    /// Runs that somebody asked for besides the ticks.
    asked_for: BTreeSet<JobId>,
    proposals: Vec<Proposal>,
    /// What was applied, in short.
    log: String,
}

impl Pair {
    fn new() -> Self {
        let memory = Memory { clock: Timestamp(1_700_000_000_000), ..Memory::default() };
        let (state, model) = (State::default(), Model::default());
        let (invariants, asked_for) = (Invariants::default(), BTreeSet::new());
        Self { state, model, memory, invariants, asked_for, proposals: Vec::new(), log: String::new() }
    }

    /// The steps' commands share an entry: all but the first were made without knowing what those before them did.
    fn entry(&mut self, round: &Round) -> Result<(), String> {
        let commands: Vec<Command> =
            round.steps.iter().filter_map(|step| self.memory.command(step, &self.model)).collect();
        let mut proposals: Vec<Proposal> = Vec::new();
        for command in commands {
            let sequence = (self.proposals.len() + proposals.len()) as u64 + 1;
            let origin = Some(Origin { incarnation: 7, sequence, answered_below: 0 });
            proposals.push(Proposal { origin, command });
        }
        self.proposals.extend(proposals.clone());
        if let Some(back) = round.repeats
            && let Some(earlier) = self.proposals.iter().rev().nth(usize::from(back % 8))
        {
            proposals.push(earlier.clone());
        }
        // A new leader's clock may be behind.
        let time = Timestamp(self.memory.clock.0 - u64::from(round.behind) * 1_000);
        self.apply(&Entry { time, proposals })
    }

    fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        let index = LogIndex(self.state.index().0 + 1);
        let applied = self.state.apply(index, entry);
        let expected = self.model.apply(index, entry);
        self.memory.follow(&applied.archive);
        self.log += &describe::entry(index, entry);
        let log = self.log.clone();
        let context = |e: String| format!("after entry {index}: {e}\n{log}");
        if applied.outcomes != expected {
            return Err(context(format!("answers {:?}, should be {expected:?}", applied.outcomes)));
        }
        compare::take_backoffs(&self.state, &mut self.model).map_err(context)?;
        for (proposal, outcome) in entry.proposals.iter().zip(&applied.outcomes) {
            if let (Command::RunNow { .. }, Outcome::Submitted { job, .. }) = (&proposal.command, outcome) {
                self.asked_for.insert(*job);
            }
        }
        compare::compare(&self.state, &self.model).map_err(context)?;
        self.invariants.check(&self.state, &self.asked_for).map_err(context)?;
        self.memory.attempts.extend(steps::started(&self.model));
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct Round {
    steps: Vec<Step>,
    /// An earlier proposal that is sent again.
    repeats: Option<u8>,
    /// Seconds by which the leader's clock is behind.
    behind: u8,
}

fn round() -> impl Strategy<Value = Round> {
    let steps = prop_oneof![4 => prop::collection::vec(step(), 1), 1 => prop::collection::vec(step(), 2..4)];
    let behind = prop_oneof![9 => Just(0u8), 1 => 0..30u8];
    (steps, prop::option::weighted(0.05, any::<u8>()), behind).prop_map(|(steps, repeats, behind)| Round {
        steps,
        repeats,
        behind,
    })
}

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let asked_for = |variable: &str| std::env::var_os(variable).is_some();
    let cases = if asked_for("PROPTEST_CASES") { default.cases } else { 600 };
    let max_shrink_iters = if asked_for("PROPTEST_MAX_SHRINK_ITERS") { default.max_shrink_iters } else { 20_000 };
    ProptestConfig { cases, max_shrink_iters, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_state_machine_does_what_the_model_does(rounds in prop::collection::vec(round(), 10..120)) {
        let mut pair = Pair::new();
        let workers = (0..2u8).map(|worker| Step::Register { worker, how: 1, cpu: 3 });
        let steps = workers.chain([Step::SetTotal(2)]).collect();
        let first = Round { steps, repeats: None, behind: 0 };
        for round in std::iter::once(&first).chain(&rounds) {
            pair.entry(round).map_err(TestCaseError::fail)?;
        }
    }
}
