//! Random histories: every invariant holds after each entry, the same log twice gives the same
//! digest, and a snapshot with the log's tail gives what the whole log gives.

use std::collections::BTreeMap;

use crate::support::{Cluster, name, spec};
use proptest::prelude::*;
use quorate_state::State;
use quorate_state::command::{Assignment, Command, RetryScope};
use quorate_state::gang::Gang;
use quorate_state::outcome::NoticeKind;
use quorate_state::queue::Queued;
use quorate_types::extension::{Addition, Extension};
use quorate_types::gate::Claimant;
use quorate_types::session::{AttemptKey, Finished, Happening};
use quorate_types::status::Ending;
use quorate_types::{AttemptNumber, Epoch, JobId, NamespaceRules, Span, TaskIndex, Timestamp};

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
    Entitle(u8, u8),
    SetTotal(u8),
    Lock { nth: u8, lock: u8, secs: u8 },
    Healthy(u8),
    Change(u8, u8),
}

const JOBS: [&str; 19] = [
    r#"{"command":["x"],"priority":70,"namespace":"n"}"#,
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
    r#"{"tasks":[{"name":"a","command":["x"],"count":4,"retries":1,"resources":{"cpu":0.25},
        "cluster_resources":{"m":1},"rate":{"key":"r","limit":3,"per":"10m"}}]}"#,
    r#"{"tasks":[{"name":"a","command":["x"],"retries":2,"resources":{"cpu":0.5},"cluster_resources":{"m":2}}]}"#,
    r#"{"tasks":[{"name":"a","command":["x"],"count":2,"retries":1,"gang":true},
        {"name":"b","command":["x"],"needs":["a"]}]}"#,
    r#"{"on_failure":"continue","deadline":"4h","tasks":[{"name":"c","command":["x"]},
        {"name":"a","command":["x"],"gang":"g","losses":2,"needs":["c"],"resources":{"cpu":0.5}},
        {"name":"b","command":["x"],"count":2,"retries":2,"gang":"g","needs":["c"],"resources":{"cpu":0.5}}]}"#,
    SERVICES[0],
    SERVICES[1],
    SERVICES[2],
];

/// A service or a system job becomes any other one of its kind.
const SERVICES: [&str; 10] = [
    r#"{"kind":"service","tasks":[{"name":"a","command":["x"],"count":3,"resources":{"cpu":0.5}}]}"#,
    r#"{"kind":"system","tasks":[{"name":"a","command":["x"],"resources":{"cpu":0.5}}]}"#,
    r#"{"kind":"service","health":{"command":["h"]},"max_unavailable":2,
        "tasks":[{"name":"a","command":["x"],"count":4,"resources":{"cpu":0.25},"cluster_resources":{"m":1}}]}"#,
    r#"{"kind":"system","max_unavailable":"50%","tasks":[{"name":"a","command":["y"],"requires":["worker in (w0,w1)"]}]}"#,
    r#"{"kind":"service","tasks":[{"name":"a","command":["x"],"count":1,"resources":{"cpu":0.5}}]}"#,
    r#"{"kind":"service","tasks":[{"name":"a","command":["x"],"count":5,"losses":2,"resources":{"cpu":0.5}}]}"#,
    r#"{"kind":"service","health":{"command":["g"]},"tasks":[{"name":"a","command":["y"],"count":3}]}"#,
    r#"{"kind":"service","max_unavailable":3,"priority":9,"tasks":[{"name":"a","command":["z"],"count":4,"resources":{"cpu":0.1}}]}"#,
    r#"{"kind":"system","health":{"command":["g"]},"tasks":[{"name":"a","command":["z"],"resources":{"cpu":2.5}}]}"#,
    r#"{"kind":"service","tasks":[{"name":"a","command":["w"],"count":2,"anti_affinity":["a"],"resources":{"cpu":0.1}}]}"#,
];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        7 => (0..19u8).prop_map(Step::Submit),
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
        2 => (0..2u8, 0..7u8).prop_map(|(namespace, limit)| Step::Entitle(namespace, limit)),
        1 => (0..5u8).prop_map(Step::SetTotal),
        4 => (any::<u8>(), 0..3u8, any::<u8>()).prop_map(|(nth, lock, secs)| Step::Lock { nth, lock, secs }),
        8 => any::<u8>().prop_map(Step::Healthy),
        5 => (any::<u8>(), 0..10u8).prop_map(|(nth, which)| Step::Change(nth, which)),
    ]
}

