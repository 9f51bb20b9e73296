//! A planner that has followed a history decides as one that sees its end for the first time, and what it decides
//! holds when it is applied.

use std::sync::Arc;

use crate::view::random::{Choosy, Machine, TAINTS, choosy, machine, of, suited};
use crate::view::registration;
use proptest::prelude::*;
use quorate_placement::{Bounds, Planner};
use quorate_state::State;
use quorate_state::command::{Command, Entry, Proposal};
use quorate_state::outcome::Outcome;
use quorate_types::job::JobRequest;
use quorate_types::policy::{Backfill, PlacementOrder, PolicyChange, QueueOrder};
use quorate_types::session::{AttemptKey, Finished, Happening, Report};
use quorate_types::status::Ending;
use quorate_types::{Epoch, LogIndex, Name, Span, Timestamp};

#[derive(Clone, Debug)]
enum Step {
    Submit {
        count: u32,
        cpu: u32,
        priority: u8,
        expected: u8,
    },
    SubmitChoosy(Choosy, u8),
    Worker {
        nth: u8,
        machine: Machine,
        times: u32,
    },
    Taint {
        nth: u8,
        taints: Vec<&'static str>,
    },
    Drain {
        nth: u8,
        on: bool,
    },
    Expire {
        nth: u8,
    },
    /// Of the live attempts of all workers, this one ends.
    End {
        nth: u8,
        code: i32,
    },
    Cancel {
        nth: u8,
    },
    Change(QueueOrder, Backfill),
    Place(PlacementOrder),
    Pass {
        secs: u8,
    },
    Round,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let submit = (1..12_u32, 1..5_u32, 0..100_u8, 0..60_u8).prop_map(|(count, cpu, priority, expected)| Step::Submit {
        count,
        cpu,
        priority,
        expected,
    });
    let orders = prop::sample::select(QueueOrder::ALL);
    let change =
        (orders, prop::sample::select(Backfill::ALL)).prop_map(|(queue, backfill)| Step::Change(queue, backfill));
    let step = prop_oneof![
        6 => submit,
        4 => (choosy(), 0..100_u8).prop_map(|(choosy, priority)| Step::SubmitChoosy(choosy, priority)),
        2 => (0..4_u8, machine(), 1..4_u32).prop_map(|(nth, machine, times)| Step::Worker { nth, machine, times }),
        1 => (0..4_u8, of(TAINTS, 2)).prop_map(|(nth, taints)| Step::Taint { nth, taints }),
        1 => (0..4_u8, any::<bool>()).prop_map(|(nth, on)| Step::Drain { nth, on }),
        1 => (0..4_u8).prop_map(|nth| Step::Expire { nth }),
        6 => (any::<u8>(), 0..2).prop_map(|(nth, code)| Step::End { nth, code }),
        1 => any::<u8>().prop_map(|nth| Step::Cancel { nth }),
        1 => change,
        1 => prop::sample::select(PlacementOrder::ALL).prop_map(Step::Place),
        2 => (1..30_u8).prop_map(|secs| Step::Pass { secs }),
        8 => Just(Step::Round),
    ];
    prop::collection::vec(step, 1..80)
}

/// A state with its leader's planner.
struct Leader {
    state: State,
    now: Timestamp,
    planner: Planner,
}

impl Leader {
    fn new(placement: PlacementOrder) -> Self {
        let mut leader = Self { state: State::default(), now: Timestamp(1_000_000), planner: Planner::new(7) };
        leader.step(&Step::Place(placement));
        leader
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let index = LogIndex(self.state.index().0 + 1);
        let entry = Entry { time: self.now, proposals: vec![Proposal { origin: None, command }] };
        let outcome = self.state.apply(index, &entry).outcomes.remove(0);
        self.state.check().unwrap();
        outcome
    }

