//! What goes on the whole time: writers with idempotency keys, readers, and array jobs whose attempts keep journals.
//!
//! A writer repeats one submission through one replica after the other until it is accepted, so that every key
//! ends with exactly one known job.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::chaos::chance::Chance;
use crate::support::http::{Answer, id_of};
use crate::support::load::Accepted;
use crate::support::{Api, Journal, LOOK_EVERY, wait_until};

const WRITERS: usize = 5;
const READERS: usize = 2;
/// A writer rests after each write: the tasks of what it wrote have to run too, on the same two cores.
const REST: Duration = Duration::from_millis(50);
/// Between two array jobs.
const ARRAY_EVERY: Duration = Duration::from_millis(1500);
/// A client that waits no longer than this for a replica that is stopped, and asks the next one.
const CLIENT_PATIENCE: Duration = Duration::from_millis(600);
/// Every so many writes the same key is sent again, through another replica.
const REPEAT_EVERY: u64 = 5;
/// For every writer to learn the outcome of what it has begun, after a heal.
const CALM_WITHIN: Duration = Duration::from_secs(40);
/// What readers ask for: the newest few.
const RECENT: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Running,
    Paused,
}

/// What the clients saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) accepted: Vec<Accepted>,
    /// When each write was acknowledged.
    pub(crate) writes: Vec<Instant>,
    /// Jobs whose attempts keep journals.
    pub(crate) arrays: Vec<u64>,
    pub(crate) reads: usize,
    /// Submissions that were sent again after they had been accepted.
    pub(crate) repeats: usize,
    /// Answers and errors that a client had to try again after.
    pub(crate) retries: usize,
    pub(crate) violations: Vec<String>,
}

#[derive(Debug)]
struct Shared {
    replicas: Mutex<Vec<Api>>,
    wanted: watch::Sender<Wanted>,
    /// Clients in the middle of something.
    busy: AtomicUsize,
    seen: Mutex<Seen>,
    recent: Mutex<VecDeque<Accepted>>,
}

#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    // Its clients end with it.
    _clients: JoinSet<()>,
}

impl Load {
    pub(crate) fn start(replicas: Vec<Api>, journal: &Journal, chance: &mut Chance) -> Self {
        let shared = Arc::new(Shared {
            replicas: Mutex::new(replicas),
            wanted: watch::Sender::new(Wanted::Running),
            busy: AtomicUsize::new(0),
            seen: Mutex::default(),
            recent: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for number in 0..WRITERS {
            clients.spawn(Client::new(&shared, chance.number()).write(number));
        }
        for _ in 0..READERS {
            clients.spawn(Client::new(&shared, chance.number()).read());
        }
        clients.spawn(Client::new(&shared, chance.number()).arrays(journal.clone()));
        Self { shared, _clients: clients }
    }

    /// The replicas that clients talk to from now on.
    pub(crate) fn use_replicas(&self, replicas: Vec<Api>) {
        *self.shared.replicas.lock().unwrap() = replicas;
    }

    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.shared.seen.lock().unwrap())
    }

    /// One more job whose attempts keep journals.
    pub(crate) fn watch(&self, job: Accepted) {
        let mut seen = self.shared.seen.lock().unwrap();
        seen.arrays.push(job.id);
        seen.accepted.push(job);
    }

    /// Fails if a client saw what must never be.
    pub(crate) fn nothing_wrong(&self) {
        let violations = self.seen(|seen| seen.violations.clone());
        assert!(violations.is_empty(), "{violations:#?}");
    }

    /// Waits until the clients have done so much more.
    pub(crate) async fn goes_on(&self, writes: usize, patience: Duration) {
        let wanted = self.seen(|seen| seen.writes.len()) + writes;
        wait_until(&format!("{writes} writes"), patience, || async {
            self.nothing_wrong();
            self.seen(|seen| seen.writes.len() >= wanted).then_some(())
        })
        .await;
    }

    /// Waits until no client is in the middle of anything.
    pub(crate) async fn pause(&self) {
        self.shared.wanted.send_replace(Wanted::Paused);
        wait_until("the outcome of everything that clients began", CALM_WITHIN, || async {
            (self.shared.busy.load(Ordering::SeqCst) == 0).then_some(())
        })
        .await;
    }

    pub(crate) fn resume(&self) {
        self.shared.wanted.send_replace(Wanted::Running);
    }
}

impl Shared {
    fn remember(&self, job: Accepted) {
        let mut recent = self.recent.lock().unwrap();
        recent.push_back(job);
        let surplus = recent.len().saturating_sub(RECENT);
        recent.drain(..surplus);
    }

    /// Any of the newest jobs.
    fn recent(&self, chance: &mut Chance) -> Option<Accepted> {
        let recent = self.recent.lock().unwrap();
        (!recent.is_empty()).then(|| recent[chance.below(recent.len() as u64) as usize].clone())
    }
}

