//! What attempts get before they start, and locks: counted resources of the cluster, rates, locks.

use crate::support::{Cluster, name};
use quorate_state::command::{Assignment, Command, Entry, Proposal};
use quorate_state::limits::{CLUSTER_RESOURCES_MAX, LOCK_LINE_MAX, LOCKS_PER_ATTEMPT_MAX};
use quorate_state::locks::LockKey;
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::gate::{Claimant, LockView, ResourceView};
use quorate_types::limits::LOCK_WAIT_MS_MAX;
use quorate_types::session::AttemptKey;
use quorate_types::status::{Ending, TaskState};
use quorate_types::{AttemptNumber, Epoch, JobId, Name, Rate, Span, TaskIndex};

const LICENSED: &str = r#"{"tasks":[{"command":["x"],"count":3,"retries":9,"cluster_resources":{"matlab":1}}]}"#;
const GREEDY: &str = r#"{"tasks":[{"command":["x"],"cluster_resources":{"matlab":2,"seats":1}}]}"#;
const RATED: &str = r#"{"tasks":[{"command":["x"],"count":9,"rate":{"key":"api","limit":2,"per":"10s"}}]}"#;

fn cluster() -> (Cluster, Epoch) {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w", 100);
    (cluster, epoch)
}

fn set(cluster: &mut Cluster, resource: &str, total: u32) {
    assert_eq!(cluster.apply(Command::SetResource { name: name(resource), total }), Outcome::Done);
}

fn resource(cluster: &Cluster, of: &str) -> ResourceView {
    cluster.state.resource(&name(of), 10).unwrap()
}

fn held(cluster: &Cluster) -> (u64, u32, u64) {
    let ResourceView { held, total, waiting, .. } = resource(cluster, "matlab");
    (held, total, waiting)
}