/// Drives a cluster; remembers old attempts too, so that stale reports are sent.
#[derive(Default)]
struct Driver {
    cluster: Cluster,
    epochs: BTreeMap<u8, (Epoch, u64)>,
    attempts: Vec<(u8, Epoch, AttemptKey)>,
    instances: u64,
    /// When attempts with a rate started.
    rated: Vec<Timestamp>,
    added: u64,
}

impl Driver {
    /// No attempt is ended for another version if too many elements are unavailable without that.
    fn check_rollouts(&self, before: &State) {
        let state = &self.cluster.state;
        for event in self.cluster.last.events.iter().filter(|event| event.kind.as_str() == "task.stopping") {
            let (id, index) = (event.job.unwrap(), event.index.unwrap());
            let (Some(was), Some(job)) = (before.job(id), state.job(id)) else { continue };
            let Some(view) = job.service_view() else { continue };
            let counts = event.reason.as_deref() == Some("it gets another version");
            if counts && was.is_available(index) == Some(true) {
                assert!(view.wanted - view.available <= view.max_unavailable, "{view:?} after {event:?}");
            }
        }
        for job in state.jobs().filter(|job| job.is_service()) {
            let mut live: Vec<TaskIndex> = Vec::new();
            for (_, task, _) in job.tasks() {
                live.extend(task.elements().filter(|(_, element)| element.state.is_live()).map(|(index, _)| index));
            }
            let all = live.len();
            live.sort_unstable();
            live.dedup();
            assert_eq!(live.len(), all, "an element of job {} lives twice", job.id());
        }
    }

    fn step(&mut self, step: &Step) {
        let before = self.cluster.state.clone();
        self.take(step);
        self.check_rollouts(&before);
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Submit(which) => {
                self.cluster.apply(Command::Submit(spec(JOBS[which as usize])));
            }
            Step::Place { worker, nth } => self.place(worker % 3, nth),
            Step::Start(nth) => self.report(nth, Happening::Started),
            Step::Finish(nth, how) => {
                let endings =
                    [Ending::Exited(0), Ending::Exited(0), Ending::Exited(1), Ending::TimedOut, Ending::Stopped];
                self.report(
                    nth,
                    Happening::Finished(Box::new(crate::support::finished(endings[how as usize].clone()))),
                );
            }
            Step::Extend(nth, how) => {
                let extension = Some(Box::new(Addition::Checked(self.extension(how))));
                let ending = Ending::Exited(i32::from(how % 8 == 7));
                let end = Finished { extension, ..crate::support::finished(ending) };
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
            Step::Entitle(which, limit) => {
                let namespace = name(["default", "n"][usize::from(which)]);
                let cpu = |millis: u64| [(name("cpu"), millis)].into_iter().collect();
                let limit = u64::from(limit) * 500;
                let rules = NamespaceRules { limit: cpu(limit), quota: cpu(limit / 2), ..NamespaceRules::default() };
                self.cluster.apply(match limit {
                    3_000.. => Command::ResetNamespace { namespace },
                    _ => Command::SetNamespace { namespace, rules: Box::new(rules) },
                });
            }
            Step::SetTotal(total) => {
                self.cluster.apply(Command::SetResource { name: name("m"), total: u32::from(total) });
            }
            Step::Lock { nth, lock, secs } => self.lock(nth, lock, secs),
            Step::Healthy(nth) => self.report(nth, Happening::Healthy),
            Step::Change(nth, which) => {
                let services: Vec<JobId> =
                    self.cluster.state.jobs().filter(|job| job.is_service()).map(|job| job.id()).collect();
                if let Some(service) = pick(&services, nth) {
                    self.cluster.apply(Command::ChangeService { service, spec: spec(SERVICES[usize::from(which)]) });
                }
            }
            Step::Pass(secs) => self.cluster.pass(Span::from_secs(u64::from(secs))),
        }
    }

    /// In no span of ten minutes more attempts of the rate started than three.
    fn check_starts(&self) -> Result<(), TestCaseError> {
        for (nth, start) in self.rated.iter().enumerate() {
            let within = self.rated[nth..].iter().take_while(|other| other.since(*start) < Span::from_secs(600));
            prop_assert!(within.count() <= 3, "starts at {:?}", self.rated);
        }
        Ok(())
    }

