//! Random histories: every invariant holds after each entry, the same log twice gives the same
//! digest, and a snapshot with the log's tail gives what the whole log gives.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_state::State;
use quorate_state::command::{Command, RetryScope};
use quorate_types::extension::{Addition, Extension};
use quorate_types::session::{AttemptKey, Finished, Happening};
use quorate_types::status::Ending;
use quorate_types::{Epoch, JobId, Span, TaskIndex};
use support::{Cluster, name, spec};

#[derive(Clone, Debug)]
enum Step {
    Submit(u8),
    Place { worker: u8, nth: u8 },
    Start(u8),
    Finish(u8, u8),
    Extend(u8, u8),
    Register(u8, bool),
    Expire(u8),
    End(u8),
    Drain(u8, bool),
    Control(u8, u8),
    Reassign(u8),
    Pass(u16),
    Tick(u8, u16),
}

const JOBS: [&str; 12] = [
    r#"{"command":["x"],"priority":70}"#,
    r#"{"tasks":[{"name":"a","command":["x"],"count":3,"retries":2}]}"#,
    r#"{"tasks":[{"name":"a","command":["x"]},{"name":"b","command":["x"],"needs":["a"],"count":2,"retries":1},
        {"name":"c","command":["x"],"needs":["b"]}]}"#,
    r#"{"on_failure":"continue","tasks":[{"name":"a","command":["x"]},{"name":"b","command":["x"],"needs":["a"]},
        {"name":"c","command":["x"],"needs":["b"]},{"name":"d","command":["x"],"resources":{"cpu":2}}]}"#,
    r#"{"idempotency_key":"once","tasks":[{"command":["x"],"resources":{"cpu":0.5}}]}"#,
    r#"{"tasks":[{"name":"a","command":["x"],"count":4,"retries":1,"max_parallel":2},
        {"name":"b","command":["x"],"count":4,"needs":[{"task":"a","each":true}]},
        {"name":"c","command":["x"],"needs":[{"task":"b","on":"finish"}]},
        {"name":"d","command":["x"],"needs":[{"task":"b","on":"failure"}]}]}"#,
    r#"{"on_failure":"continue","tasks":[{"name":"a","command":["x"],"count":3},
        {"name":"b","command":["x"],"count":3,"needs":[{"task":"a","each":true,"on":"finish"}]},
        {"name":"c","command":["x"],"count":3,"needs":["a",{"task":"b","each":true}]},
        {"name":"d","command":["x"],"needs":[{"task":"a","on":"failure"}]}]}"#,
    r#"{"command":["x"],"start_after":"20m","deadline":"5h","expires":"3h"}"#,
    r#"{"command":["x"],"concurrency":{"key":"k","limit":2},"deadline":"2h","then":[{"on":"finish","job":
        {"command":["y"],"concurrency":{"key":"k","limit":2}}},{"job":{"command":["z"]}}]}"#,
    r#"{"command":["x"],"concurrency":{"key":"k","limit":1,"when_full":"replace"},"start_after":"5m"}"#,
    r#"{"tasks":[{"name":"a","command":["x"],"needs":[{"job":1}]},
        {"name":"b","command":["x"],"needs":[{"job":2,"on":"finish"},"a"]}]}"#,
    r#"{"tasks":[{"name":"a","command":["x"]}],"schedule":{"every":"10m","overlap":"queue","history":2}}"#,
];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12u8).prop_map(Step::Submit),
        24 => (any::<u8>(), any::<u8>()).prop_map(|(worker, nth)| Step::Place { worker, nth }),
        10 => any::<u8>().prop_map(Step::Start),
        16 => (any::<u8>(), 0..5u8).prop_map(|(nth, how)| Step::Finish(nth, how)),
        6 => (any::<u8>(), any::<u8>()).prop_map(|(nth, how)| Step::Extend(nth, how)),
        1 => (0..3u8, any::<bool>()).prop_map(|(worker, replaces)| Step::Register(worker, replaces)),
        1 => (0..3u8).prop_map(Step::Expire),
        1 => (0..3u8).prop_map(Step::End),
        1 => (0..3u8, any::<bool>()).prop_map(|(worker, on)| Step::Drain(worker, on)),
        3 => (any::<u8>(), 0..8u8).prop_map(|(job, what)| Step::Control(job, what)),
        1 => any::<u8>().prop_map(Step::Reassign),
        1 => any::<u16>().prop_map(Step::Pass),
        3 => (any::<u8>(), any::<u16>()).prop_map(|(nth, secs)| Step::Tick(nth, secs)),
    ]
}