    fn epoch(&self, nth: u8) -> Option<Epoch> {
        self.state.worker(&format!("w{nth}")).filter(|worker| worker.is_alive()).map(|worker| worker.epoch)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::SubmitChoosy(choosy, priority) => self.submit(&choosy.job(&format!(r#""priority":{priority},"#), "")),
            Step::Submit { count, cpu, priority, expected } => {
                let expected = if *expected < 20 { String::new() } else { format!(r#","expected":"{expected}s""#) };
                self.submit(&format!(
                    r#"{{"priority":{priority},"tasks":[{{"command":["x"],"count":{count},"retries":2,"backoff":{{"initial":"3s"}},"resources":{{"cpu":{cpu}}}{expected}}}]}}"#
                ));
            }
            Step::Worker { nth, machine: (labels, taints, cores), times } => {
                let capacity = format!(r#"{{"cpu":{},"memory":"1GiB"}}"#, cores * times);
                let mut registration = registration(&format!("w{nth}"), &capacity, labels, taints);
                registration.instance = self.state.index().0;
                self.apply(Command::Register(Box::new(registration)));
            }
            Step::Taint { nth, taints } => {
                let taints = taints.iter().map(|taint| taint.parse().unwrap()).collect();
                self.apply(Command::Taint { worker: worker(*nth), taints });
            }
            Step::Drain { nth, on } => {
                let worker = worker(*nth);
                self.apply(if *on { Command::Drain { worker } } else { Command::Undrain { worker } });
            }
            Step::Expire { nth } => {
                if let Some(epoch) = self.epoch(*nth) {
                    self.apply(Command::Expire { worker: worker(*nth), epoch });
                }
            }
            Step::End { nth, code } => self.end(*nth, *code),
            Step::Cancel { nth } => {
                let jobs: Vec<_> = self.state.jobs().map(|job| job.id()).collect();
                if let Some(job) = jobs.get(usize::from(*nth) % jobs.len().max(1)) {
                    self.apply(Command::Cancel { job: *job });
                }
            }
            Step::Change(queue, backfill) => {
                self.change(PolicyChange { queue: Some(*queue), backfill: Some(*backfill), ..PolicyChange::default() });
            }
            Step::Place(placement) => {
                self.change(PolicyChange { placement: Some(*placement), ..PolicyChange::default() });
            }
            Step::Pass { secs } => self.now = self.now.plus(Span::from_secs(u64::from(*secs))),
            Step::Round => {
                self.round();
            }
        }
    }

    fn submit(&mut self, json: &str) {
        let request: JobRequest = serde_json::from_str(json).unwrap();
        self.apply(Command::Submit(Arc::new(request.validate().unwrap())));
    }

    fn change(&mut self, change: PolicyChange) {
        self.apply(Command::ChangePolicy(change));
    }

    fn end(&mut self, nth: u8, code: i32) {
        let live: Vec<_> =
            self.state.workers().flat_map(|w| w.attempts.iter().map(|at| (w.clone(), *at.0, *at.1))).collect();
        let Some((worker, at, attempt)) = live.get(usize::from(nth) % live.len().max(1)) else { return };
        let key =
            AttemptKey { job: at.job, task: at.task, index: at.index, attempt: attempt.number, fence: attempt.fence };
        let finished = Finished {
            ending: Ending::Exited(code),
            // Half of them are over at once: elements of their task are put in line.
            ran: Span(u64::from(nth * (nth % 2)) * 100),
            result: None,
            extension: None,
            stdout_tail: vec![],
            stderr_tail: vec![],
        };
        let reports = vec![Report { key, what: Happening::Finished(Box::new(finished)) }];
        self.apply(Command::Report { worker: worker.name.clone(), epoch: worker.epoch, reports });
    }

    /// One round, applied: all of it holds. How many it started.
    fn round(&mut self) -> u32 {
        let fresh = Planner::new(7).round(&self.state, self.now, Bounds::default());
        let plan = self.planner.round(&self.state, self.now, Bounds::default());
        // What is learned in another order, and what has run for longer than expected, may differ.
        if is_up_to_the_state(self.state.policy().placement) && !self.state.policy().looks_ahead() {
            assert_eq!(plan, fresh, "a planner that followed and one that did not");
        }
        let planned = plan.assignments.len() as u32;
        // Backoffs end with any entry, also with that which starts a sibling.
        self.now = self.now.plus(Span::from_secs(1));
        let outcome = self.apply(Command::Assign { items: plan.assignments });
        assert_eq!(outcome, Outcome::Assigned { accepted: planned, stale: 0 });
        planned
    }

    /// Ends what runs and places what waits until nothing is left but what suits no worker.
    fn drain(&mut self) {
        for nth in 0..4 {
            self.step(&Step::Drain { nth, on: false });
        }
        let machine = (vec!["zone=eu", "ssd=1", "mem=64"], Vec::new(), 64);
        self.step(&Step::Worker { nth: 5, machine, times: 1 });
        for _ in 0..2_000 {
            self.now = self.now.plus(Span::from_secs(600));
            let started = self.round();
            if started == 0 && self.state.workers().all(|worker| worker.attempts.is_empty()) {
                let waits = self.state.queue().iter().find(|queued| suited(&self.state, *queued).is_some());
                assert_eq!(waits, None, "it waits for ever");
                return;
            }
            self.end(0, 0);
        }
        panic!("{} tasks wait for ever", self.state.queue().len());
    }
}

/// Whether it has neither a turn of its own nor chance, nor goes on from its last solution, nor has zones in the order
/// in which it saw them.
const fn is_up_to_the_state(placement: PlacementOrder) -> bool {
    match placement {
        PlacementOrder::BestFit | PlacementOrder::WorstFit => true,
        PlacementOrder::LeastLoad | PlacementOrder::LeastJobs | PlacementOrder::LowestUtilisation => true,
        PlacementOrder::ConsistentHash => true,
        PlacementOrder::Random | PlacementOrder::PowerOfTwo | PlacementOrder::MinCostFlow => false,
        PlacementOrder::RoundRobin | PlacementOrder::WeightedRoundRobin | PlacementOrder::Spread => false,
    }
}

fn worker(nth: u8) -> Name {
    Name::new(&format!("w{nth}")).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn following_is_as_good_as_seeing(
        placement in prop::sample::select(PlacementOrder::ALL),
        steps in steps(),
    ) {
        let mut leader = Leader::new(placement);
        steps.iter().for_each(|step| leader.step(step));
        leader.drain();
    }
}