/// One client with connections of its own.
struct Client {
    shared: Arc<Shared>,
    http: reqwest::Client,
    chance: Chance,
    /// Whom it talks to until that fails.
    place: usize,
}

impl Client {
    fn new(shared: &Arc<Shared>, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let place = chance.below(16) as usize;
        Self { shared: shared.clone(), http: impatient_client(), chance, place }
    }

    fn replica(&self) -> Api {
        let replicas = self.shared.replicas.lock().unwrap();
        Api::new(replicas[self.place % replicas.len()].base.clone(), self.http.clone())
    }

    /// Counts itself as busy unless nothing is to be begun.
    async fn begin(&self) {
        let mut wanted = self.shared.wanted.subscribe();
        loop {
            // Busy first: whoever pauses and then sees nobody busy can be sure.
            self.shared.busy.fetch_add(1, Ordering::SeqCst);
            if *wanted.borrow_and_update() == Wanted::Running {
                return;
            }
            self.end();
            let _ = wanted.changed().await;
        }
    }

    fn end(&self) {
        self.shared.busy.fetch_sub(1, Ordering::SeqCst);
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.shared.seen.lock().unwrap());
    }

    /// Submits until it is accepted.
    async fn submit(&mut self, job: &Value, key: &str) -> u64 {
        loop {
            match self.replica().try_submit(job, Some(key)).await {
                Ok(answer) if answer.is_success() => return id_of(&answer),
                Ok(answer) if !matches!(answer.status, 429 | 503) => {
                    self.note(|seen| seen.violations.push(refusal(key, &answer)));
                }
                Ok(_) | Err(_) => {}
            }
            self.note(|seen| seen.retries += 1);
            self.place += 1;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn write(mut self, number: usize) {
        for n in 0_u64.. {
            self.begin().await;
            let name = format!("write-{number}-{n}");
            let job = quick(&name);
            let id = self.submit(&job, &name).await;
            let accepted = Accepted { id, name };
            self.note(|seen| {
                seen.writes.push(Instant::now());
                seen.accepted.push(accepted.clone());
            });
            self.shared.remember(accepted.clone());
            if n % REPEAT_EVERY == 0 {
                self.repeat(&job, &accepted).await;
            }
            self.end();
            tokio::time::sleep(REST).await;
        }
    }

    /// The same key through another replica: the same job.
    async fn repeat(&mut self, job: &Value, first: &Accepted) {
        self.place += 1;
        let answer = self.replica().try_submit(job, Some(&first.name)).await;
        self.place -= 1;
        let Ok(answer) = answer else { return };
        if answer.is_success() {
            self.note(|seen| {
                seen.repeats += 1;
                if id_of(&answer) != first.id {
                    seen.violations.push(format!("one key, two jobs: {first:?} and {}", answer.text()));
                }
            });
        }
    }

    /// Whoever asks for a job after it was accepted must be shown it, by any replica.
    async fn read(mut self) {
        loop {
            self.begin().await;
            if let Some(job) = self.shared.recent(&mut self.chance) {
                self.place = self.chance.below(16) as usize;
                if let Some(answer) = self.replica().try_get(&format!("/v1/jobs/{}", job.id)).await {
                    self.note(|seen| seen.check_read(&job, &answer));
                }
            }
            self.end();
            tokio::time::sleep(REST).await;
        }
    }

    async fn arrays(mut self, journal: Journal) {
        for n in 0_u64.. {
            self.begin().await;
            let mut then = journal.task("then", 2, Duration::from_millis(300));
            then["needs"] = json!(["first"]);
            let first = journal.task("first", 3, Duration::from_millis(600));
            let name = format!("array-{n}");
            let job = json!({"name": name, "priority": 90, "tasks": [first, then]});
            let id = self.submit(&job, &name).await;
            self.note(|seen| {
                seen.arrays.push(id);
                seen.accepted.push(Accepted { id, name });
            });
            self.end();
            tokio::time::sleep(ARRAY_EVERY).await;
        }
    }
}

impl Seen {
    fn check_read(&mut self, job: &Accepted, answer: &Answer) {
        match answer.status {
            200 if answer.json()["name"] == job.name.as_str() => self.reads += 1,
            429 | 503 => self.retries += 1,
            status => self.violations.push(format!("{job:?} was accepted, and then: {status} {}", answer.text())),
        }
    }
}

/// A job of which the workers can run many at once.
pub(crate) fn quick(name: &str) -> Value {
    let task = json!({"name": "main", "command": ["true"], "resources": {"cpu": 0.1}});
    json!({"name": name, "tasks": [task]})
}

fn refusal(key: &str, answer: &Answer) -> String {
    format!("{key} was refused: {} {}", answer.status, answer.text())
}

/// For asking replicas of which some may be dead, stopped or cut off.
pub(crate) fn impatient_client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().tcp_nodelay(true);
    builder.connect_timeout(CLIENT_PATIENCE).timeout(CLIENT_PATIENCE).build().unwrap()
}
