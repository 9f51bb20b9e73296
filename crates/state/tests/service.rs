//! Services and system jobs.

use std::collections::BTreeMap;

use crate::support::{Cluster, finished, name, spec};
use quorate_state::command::{Command, RetryScope};
use quorate_state::limits::SERVICE_VERSIONS_MAX;
use quorate_state::outcome::{NoticeKind, Outcome, Rejection};
use quorate_state::view::{self, Detail};
use quorate_types::api::{Rollout, ServiceView};
use quorate_types::session::{AttemptKey, Finished, Happening};
use quorate_types::status::{Ending, JobState, TaskState};
use quorate_types::{Epoch, JobId, Span, TaskIndex};

/// A cluster in which everything is started as soon as it can be, as a leader would.
struct Fleet {
    cluster: Cluster,
    workers: BTreeMap<&'static str, Epoch>,
}

impl Fleet {
    fn of(workers: &[&'static str]) -> Self {
        let mut fleet = Self { cluster: Cluster::default(), workers: BTreeMap::new() };
        workers.iter().for_each(|worker| fleet.join(worker));
        fleet
    }

    fn join(&mut self, worker: &'static str) {
        let epoch = self.cluster.ready_worker(worker, 4);
        self.workers.insert(worker, epoch);
    }

    fn leave(&mut self, worker: &'static str) {
        let epoch = self.workers.remove(worker).unwrap();
        self.cluster.apply(Command::Expire { worker: name(worker), epoch });
    }

    fn change(&mut self, service: JobId, json: &str) -> Outcome {
        self.cluster.apply(Command::ChangeService { service, spec: spec(json) })
    }

    fn view(&self, job: JobId) -> ServiceView {
        view::living(self.cluster.state.job(job).unwrap(), Detail::Full).service.unwrap()
    }

    /// Wanted, available and updated, and how the rollout stands.
    fn stands(&self, job: JobId) -> (u32, u32, u32, Rollout) {
        let ServiceView { wanted, available, updated, rollout, .. } = self.view(job);
        (wanted, available, updated, rollout)
    }

    /// Assigns what is pending, round by round, to workers in turn, and says that it runs.
    fn place(&mut self) -> Vec<AttemptKey> {
        let mut placed = Vec::new();
        let queued: Vec<_> = self.cluster.state.queue().iter().collect();
        for queued in queued {
            let task = self.cluster.state.job(queued.job).unwrap().task(queued.task).unwrap().clone();
            let pending: Vec<_> = task.pending().map(|(index, _)| index).collect();
            for index in pending {
                let workers: Vec<_> = self.workers.values().copied().collect();
                let at = index.0 as usize % workers.len().max(1);
                let turn = workers.iter().cycle().skip(at).take(workers.len()).copied();
                let key = turn.into_iter().find_map(|w| self.cluster.assign(queued.job, queued.task, index.0, w));
                placed.extend(key);
            }
        }
        for key in &placed {
            self.report(key, Happening::Started);
        }
        placed
    }

    fn worker_of(&self, key: &AttemptKey) -> Option<(&'static str, Epoch)> {
        let element = self.cluster.state.job(key.job)?.task(key.task)?.element(key.index)?;
        let epoch = element.current().filter(|attempt| attempt.fence == key.fence)?.epoch;
        self.workers.iter().find(|(_, known)| **known == epoch).map(|(worker, epoch)| (*worker, *epoch))
    }

    fn report(&mut self, key: &AttemptKey, what: Happening) {
        let (worker, epoch) = self.worker_of(key).unwrap();
        self.cluster.report(worker, epoch, *key, what);
    }

    fn end(&mut self, key: &AttemptKey, ending: Ending, ran: u64) {
        self.report(key, Happening::Finished(Box::new(Finished { ran: Span(ran), ..finished(ending) })));
    }

    /// Attempts that are live, by element.
    fn live(&self, job: JobId) -> BTreeMap<u32, (AttemptKey, TaskState)> {
        let mut live = BTreeMap::new();
        for (task, found, _) in self.cluster.state.job(job).unwrap().tasks() {
            for (index, element) in found.elements().filter(|(_, element)| element.state.is_live()) {
                let attempt = element.current().unwrap();
                let key = crate::support::key(job.0, task, index.0, attempt.number.0, attempt.fence.0);
                assert!(live.insert(index.0, (key, element.state)).is_none(), "two attempts of element {index}");
            }
        }
        live
    }

    /// Workers confirm the end of what they were asked to end.
    fn confirm(&mut self, job: JobId) -> usize {
        let stopping: Vec<_> = self.live(job).into_values().filter(|(_, s)| *s == TaskState::Stopping).collect();
        stopping.iter().for_each(|(key, _)| self.end(key, Ending::Stopped, 5));
        stopping.len()
    }

    fn state_of(&self, job: JobId, index: u32) -> TaskState {
        let job = self.cluster.state.job(job).unwrap();
        let at = job.place_of(&name("main"), TaskIndex(index)).unwrap();
        job.task(at).unwrap().state_of(TaskIndex(index)).unwrap()
    }
}

const V1: &str = r#"{"kind":"service","command":["v1"],"count":3}"#;
const V2: &str = r#"{"kind":"service","command":["v2"],"count":3}"#;
const CHECKED: &str = r#"{"kind":"service","command":["v2"],"count":3,"health":{"command":["ok"]}}"#;

#[test]
fn what_ends_is_started_again_after_a_wait_that_begins_anew_once_it_ran_well() {
    let mut fleet = Fleet::of(&["a"]);
    let job = fleet.cluster.submit(r#"{"kind":"service","tasks":[{"command":["x"],"backoff":{"max":"1m"}}]}"#);
    let mut waits = Vec::new();
    for (ending, ran) in
        [(Ending::Exited(0), 5), (Ending::Exited(1), 5), (Ending::Signalled(9), 59_999), (Ending::Exited(0), 60_000)]
    {
        let [key] = fleet.place()[..] else { panic!("nothing was placed") };
        fleet.end(&key, ending, ran);
        assert_eq!(fleet.state_of(job, 0), TaskState::Waiting);
        assert_eq!(fleet.place(), [], "it waits");
        let due = fleet.cluster.state.next_timer().unwrap();
        waits.push(due.since(fleet.cluster.now).0 / 1_000);
        fleet.cluster.now = due;
        fleet.cluster.apply(Command::Advance);
    }
    assert_eq!(waits, [1, 2, 4, 1]);
    let header = &fleet.cluster.state.job(job).unwrap().header;
    assert_eq!((header.state, header.counts.total), (JobState::Running, 1));
    // What is lost is placed at once, unless it loses one worker after the other.
    for nth in 1..=5 {
        assert_eq!(fleet.place().len(), 1);
        fleet.leave("a");
        assert_eq!(fleet.state_of(job, 0), if nth < 5 { TaskState::Pending } else { TaskState::Waiting });
        fleet.cluster.pass(Span(1));
        fleet.workers.insert(
            "a",
            match fleet.cluster.worker("a", 4, 10 + nth, None) {
                Outcome::Registered { epoch } => epoch,
                other => panic!("{other:?}"),
            },
        );
    }
}

#[test]
fn a_change_goes_on_step_by_step() {
    let mut fleet = Fleet::of(&["a", "b"]);
    let job = fleet.cluster.submit(V1);
    assert_eq!(fleet.place().len(), 3);
    assert_eq!(fleet.cluster.event_types(), ["task.running", "rollout.finished"]);
    assert_eq!(fleet.stands(job), (3, 3, 3, Rollout::Done));
    assert_eq!(fleet.change(job, V2), Outcome::Done);
    for updated in 1..=3 {
        let view = fleet.view(job);
        assert_eq!((view.version, view.available, view.updated, view.rollout), (2, 2, updated, Rollout::Rolling));
        assert_eq!(fleet.place(), [], "its attempt has not ended");
        assert_eq!(fleet.confirm(job), 1);
        let [key] = fleet.place()[..] else { panic!("nothing was placed") };
        assert_eq!((key.task, key.attempt.0), (1, 2), "attempts are counted on");
    }
    assert_eq!(fleet.cluster.event_types(), ["task.running", "rollout.finished"]);
    assert_eq!(fleet.stands(job), (3, 3, 3, Rollout::Done));
    let found = fleet.cluster.state.job(job).unwrap();
    let shown = view::element_of(found, 1, TaskIndex(2)).unwrap();
    assert_eq!(shown.attempts.iter().map(|attempt| attempt.number.0).collect::<Vec<_>>(), [1, 2]);
    let ran_in: Vec<u32> = found.attempts_of(1, TaskIndex(2)).iter().map(|(version, _)| *version).collect();
    assert_eq!(ran_in, [0, 1]);
    let counts = view::living(found, Detail::Full).tasks;
    assert_eq!((counts.total, counts.running, counts.cancelled), (3, 3, 0));
    assert_eq!(serde_json::to_value(&*found.spec).unwrap()["tasks"].as_array().unwrap().len(), 1);
    // The same once more changes nothing.
    fleet.change(job, V2);
    assert_eq!((fleet.view(job).version, fleet.cluster.event_types().len()), (2, 0));
}

#[test]
fn a_version_that_does_not_stay_well_stops_the_rollout_and_going_back_leaves_the_others_alone() {
    let mut fleet = Fleet::of(&["a", "b"]);
    let job = fleet.cluster.submit(V1);
    let before = fleet.place();
    fleet.change(job, CHECKED);
    fleet.confirm(job);
    let [bad] = fleet.place()[..] else { panic!("nothing was placed") };
    assert_eq!(fleet.stands(job), (3, 2, 1, Rollout::Rolling), "running is not enough");
    fleet.end(&bad, Ending::Unhealthy(3), 30_000);
    let view = fleet.view(job);
    assert_eq!((view.available, view.rollout), (2, Rollout::Stalled));
    assert!(view.stalled_by.unwrap().contains("its health command failed 3 times in a row"));
    // An element of the old version that ends is started again as it was.
    fleet.end(&before[2], Ending::Exited(1), 5);
    fleet.cluster.pass(Span::from_secs(60));
    let again = fleet.place();
    assert_eq!(again.iter().map(|key| (key.task, key.index.0)).collect::<Vec<_>>(), [(0, 2), (1, 0)]);
    assert_eq!(fleet.stands(job), (3, 2, 1, Rollout::Stalled));
    fleet.change(job, V1);
    assert_eq!(fleet.confirm(job), 1);
    assert_eq!(fleet.place().len(), 1);
    assert_eq!(fleet.stands(job), (3, 3, 3, Rollout::Done));
    assert_eq!(fleet.view(job).version, 3);
    let live = fleet.live(job);
    assert!(before[1] == live[&1].0 && live[&0].0.task == 0 && live[&0].0.attempt.0 == 4, "{live:?}");
    // Nothing is known of it yet when it comes again, in the place of the other one.
    fleet.change(job, r#"{"kind":"service","command":["v3"],"count":3}"#);
    assert_eq!(fleet.stands(job), (3, 2, 1, Rollout::Rolling));
}

#[test]
fn what_is_ended_from_outside_stalls_nothing() {
    let mut fleet = Fleet::of(&["a"]);
    let job = fleet.cluster.submit(V1);
    let placed = fleet.place();
    fleet.end(&placed[0], Ending::Exited(1), 5);
    assert_eq!(fleet.stands(job), (3, 2, 3, Rollout::Stalled));
    fleet.cluster.pass(Span::from_secs(60));
    let [again] = fleet.place()[..] else { panic!("nothing was placed") };
    assert_eq!(fleet.stands(job), (3, 3, 3, Rollout::Done));
    // It takes the word to end well.
    fleet.cluster.apply(Command::Reassign { job, task: name("main"), index: again.index });
    fleet.end(&again, Ending::Exited(0), 60_000);
    assert_eq!(fleet.stands(job), (3, 2, 3, Rollout::Rolling));
}

#[test]
fn attempts_stay_with_the_version_in_which_they_ran() {
    let mut fleet = Fleet::of(&["a"]);
    let job = fleet.cluster.submit(V1);
    let ran = fleet.place()[0];
    fleet.change(job, CHECKED);
    fleet.confirm(job);
    // It waits in the newest version, which counts on from the attempt that there was.
    assert_eq!(fleet.state_of(job, 0), TaskState::Pending);
    fleet.cluster.apply(Command::Cancel { job });
    let found = fleet.cluster.state.job(job).unwrap();
    let place = found.place_of(&name("main"), ran.index).unwrap();
    let attempts: Vec<_> = found.attempts_of(place, ran.index).iter().map(|(at, it)| (*at, it.fence)).collect();
    assert_eq!((place, attempts), (0, vec![(0, ran.fence)]));
}

#[test]
fn an_attempt_counts_once_its_health_command_has_succeeded() {
    let mut fleet = Fleet::of(&["a"]);
    let job = fleet.cluster.submit(CHECKED);
    let placed = fleet.place();
    assert_eq!(fleet.stands(job), (3, 0, 3, Rollout::Rolling));
    for (nth, key) in (1..).zip(&placed) {
        fleet.report(key, Happening::Healthy);
        assert_eq!(fleet.view(job).available, nth);
        assert_eq!(fleet.cluster.event_types()[0], "task.healthy");
    }
    fleet.report(&placed[0], Happening::Healthy);
    assert_eq!(fleet.cluster.event_types().len(), 0, "it is said once");
}

#[test]
fn more_and_fewer_elements() {
    let mut fleet = Fleet::of(&["a", "b"]);
    let job = fleet.cluster.submit(V1);
    fleet.place();
    fleet.change(job, r#"{"kind":"service","command":["v1"],"count":1}"#);
    assert_eq!(fleet.live(job).values().filter(|(_, state)| *state == TaskState::Stopping).count(), 2);
    // One of them comes back before it has ended.
    fleet.change(job, r#"{"kind":"service","command":["v1"],"count":2}"#);
    assert_eq!(fleet.confirm(job), 2);
    assert_eq!((fleet.state_of(job, 1), fleet.state_of(job, 2)), (TaskState::Pending, TaskState::Cancelled));
    fleet.change(job, r#"{"kind":"service","command":["v1"],"count":5}"#);
    let mut placed: Vec<_> = fleet.place().iter().map(|key| (key.index.0, key.attempt.0)).collect();
    placed.sort_unstable();
    assert_eq!(placed, [(1, 2), (2, 2), (3, 1), (4, 1)]);
    assert_eq!(fleet.stands(job), (5, 5, 5, Rollout::Done));
    assert_eq!(fleet.view(job).version, 1, "the definition is the same");
}

#[test]
fn a_change_that_needs_nothing_more_is_taken_also_over_the_limit() {
    let mut fleet = Fleet::of(&["a"]);
    let of = |version: &str, count: u32| {
        format!(r#"{{"kind":"service","namespace":"web","command":["{version}"],"count":{count}}}"#)
    };
    let job = fleet.cluster.submit(&of("v1", 3));
    let rules = Box::new(serde_json::from_str(r#"{"max_unfinished":2}"#).unwrap());
    fleet.cluster.apply(Command::SetNamespace { namespace: name("web"), rules });
    assert_eq!(fleet.change(job, &of("v1", 3)), Outcome::Done);
    assert_eq!(fleet.change(job, &of("v2", 3)), Outcome::Done);
    let full = Outcome::Rejected(Rejection::NamespaceFull(name("web"), 3));
    assert_eq!(fleet.change(job, &of("v2", 4)), full);
    assert_eq!(fleet.change(job, &of("v2", 1)), Outcome::Done);
    assert_eq!(fleet.change(job, &of("v2", 2)), Outcome::Done);
}

#[test]
fn of_its_outputs_the_last_are_kept() {
    let mut fleet = Fleet::of(&["a"]);
    let job = fleet.cluster.submit(r#"{"kind":"service","command":["x"],"count":1}"#);
    for kept in [2, 4, 2] {
        let [key] = fleet.place()[..] else { panic!("nothing was placed") };
        let tail = vec![b'x'; 1 << 20];
        let end = Finished { stdout_tail: tail.clone(), stderr_tail: tail, ..finished(Ending::Exited(1)) };
        fleet.report(&key, Happening::Finished(Box::new(end)));
        assert_eq!(fleet.cluster.state.job(job).unwrap().header.output_bytes, kept << 20);
        fleet.cluster.pass(Span::from_secs(600));
    }
}

#[test]
fn elements_that_are_down_go_first_and_a_share_may_be_unavailable() {
    let mut fleet = Fleet::of(&["a", "b", "c"]);
    let job = fleet.cluster.submit(r#"{"kind":"service","command":["v1"],"count":8}"#);
    let placed = fleet.place();
    fleet.end(&placed[6], Ending::Exited(1), 5);
    fleet.change(job, r#"{"kind":"service","command":["v2"],"count":8,"max_unavailable":"40%"}"#);
    let stopping: Vec<u32> =
        fleet.live(job).into_iter().filter(|(_, (_, s))| *s == TaskState::Stopping).map(|(at, _)| at).collect();
    assert_eq!(stopping, [0, 1], "of three one was down anyway");
    assert_eq!(fleet.stands(job), (8, 5, 3, Rollout::Rolling));
}

#[test]
fn elements_keep_apart_and_spread_in_whatever_version_they_are() {
    for constraint in [r#""anti_affinity":["main"]"#, r#""spread":[{"label":"worker","max":1}]"#] {
        let mut fleet = Fleet::of(&["a", "b"]);
        let of = |version: &str| {
            let task = format!(r#"{{"name":"main","command":["{version}"],"count":2,{constraint}}}"#);
            format!(r#"{{"kind":"service","tasks":[{task}]}}"#)
        };
        let job = fleet.cluster.submit(&of("v1"));
        assert_eq!(fleet.place().len(), 2);
        for (version, leaves, comes) in [("v2", "a", "c"), ("v1", "c", "d")] {
            assert_eq!(fleet.change(job, &of(version)), Outcome::Done);
            assert_eq!(fleet.confirm(job), 1);
            fleet.leave(leaves);
            assert_eq!(fleet.place(), [], "the worker that is left has one of the other version");
            fleet.join(comes);
            while !fleet.place().is_empty() || fleet.confirm(job) > 0 {}
            assert_eq!(fleet.stands(job), (2, 2, 2, Rollout::Done));
            let live = fleet.live(job);
            let mut on: Vec<_> = live.values().map(|(key, _)| fleet.worker_of(key).unwrap().0).collect();
            on.sort_unstable();
            assert_eq!(on, ["b", comes]);
        }
        assert_eq!(fleet.cluster.state.digest(), fleet.cluster.replay().digest());
    }
}

#[test]
fn what_is_apart_no_more_may_come_together() {
    let mut fleet = Fleet::of(&["a", "b"]);
    let apart = r#"{"kind":"service","tasks":[{"command":["x"],"count":3,"anti_affinity":["main"]}]}"#;
    let job = fleet.cluster.submit(apart);
    assert_eq!(fleet.place().len(), 2, "there is no third worker");
    fleet.change(job, r#"{"kind":"service","tasks":[{"command":["x"],"count":3}],"max_unavailable":3}"#);
    while !fleet.place().is_empty() || fleet.confirm(job) > 0 {}
    assert_eq!(fleet.stands(job), (3, 3, 3, Rollout::Done));
}

#[test]
fn it_is_paused_frozen_and_cancelled_as_others_are() {
    let mut fleet = Fleet::of(&["a"]);
    let job = fleet.cluster.submit(V1);
    fleet.place();
    fleet.cluster.apply(Command::Pause { job });
    assert_eq!(fleet.view(job).available, 0);
    fleet.change(job, V2);
    assert_eq!(fleet.confirm(job), 3);
    assert_eq!(fleet.place(), []);
    fleet.cluster.apply(Command::Resume { job });
    while !fleet.place().is_empty() || fleet.confirm(job) > 0 {}
    assert_eq!(fleet.stands(job), (3, 3, 3, Rollout::Done));
    fleet.cluster.apply(Command::Freeze { job });
    fleet.change(job, V1);
    assert_eq!(fleet.confirm(job), 0, "what stands still is left alone");
    fleet.cluster.apply(Command::Resume { job });
    assert_eq!(fleet.confirm(job), 1);
    fleet.cluster.apply(Command::Cancel { job });
    assert!(matches!(fleet.change(job, V2), Outcome::Rejected(Rejection::Cancelling(_))));
    fleet.confirm(job);
    assert_eq!(fleet.cluster.state.job(job).unwrap().header.state, JobState::Cancelled);
    assert!(matches!(fleet.change(job, V2), Outcome::Rejected(Rejection::JobState { .. })));
    let again = fleet.cluster.apply(Command::Retry { job, scope: RetryScope::All });
    assert_eq!(again, Outcome::Rejected(Rejection::Service(job)));
}

#[test]
fn what_it_is_known_by_stays_and_versions_are_bounded() {
    let mut fleet = Fleet::of(&["a", "b", "c", "d", "e"]);
    let job = fleet
        .cluster
        .submit(r#"{"kind":"service","command":["v0"],"count":20,"max_unavailable":1,"labels":{"a":"b"}}"#);
    let batch = fleet.cluster.submit(r#"{"command":["x"]}"#);
    for (json, pointer) in [
        (r#"{"kind":"system","command":["x"],"labels":{"a":"b"}}"#, "/kind"),
        (r#"{"kind":"service","command":["x"]}"#, "/labels"),
        (r#"{"kind":"service","tasks":[{"name":"b","command":["x"]}],"labels":{"a":"b"}}"#, "/tasks/0/name"),
    ] {
        let before = fleet.cluster.state.job(job).unwrap().spec.clone();
        assert_eq!(fleet.change(job, json), Outcome::Rejected(Rejection::Fixed { pointer: pointer.into() }));
        assert_eq!(fleet.cluster.state.job(job).unwrap().spec, before);
    }
    assert_eq!(fleet.change(batch, V1), Outcome::Rejected(Rejection::NotAService(batch)));
    assert_eq!(fleet.change(job, r#"{"command":["x"]}"#), Outcome::Rejected(Rejection::NotAService(job)));
    // Nothing runs: each change moves one element fewer, and the others wait in what they have.
    let version = |n: usize| {
        let most = SERVICE_VERSIONS_MAX.saturating_sub(n).max(1);
        format!(r#"{{"kind":"service","command":["v{n}"],"count":20,"max_unavailable":{most},"labels":{{"a":"b"}}}}"#)
    };
    for n in 1..SERVICE_VERSIONS_MAX {
        assert_eq!(fleet.change(job, &version(n)), Outcome::Done);
    }
    let refused = fleet.change(job, &version(SERVICE_VERSIONS_MAX));
    assert_eq!(refused, Outcome::Rejected(Rejection::TooManyVersions { job, versions: SERVICE_VERSIONS_MAX as u64 }));
    // When all have gone over, their places are free.
    for _ in 0..200 {
        fleet.place();
        fleet.confirm(job);
    }
    assert_eq!(fleet.view(job).updated, 20);
    for n in SERVICE_VERSIONS_MAX..3 * SERVICE_VERSIONS_MAX {
        assert_eq!(fleet.change(job, &version(n)), Outcome::Done);
        for _ in 0..60 {
            fleet.confirm(job);
            fleet.place();
        }
    }
    assert_eq!(fleet.cluster.state.digest(), fleet.cluster.replay().digest());
}

const AGENT: &str = r#"{"kind":"system","command":["x"]}"#;

#[test]
fn a_system_job_has_one_element_on_each_worker_also_on_those_that_come() {
    let mut fleet = Fleet::of(&["a", "b"]);
    let job = fleet.cluster.submit(AGENT);
    assert_eq!(fleet.view(job).wanted, 2);
    fleet.place();
    let on = |fleet: &Fleet| {
        let mut on: Vec<_> = fleet.live(job).values().map(|(key, _)| fleet.worker_of(key).unwrap().0).collect();
        on.sort_unstable();
        on
    };
    assert_eq!(on(&fleet), ["a", "b"]);
    fleet.join("c");
    fleet.place();
    assert_eq!(on(&fleet), ["a", "b", "c"]);
    fleet.leave("b");
    assert_eq!((on(&fleet), fleet.view(job).wanted), (vec!["a", "c"], 2));
    // An attempt that ends is started again, on the same worker: it is the only one without.
    let (key, _) = fleet.live(job).into_values().next().unwrap();
    fleet.end(&key, Ending::Exited(0), 5);
    fleet.cluster.pass(Span::from_secs(60));
    fleet.place();
    assert_eq!(on(&fleet), ["a", "c"]);
    // A rollout goes from worker to worker.
    fleet.change(job, r#"{"kind":"system","command":["y"]}"#);
    for _ in 0..2 {
        assert_eq!(fleet.confirm(job), 1);
        fleet.place();
        assert_eq!(on(&fleet), ["a", "c"]);
    }
    assert_eq!(fleet.stands(job), (2, 2, 2, Rollout::Done));
    fleet.cluster.apply(Command::Taint { worker: name("a"), taints: vec!["x".parse().unwrap()] });
    assert_eq!((on(&fleet), fleet.view(job).wanted), (vec!["a", "c"], 2), "what runs there goes on");
    fleet.change(job, r#"{"kind":"system","tasks":[{"command":["y"],"requires":["worker=a"],"tolerations":["x"]}]}"#);
    while !fleet.place().is_empty() || fleet.confirm(job) > 0 {}
    assert_eq!((on(&fleet), fleet.view(job).wanted), (vec!["a"], 1));
    fleet.cluster.apply(Command::Cancel { job });
    fleet.confirm(job);
    assert_eq!(fleet.cluster.state.job(job).unwrap().header.state, JobState::Cancelled);
    fleet.join("d");
    assert_eq!(fleet.place(), []);
    assert_eq!(fleet.cluster.state.digest(), fleet.cluster.replay().digest());
}

#[test]
fn elements_move_off_a_draining_worker_one_by_one() {
    let mut fleet = Fleet::of(&["a", "b"]);
    let job = fleet.cluster.submit(&CHECKED.replace("3", "4"));
    let placed = fleet.place();
    placed.iter().for_each(|key| fleet.report(key, Happening::Healthy));
    let on = |fleet: &Fleet, worker| {
        let live: Vec<_> = fleet.live(job).into_values().map(|(key, _)| fleet.worker_of(&key).unwrap().0).collect();
        live.into_iter().filter(|at| *at == worker).count()
    };
    assert_eq!((on(&fleet, "a"), on(&fleet, "b")), (2, 2));
    fleet.cluster.apply(Command::Drain { worker: name("a") });
    for left in [1, 0] {
        assert_eq!(fleet.view(job).available, 3, "one may be unavailable");
        assert_eq!(fleet.confirm(job), 1);
        let [key] = fleet.place()[..] else { panic!("it finds no place") };
        assert_eq!((on(&fleet, "a"), fleet.confirm(job)), (left, 0), "it is not well yet");
        fleet.report(&key, Happening::Healthy);
    }
    assert_eq!((fleet.view(job).available, fleet.confirm(job), on(&fleet, "b")), (4, 0, 4));
    // Nobody else has room: one waits, the rest stays.
    fleet.cluster.apply(Command::Drain { worker: name("b") });
    assert_eq!((fleet.confirm(job), fleet.place().len(), fleet.confirm(job)), (1, 0, 0));
    fleet.cluster.apply(Command::Undrain { worker: name("a") });
    assert_eq!((fleet.place().len(), on(&fleet, "b")), (1, 3));
    assert_eq!(fleet.cluster.state.digest(), fleet.cluster.replay().digest());
}

#[test]
fn on_a_draining_worker_it_is_the_last_to_end() {
    let mut fleet = Fleet::of(&["a"]);
    let (job, other) = (fleet.cluster.submit(AGENT), fleet.cluster.submit(r#"{"command":["x"]}"#));
    fleet.place();
    fleet.cluster.apply(Command::Drain { worker: name("a") });
    assert_eq!(fleet.confirm(job), 0);
    let (key, _) = fleet.live(other)[&0];
    fleet.end(&key, Ending::Exited(0), 5);
    let stops = fleet.cluster.last.notices.iter().filter(|notice| matches!(notice.what, NoticeKind::Stop(_)));
    assert_eq!(stops.count(), 1);
    assert_eq!(fleet.confirm(job), 1);
    assert_eq!((fleet.view(job).wanted, fleet.place()), (0, vec![]));
    fleet.cluster.apply(Command::Undrain { worker: name("a") });
    assert_eq!((fleet.view(job).wanted, fleet.place().len()), (1, 1));
    // Nothing else is there: the drain ends it at once.
    fleet.cluster.apply(Command::Drain { worker: name("a") });
    fleet.cluster.apply(Command::Undrain { worker: name("a") });
    assert_eq!(fleet.confirm(job), 1);
    assert_eq!((fleet.view(job).wanted, fleet.place().len()), (1, 1), "it was to come back before it had ended");
}

#[test]
fn a_system_job_without_a_worker_waits_for_one_and_can_be_cancelled() {
    let mut fleet = Fleet::of(&[]);
    let (job, other) = (
        fleet.cluster.submit(AGENT),
        fleet.cluster.submit(r#"{"kind":"system","tasks":[{"command":["x"],"resources":{"cpu":5}}]}"#),
    );
    fleet.join("a");
    assert_eq!((fleet.view(job).wanted, fleet.view(other).wanted), (1, 0), "one is too large for it");
    fleet.leave("a");
    assert_eq!(fleet.view(job).wanted, 0);
    for job in [job, other] {
        fleet.cluster.apply(Command::Cancel { job });
        assert_eq!(fleet.cluster.state.job(job).unwrap().header.state, JobState::Cancelled);
    }
}