fn refused(cluster: &mut Cluster, command: Command) -> Rejection {
    let digest = cluster.state.digest();
    let index = cluster.state.index();
    match cluster.apply(command) {
        Outcome::Rejected(rejection) => {
            let mut before = cluster.log.clone();
            before.pop();
            let mut state = quorate_state::State::default();
            before.iter().for_each(|(index, entry)| drop(state.apply(*index, entry)));
            assert_eq!((state.index(), state.digest()), (index, digest));
            state.skip(cluster.state.index());
            assert_eq!(state.digest(), cluster.state.digest(), "a refusal changes nothing");
            rejection
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_resource_is_held_from_the_assignment_to_the_end() {
    let (mut cluster, epoch) = cluster();
    set(&mut cluster, "matlab", 2);
    let job = cluster.submit(LICENSED);
    assert_eq!(held(&cluster), (0, 2, 1));
    let first = cluster.assign(job, 0, 0, epoch).unwrap();
    let second = cluster.assign(job, 0, 1, epoch).unwrap();
    assert_eq!(cluster.assign(job, 0, 2, epoch), None, "there are two");
    assert_eq!(held(&cluster), (2, 2, 1));
    let holders = resource(&cluster, "matlab").holders;
    assert_eq!(
        holders.iter().map(|it| (it.element.job, it.element.index.0, it.amount)).collect::<Vec<_>>(),
        [(job, 0, 1), (job, 1, 1)]
    );
    cluster.apply(Command::Reassign { job, task: name("main"), index: first.index });
    assert_eq!((cluster.task_state(job, 0, 0), held(&cluster).0), (TaskState::Stopping, 2), "stopping holds it");
    assert_eq!(cluster.assign(job, 0, 2, epoch), None);
    cluster.finish("w", epoch, first, Ending::Stopped);
    assert_eq!(held(&cluster).0, 1);
    cluster.finish("w", epoch, first, Ending::Exited(0));
    assert_eq!(held(&cluster).0, 1, "one that is told twice gives back once");
    cluster.assign(job, 0, 2, epoch).unwrap();
    cluster.apply(Command::Expire { worker: name("w"), epoch });
    assert_eq!(held(&cluster), (0, 2, 1), "what the lost worker's attempts held is free");
    cluster.finish("w", epoch, second, Ending::Exited(0));
    assert_eq!(held(&cluster).0, 0);
}

#[test]
fn all_kinds_that_are_asked_for_are_needed() {
    let (mut cluster, epoch) = cluster();
    set(&mut cluster, "matlab", 2);
    set(&mut cluster, "seats", 1);
    let (greedy, licensed) = (cluster.submit(GREEDY), cluster.submit(LICENSED));
    let one = cluster.assign(licensed, 0, 0, epoch).unwrap();
    assert_eq!(cluster.assign(greedy, 0, 0, epoch), None, "one of two is held");
    assert_eq!(resource(&cluster, "seats").held, 0, "nothing is held in part");
    cluster.finish("w", epoch, one, Ending::Exited(0));
    cluster.assign(greedy, 0, 0, epoch).unwrap();
    assert_eq!((held(&cluster).0, resource(&cluster, "seats").held), (2, 1));
}

#[test]
fn a_total_that_is_lowered_takes_nothing_away() {
    let (mut cluster, epoch) = cluster();
    set(&mut cluster, "matlab", 3);
    let job = cluster.submit(LICENSED);
    let keys = [0, 1].map(|index| cluster.assign(job, 0, index, epoch).unwrap());
    set(&mut cluster, "matlab", 1);
    assert_eq!(held(&cluster), (2, 1, 1));
    assert_eq!(cluster.assign(job, 0, 2, epoch), None);
    cluster.finish("w", epoch, keys[0], Ending::Exited(0));
    assert_eq!(cluster.assign(job, 0, 2, epoch), None, "one is held, and there is one");
    let matlab = || Command::RemoveResource { name: name("matlab") };
    assert_eq!(refused(&mut cluster, matlab()), Rejection::ResourceHeld { name: name("matlab"), held: 1 });
    cluster.finish("w", epoch, keys[1], Ending::Exited(0));
    assert_eq!(cluster.apply(matlab()), Outcome::Done);
    assert_eq!(cluster.assign(job, 0, 2, epoch), None, "it waits for one that is no more");
    assert_eq!(refused(&mut cluster, matlab()), Rejection::NoSuchResource(name("matlab")));
    set(&mut cluster, "matlab", 1);
    cluster.assign(job, 0, 2, epoch).unwrap();
}

#[test]
fn nobody_asks_for_more_than_there_is() {
    let (mut cluster, _) = cluster();
    let asks = |within: &str| format!("{within}/tasks/0/cluster_resources/matlab");
    let submit = |json: &str| Command::Submit(crate::support::spec(json));
    let unknown = |pointer| Rejection::AsksForUnknown { pointer, name: name("matlab") };
    assert_eq!(refused(&mut cluster, submit(LICENSED)), unknown(asks("")));
    let follow_up = format!(r#"{{"command":["x"],"then":[{{"job":{LICENSED}}}]}}"#);
    assert_eq!(refused(&mut cluster, submit(&follow_up)), unknown(asks("/then/0/job")));
    set(&mut cluster, "matlab", 1);
    let too_much = Rejection::AsksForTooMuch { pointer: asks(""), name: name("matlab"), amount: 2, total: 1 };
    assert_eq!(refused(&mut cluster, submit(GREEDY)), too_much);
    cluster.submit(LICENSED);
    let schedule = LICENSED.replacen('{', r#"{"schedule":{"every":"1m"},"#, 1);
    let schedule = cluster.submit(&schedule);
    set(&mut cluster, "matlab", 0);
    let tick = cluster.now.plus(Span(1));
    cluster.apply(Command::Tick { schedule, ticks: vec![tick], through: tick });
    assert!(cluster.event_types().contains(&"schedule.skipped"), "a tick is refused as its submission would be");
    for nth in 1..CLUSTER_RESOURCES_MAX {
        set(&mut cluster, &format!("r{nth}"), 1);
    }
    let more = Command::SetResource { name: name("more"), total: 1 };
    assert_eq!(refused(&mut cluster, more), Rejection::TooManyResources(CLUSTER_RESOURCES_MAX as u64));
}

fn out(cluster: &Cluster) -> (u64, u64) {
    let rate = Rate { key: name("api"), limit: 2, per: Span::from_secs(10) };
    let room = cluster.state.rate_room(&name("default"), &rate, cluster.now);
    (room.out, room.left)
}

#[test]
fn no_more_start_in_any_span_than_a_rate_allows() {
    let (mut cluster, epoch) = cluster();
    let job = cluster.submit(RATED);
    let seconds = Span::from_secs;
    cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.pass(seconds(6));
    let key = cluster.assign(job, 0, 1, epoch).unwrap();
    cluster.finish("w", epoch, key, Ending::Exited(0));
    assert_eq!((cluster.assign(job, 0, 2, epoch), out(&cluster)), (None, (2, 0)), "an end gives no token back");
    cluster.pass(Span(3_999));
    assert_eq!(cluster.assign(job, 0, 2, epoch), None);
    cluster.pass(Span(1));
    assert_eq!(out(&cluster), (1, 1), "ten seconds after the first start");
    cluster.assign(job, 0, 2, epoch).unwrap();
    assert_eq!(cluster.assign(job, 0, 3, epoch), None);
    cluster.pass(seconds(6));
    cluster.assign(job, 0, 3, epoch).unwrap();
    // A clock that is behind gives nothing.
    cluster.now = quorate_types::Timestamp(cluster.now.0 - 60_000);
    assert_eq!(cluster.assign(job, 0, 4, epoch), None);
    cluster.pass(seconds(70));
    assert_eq!(out(&cluster), (0, 2));
    assert_eq!(cluster.state.next_timer(), None, "a key whose tokens are all back is forgotten");
}

#[test]
fn each_asks_the_key_for_its_own_limit() {
    let (mut cluster, epoch) = cluster();
    let strict = RATED.replace("\"limit\":2", "\"limit\":1");
    let (wide, strict) = (cluster.submit(RATED), cluster.submit(&strict));
    let elsewhere = cluster.submit(&RATED.replacen('{', r#"{"namespace":"other","#, 1));
    cluster.assign(wide, 0, 0, epoch).unwrap();
    assert_eq!(cluster.assign(strict, 0, 0, epoch), None);
    cluster.assign(elsewhere, 0, 0, epoch).unwrap();
    cluster.assign(wide, 0, 1, epoch).unwrap();
    cluster.assign(elsewhere, 0, 1, epoch).unwrap();
    assert_eq!(cluster.assign(wide, 0, 2, epoch), None);
}

/// Running attempts that want locks.
struct Lockers {
    cluster: Cluster,
    epoch: Epoch,
    keys: Vec<AttemptKey>,
}

impl Lockers {
    fn new(count: u32) -> Self {
        let (mut cluster, epoch) = cluster();
        let job = cluster.submit(&format!(
            r#"{{"tasks":[{{"name":"t","command":["x"],"count":{count},"retries":9,
            "resources":{{"cpu":0}}}}]}}"#
        ));
        let item = |index| Assignment {
            job,
            task: 0,
            index: TaskIndex(index),
            attempt: AttemptNumber(1),
            epoch,
            behind: None,
        };
        cluster.apply(Command::Assign { items: (0..count).map(item).collect() });
        let fence = cluster.state.index().0;
        let keys = (0..count).map(|index| crate::support::key(job.0, 0, index, 1, fence)).collect();
        Self { cluster, epoch, keys }
    }

    fn by(&self, nth: usize) -> Claimant {
        let AttemptKey { job, index, fence, .. } = self.keys[nth];
        Claimant { job, task: name("t"), index, fence }
    }

    fn acquire(&mut self, nth: usize, secs: u64) -> Outcome {
        let by = self.by(nth);
        self.cluster.apply(Command::AcquireLock { lock: name("l"), by, wait: Span::from_secs(secs) })
    }

    fn release(&mut self, nth: usize) -> Outcome {
        let by = self.by(nth);
        self.cluster.apply(Command::ReleaseLock { lock: name("l"), by })
    }

    fn end(&mut self, nth: usize, ending: Ending) {
        self.cluster.finish("w", self.epoch, self.keys[nth], ending);
    }

    fn lock(&self) -> Option<LockView> {
        self.cluster.state.lock(&LockKey { namespace: name("default"), name: name("l") })
    }

    fn holder(&self) -> Option<(u32, u64)> {
        self.lock().map(|lock| (lock.holder.element.index.0, lock.token))
    }

    fn place(&mut self, nth: usize, secs: u64) -> u64 {
        match self.acquire(nth, secs) {
            Outcome::LockWaits { place, .. } => place,
            other => panic!("{other:?}"),
        }
    }

    fn token(&mut self, nth: usize) -> u64 {
        match self.acquire(nth, 0) {
            Outcome::LockHeld { token } => token,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_lock_goes_from_one_to_the_next_in_line() {
    let mut all = Lockers::new(4);
    let first = all.token(0);
    assert_eq!(all.cluster.event_types(), ["lock.acquired"]);
    assert_eq!(all.token(0), first, "who asks twice has it once");
    assert_eq!([all.place(1, 60), all.place(2, 60), all.place(1, 60)], [1, 2, 1], "who asks again keeps his place");
    let taken = Rejection::LockTaken { lock: name("l"), job: JobId(1), task: name("t"), index: all.keys[0].index };
    assert_eq!(all.acquire(3, 0), Outcome::Rejected(taken));
    assert_eq!(all.release(3), Outcome::Rejected(Rejection::LockNotHeld(name("l"))));
    assert_eq!(all.release(0), Outcome::Done);
    assert_eq!(all.cluster.event_types(), ["lock.released", "lock.acquired"]);
    let (holder, second) = all.holder().unwrap();
    assert!(holder == 1 && second > first, "{second}");
    all.end(1, Ending::Exited(1));
    let (holder, third) = all.holder().unwrap();
    assert!(holder == 2 && third > second, "the end of an attempt gives back what it holds");
    assert_eq!(all.release(2), Outcome::Done);
    assert_eq!(all.lock(), None);
    assert!(all.token(3) > third, "tokens grow although nobody remembers the lock");
}

#[test]
fn who_is_no_live_attempt_gets_nothing() {
    let mut all = Lockers::new(2);
    let first = all.token(0);
    assert_eq!(all.place(1, 60), 1);
    let zombie = all.by(0);
    all.cluster.apply(Command::Expire { worker: name("w"), epoch: all.epoch });
    assert_eq!(all.lock(), None, "neither holders nor those in line survive their worker");
    let not_live = Rejection::NotLive { job: JobId(1), task: name("t"), index: zombie.index, fence: zombie.fence };
    assert_eq!(all.acquire(0, 60), Outcome::Rejected(not_live));
    all.epoch = match all.cluster.worker("w", 100, 2, None) {
        Outcome::Registered { epoch } => epoch,
        other => panic!("{other:?}"),
    };
    all.keys[0] = all.cluster.assign(JobId(1), 0, 0, all.epoch).unwrap();
    assert!(all.token(0) > first);
    for command in [
        Command::AcquireLock { lock: name("l"), by: zombie.clone(), wait: Span(0) },
        Command::ReleaseLock { lock: name("l"), by: zombie },
        Command::AcquireLock { lock: name("l"), by: Claimant { task: name("u"), ..all.by(0) }, wait: Span(0) },
    ] {
        assert!(matches!(refused(&mut all.cluster, command), Rejection::NotLive { .. }));
    }
    assert_eq!(all.holder().unwrap().0, 0);
}

#[test]
fn who_does_not_ask_again_leaves_the_line() {
    let mut all = Lockers::new(4);
    all.token(0);
    assert_eq!([all.place(1, 10), all.place(2, 30), all.place(3, 3_600)], [1, 2, 3]);
    all.cluster.pass(Span::from_secs(10));
    all.release(0);
    assert_eq!(all.holder().unwrap().0, 2, "the first one's time is over");
    all.cluster.pass(Span(LOCK_WAIT_MS_MAX - 10_000));
    all.release(2);
    assert_eq!(all.lock(), None, "nobody stays in line for longer than that");
}

#[test]
fn lines_and_locks_are_bounded() {
    let mut all = Lockers::new(LOCK_LINE_MAX as u32 + 2);
    all.token(0);
    let wait = |nth| Span::from_secs(if nth == 1 { 1 } else { 60 });
    let asks = (1..=LOCK_LINE_MAX).map(|nth| {
        let command = Command::AcquireLock { lock: name("l"), by: all.by(nth), wait: wait(nth) };
        Proposal { origin: None, command }
    });
    let entry = Entry { time: all.cluster.now, proposals: asks.collect() };
    assert_eq!(
        all.cluster.apply_entry(entry),
        Outcome::LockWaits { place: LOCK_LINE_MAX as u64, until: all.cluster.now.plus(wait(2)) }
    );
    let crowded = Rejection::LockCrowded(LOCK_LINE_MAX as u64, name("l"));
    assert_eq!(all.acquire(LOCK_LINE_MAX + 1, 60), Outcome::Rejected(crowded));
    all.cluster.pass(Span::from_secs(1));
    assert_eq!(all.place(LOCK_LINE_MAX + 1, 60), LOCK_LINE_MAX as u64, "those who left make room");
    let ask = |all: &Lockers, lock: Name| Command::AcquireLock { lock, by: all.by(0), wait: Span(0) };
    for nth in 1..LOCKS_PER_ATTEMPT_MAX {
        let command = ask(&all, name(&format!("l{nth}")));
        assert!(matches!(all.cluster.apply(command), Outcome::LockHeld { .. }));
    }
    let command = ask(&all, name("more"));
    assert_eq!(refused(&mut all.cluster, command), Rejection::TooManyLocksOfOne(LOCKS_PER_ATTEMPT_MAX as u64));
    all.end(0, Ending::Exited(0));
    assert_eq!(all.cluster.state.locks(None, None).count(), 1, "all but the one that somebody waited for");
}