    fn place(&mut self, worker: u8, nth: u8) {
        let Some((epoch, _)) = self.epochs.get(&worker).copied() else { return };
        let queued: Vec<_> = self.cluster.state.queue().iter().collect();
        let Some(queued) = pick(&queued, nth) else { return };
        let job = self.cluster.state.job(queued.job).unwrap();
        if let Some(gang) = job.gang(queued.task).cloned() {
            return self.place_gang(queued.job, &gang, nth);
        }
        if nth >= 192 {
            return self.place_line(queued, worker, epoch);
        }
        let Some((index, _)) = job.task(queued.task).unwrap().pending().nth(usize::from(nth % 2)) else { return };
        let namespace = self.cluster.state.job(queued.job).unwrap().spec.namespace.clone();
        if let Some(key) = self.cluster.assign(queued.job, queued.task, index.0, epoch) {
            let held = &self.cluster.state.space(&namespace).unwrap().held;
            let limit = self.cluster.state.rules_of(&namespace).and_then(|rules| rules.limit.get(&name("cpu")));
            assert!(limit.is_none_or(|limit| held.cpu_millis <= limit), "{namespace} holds {held:?} of {limit:?}");
            self.attempts.push((worker, epoch, key));
            let spec = self.cluster.state.job(queued.job).unwrap().task_spec(queued.task).unwrap().clone();
            if spec.rate.is_some() {
                self.rated.push(self.cluster.state.now());
            }
            for name in spec.cluster_resources.keys() {
                let resource = self.cluster.state.resource(name, 0).unwrap();
                assert!(
                    resource.held <= u64::from(resource.total),
                    "a start, and more is held than there is: {resource:?}"
                );
            }
        }
    }

    /// Some elements, of which each waits for the one before it.
    fn place_line(&mut self, queued: Queued, worker: u8, epoch: Epoch) {
        let task = self.cluster.state.job(queued.job).unwrap().task(queued.task).unwrap();
        let mut first = None;
        let line = task.pending().take(3).map(|(index, attempt)| {
            let behind = first;
            first = first.or(Some(index));
            Assignment { job: queued.job, task: queued.task, index, attempt, epoch, behind }
        });
        let items = line.collect();
        self.cluster.apply(Command::Assign { items });
        for notice in &self.cluster.last.notices {
            if let NoticeKind::Start(key) = notice.what {
                self.attempts.push((worker, epoch, key));
                let job = self.cluster.state.job(queued.job).unwrap();
                if job.task_spec(queued.task).unwrap().rate.is_some() {
                    self.rated.push(self.cluster.state.now());
                }
            }
        }
    }

    /// Places the members in turn on the workers; now and then one is left out.
    fn place_gang(&mut self, id: JobId, gang: &Gang, nth: u8) {
        let workers: Vec<(u8, Epoch)> = self.epochs.iter().map(|(worker, (epoch, _))| (*worker, *epoch)).collect();
        let job = self.cluster.state.job(id).unwrap();
        let each =
            gang.elements().skip(usize::from(nth % 4 == 3)).zip(workers.iter().cycle().skip(usize::from(nth % 2)));
        let items = each.map(|((task, index), (_, epoch))| {
            let attempt = job.task(task).unwrap().element(index).map_or(AttemptNumber(1), |e| e.next_attempt());
            Assignment { job: id, task, index, attempt, epoch: *epoch, behind: None }
        });
        let items = items.collect();
        self.cluster.apply(Command::Assign { items });
        for notice in &self.cluster.last.notices {
            if let NoticeKind::Start(key) = notice.what {
                let (worker, _) = workers.iter().find(|(_, epoch)| *epoch == notice.epoch).unwrap();
                self.attempts.push((*worker, notice.epoch, key));
            }
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

    fn lock(&mut self, nth: u8, lock: u8, secs: u8) {
        let Some((_, _, key)) = pick(&self.attempts, nth) else { return };
        let task = name(["a", "b", "c", "d"][key.task as usize % 4]);
        let (lock, by) =
            (name(["x", "y", "z"][lock as usize]), Claimant { job: key.job, task, index: key.index, fence: key.fence });
        self.cluster.apply(match secs % 3 {
            0 => Command::ReleaseLock { lock, by },
            _ => Command::AcquireLock { lock, by, wait: Span::from_secs(u64::from(secs % 3 - 1) * u64::from(secs)) },
        });
    }

    /// Ends everything, however it can be ended.
    fn end_all(&mut self) {
        for worker in 0..3 {
            self.with_worker(worker, |worker, epoch| Command::End { worker, epoch });
        }
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
            1 => {
                if job.0.is_multiple_of(2) {
                    Command::Pause { job }
                } else {
                    Command::Freeze { job }
                }
            }
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
        driver.check_starts()?;
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

        driver.end_all();
        let state = &driver.cluster.state;
        prop_assert_eq!(state.locks(None, None).next(), None, "nobody lives, and somebody holds a lock");
        prop_assert!(state.resources(None, 1).all(|resource| resource.held == 0), "nobody lives, and something is held");
    }
}