/// Drives a cluster; remembers old attempts too, so that stale reports are sent.
#[derive(Default)]
struct Driver {
    cluster: Cluster,
    epochs: BTreeMap<u8, (Epoch, u64)>,
    attempts: Vec<(u8, Epoch, AttemptKey)>,
    instances: u64,
    added: u64,
}

impl Driver {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Submit(which) => {
                self.cluster.apply(Command::Submit(spec(JOBS[which as usize])));
            }
            Step::Place { worker, nth } => self.place(worker % 3, nth),
            Step::Start(nth) => self.report(nth, Happening::Started),
            Step::Finish(nth, how) => {
                let endings =
                    [Ending::Exited(0), Ending::Exited(0), Ending::Exited(1), Ending::TimedOut, Ending::Stopped];
                self.report(nth, Happening::Finished(Box::new(support::finished(endings[how as usize].clone()))));
            }
            Step::Extend(nth, how) => {
                let extension = Some(Box::new(Addition::Checked(self.extension(how))));
                let ending = Ending::Exited(i32::from(how % 8 == 7));
                let end = Finished { extension, ..support::finished(ending) };
                self.report(nth, Happening::Finished(Box::new(end)));
            }
            Step::Register(worker, replaces) => self.register(worker, replaces),
            Step::Expire(worker) => self.with_worker(worker, |worker, epoch| Command::Expire { worker, epoch }),
            Step::End(worker) => self.with_worker(worker, |worker, epoch| Command::End { worker, epoch }),
            Step::Drain(worker, true) => self.with_worker(worker, |worker, _| Command::Drain { worker }),
            Step::Drain(worker, false) => self.with_worker(worker, |worker, _| Command::Undrain { worker }),
            Step::Control(job, what) => self.control(JobId(u64::from(job % 8) + 1), what),
            Step::Reassign(nth) => {
                if let Some((_, _, key)) = pick(&self.attempts, nth) {
                    let task = name(["a", "b", "c", "d"][key.task as usize % 4]);
                    self.cluster.apply(Command::Reassign { job: key.job, task, index: TaskIndex(key.index.0) });
                }
            }
            Step::Tick(nth, secs) => {
                let schedules: Vec<JobId> = self.cluster.state.schedules().keys().copied().collect();
                let tick = self.cluster.now.plus(Span::from_secs(u64::from(secs % 900)));
                if let Some(schedule) = pick(&schedules, nth) {
                    self.cluster.apply(match secs % 5 {
                        0 => Command::RunNow { schedule },
                        _ => Command::Tick { schedule, ticks: vec![tick], through: tick },
                    });
                }
            }
            Step::Pass(secs) => self.cluster.pass(Span::from_secs(u64::from(secs))),
        }
    }

    fn place(&mut self, worker: u8, nth: u8) {
        let Some((epoch, _)) = self.epochs.get(&worker).copied() else { return };
        let queued: Vec<_> = self.cluster.state.queue().iter().collect();
        let Some(queued) = pick(&queued, nth) else { return };
        let job = self.cluster.state.job(queued.job).unwrap();
        let Some((index, _)) = job.task(queued.task).unwrap().pending().nth(usize::from(nth % 2)) else { return };
        if let Some(key) = self.cluster.assign(queued.job, queued.task, index.0, epoch) {
            self.attempts.push((worker, epoch, key));
        }
    }

    fn report(&mut self, nth: u8, what: Happening) {
        if let Some((worker, epoch, key)) = pick(&self.attempts, nth) {
            self.cluster.report(&format!("w{worker}"), epoch, key, what);
        }
    }

    /// Some of them can't be.
    fn extension(&mut self, how: u8) -> Extension {
        self.added += 1;
        let (at, old) = (self.added, ["a", "b", "c", "d"]);
        let (need, before) = (old[usize::from(how) % 4], old[usize::from(how / 4) % 4]);
        let on = ["success", "failure", "finish"][usize::from(how) % 3];
        let first = match how % 5 {
            0 => format!(r#"{{"name":"e{at}","command":["x"],"before":["{before}"]}}"#),
            1 => format!(r#"{{"name":"e{at}","command":["x"],"needs":[{{"task":"{need}","on":"{on}"}}]}}"#),
            2 => format!(
                r#"{{"name":"e{at}","command":["x"],"count":3,"needs":[{{"task":"{need}","each":true,"on":"{on}"}}]}}"#
            ),
            3 => format!(r#"{{"name":"e{at}","command":["x"],"needs":["{need}"],"before":["{before}"]}}"#),
            _ => format!(r#"{{"name":"e{at}","command":["x"],"count":2,"retries":1}}"#),
        };
        let second = format!(r#"{{"name":"f{at}","command":["x"],"needs":[{{"task":"e{at}","on":"{on}"}}]}}"#);
        Extension::read(&format!("{first}\n{second}")).unwrap()
    }

    fn register(&mut self, worker: u8, replaces: bool) {
        self.instances += 1;
        let earlier = self.epochs.get(&worker).map(|(_, instance)| *instance).filter(|_| replaces);
        let outcome = self.cluster.worker(&format!("w{worker}"), 3, self.instances, earlier);
        if let quorate_state::outcome::Outcome::Registered { epoch } = outcome {
            self.epochs.insert(worker, (epoch, self.instances));
        }
    }

    fn with_worker(&mut self, worker: u8, command: impl FnOnce(quorate_types::Name, Epoch) -> Command) {
        let epoch = self.epochs.get(&worker).map_or(Epoch(0), |(epoch, _)| *epoch);
        self.cluster.apply(command(name(&format!("w{worker}")), epoch));
    }

    fn control(&mut self, job: JobId, what: u8) {
        let command = match what {
            0 => Command::Cancel { job },
            1 => Command::Pause { job },
            2 => Command::Resume { job },
            3 => Command::Retry { job, scope: RetryScope::All },
            4 => Command::Retry { job, scope: RetryScope::NotSucceeded },
            5 => Command::RetryFrom { job, task: name("b") },
            6 => Command::RetryFrom { job, task: name("a") },
            _ => Command::Forget { job },
        };
        self.cluster.apply(command);
    }
}

fn pick<T: Copy>(items: &[T], nth: u8) -> Option<T> {
    // Mostly the newest ones: old attempts are there to be refused.
    let back = usize::from(nth) % items.len().clamp(1, 12);
    items.get(items.len().checked_sub(1 + back)?).copied()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn histories_keep_every_invariant(steps in prop::collection::vec(step(), 20..240), cut in 0.0..1.0f64) {
        let mut driver = Driver::default();
        driver.step(&Step::Register(0, false));
        driver.step(&Step::Register(1, false));
        for step in &steps {
            driver.step(step);
        }
        let cluster = &driver.cluster;
        let digest = cluster.state.digest();
        prop_assert_eq!(cluster.replay().digest(), digest, "the same log twice");

        let cut = (cluster.log.len() as f64 * cut) as usize;
        let mut head = State::default();
        cluster.log[..cut].iter().for_each(|(index, entry)| { head.apply(*index, entry); });
        let bytes: Vec<Vec<u8>> = head
            .snapshot_records()
            .map(|record| bincode::serde::encode_to_vec(&record, bincode::config::standard()).unwrap())
            .collect();
        let decoded = bytes.iter().map(|b| bincode::serde::decode_from_slice(b, bincode::config::standard()).unwrap().0);
        let mut restored = if cut == 0 { head } else { State::from_records(decoded).unwrap() };
        cluster.log[cut..].iter().for_each(|(index, entry)| { restored.apply(*index, entry); });
        prop_assert_eq!(restored.digest(), digest, "a snapshot after {} entries and the tail", cut);
    }
}
