//! The event streams of all replicas, followed while everything else goes on, and what must hold about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::chaos::load::impatient_client;
use crate::support::events::{Event, check_order};
use crate::support::http::Answer;
use crate::support::{Api, PATIENCE, wait_until};

const LOOK_EVERY: Duration = Duration::from_millis(300);

/// What one replica has told.
#[derive(Clone, Debug)]
struct Told {
    events: Vec<Event>,
    /// The index from which it is asked next.
    next: u64,
    /// What it had forgotten when it was asked, first and last index: it had started from a snapshot.
    gone: Vec<(u64, u64)>,
}

impl Default for Told {
    fn default() -> Self {
        Self { events: Vec::new(), next: 1, gone: Vec::new() }
    }
}

impl Told {
    fn take(&mut self, answer: &Answer) {
        match answer.status {
            200 => {
                self.events.extend(answer.text().lines().map(Event::parse));
                self.next = self.next.max(answer.index() + 1);
            }
            410 => {
                let detail = answer.json()["detail"].to_string();
                let first = detail.split("before index ").nth(1).and_then(|rest| rest.split(' ').next());
                let first: u64 = first.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{detail}"));
                assert!(first > self.next, "410 for events from {} on: {detail}", self.next);
                self.gone.push((self.next, first - 1));
                self.next = first;
            }
            _ => {}
        }
    }

    fn knows(&self, index: u64) -> bool {
        index < self.next && !self.gone.iter().any(|(first, last)| (*first..=*last).contains(&index))
    }
}

type All = Arc<Mutex<BTreeMap<u64, Told>>>;

#[derive(Debug)]
pub(crate) struct Streams {
    told: All,
    // Ends with it.
    readers: JoinSet<()>,
    followed: BTreeSet<u64>,
}

impl Streams {
    pub(crate) fn new() -> Self {
        Self { told: All::default(), readers: JoinSet::new(), followed: BTreeSet::new() }
    }

    /// Follows a replica's stream, through its deaths too.
    pub(crate) fn follow(&mut self, id: u64, replica: &Api) {
        if self.followed.insert(id) {
            self.readers.spawn(follow(self.told.clone(), id, Api::new(replica.base.clone(), impatient_client())));
        }
    }

    /// Checks the streams of these replicas, which have applied everything up to `index`, and returns the one that
    /// they are, with how many looks were answered by "gone".
    pub(crate) async fn agree(&self, replicas: &[u64], index: u64) -> (Vec<Event>, usize) {
        wait_until(&format!("the events up to {index} of replicas {replicas:?}"), PATIENCE, || async {
            let told = self.told.lock().unwrap();
            replicas.iter().all(|id| told.get(id).is_some_and(|told| told.next > index)).then_some(())
        })
        .await;
        let told = self.told.lock().unwrap().clone();
        for (id, told) in &told {
            check_order(*id, &told.events, told.next);
        }
        for (second, other) in &told {
            for (first, one) in told.range(..second) {
                same((*first, one), (*second, other));
            }
        }
        let all = told.values().flat_map(|told| told.events.iter().map(|event| (event.at, event.clone())));
        let all: BTreeMap<(u64, u64), Event> = all.collect();
        (all.into_values().collect(), told.values().map(|told| told.gone.len()).sum())
    }
}

async fn follow(told: All, id: u64, api: Api) {
    loop {
        let from = told.lock().unwrap().entry(id).or_default().next;
        let accept = [("accept", "application/x-ndjson")];
        let path = format!("/v1/events?from={from}&until=now");
        if let Ok(answer) = api.send(reqwest::Method::GET, &path, &accept, Vec::new()).await {
            told.lock().unwrap().entry(id).or_default().take(&answer);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What both know must be the same.
fn same((first, one): (u64, &Told), (second, other): (u64, &Told)) {
    let known = |told: &Told, by: &Told| -> Vec<Event> {
        told.events.iter().filter(|event| by.knows(event.at.0)).cloned().collect()
    };
    let (ours, theirs) = (known(one, other), known(other, one));
    for (mine, its) in ours.iter().zip(&theirs) {
        assert_eq!(mine.raw, its.raw, "replicas {first} and {second} tell different things");
    }
    assert_eq!(ours.len(), theirs.len(), "replicas {first} and {second} tell more and less");
}

/// Checkers are tests too: this one must find what it is there for.
mod the_stream_checker {
    use std::panic::{UnwindSafe, catch_unwind};

    use serde_json::json;

    use super::{Answer, Told, same};

    fn told(indexes: &[u64], now: u64) -> Told {
        let line = |index: &u64| json!({"cursor": format!("{index}.0"), "time": "", "type": "job.running"}).to_string();
        let body = indexes.iter().map(line).collect::<Vec<_>>().join("\n").into_bytes();
        let mut told = Told::default();
        told.take(&Answer { status: 200, headers: [("quorate-index".to_owned(), now.to_string())].into(), body });
        told
    }

    fn started_from(floor: u64, mut rest: Told) -> Told {
        let detail = format!("events before index {} are no longer known here", floor + 1);
        let body = json!({"detail": detail}).to_string().into_bytes();
        let mut told = Told::default();
        told.take(&Answer { status: 410, headers: Default::default(), body });
        told.events.append(&mut rest.events);
        told.next = rest.next;
        told
    }

    fn complaint(check: impl FnOnce() + UnwindSafe) -> String {
        let panic = catch_unwind(check).expect_err("the checker saw nothing");
        panic.downcast_ref::<String>().unwrap().clone()
    }

    #[test]
    fn finds_what_is_missing_and_what_differs() {
        let whole = told(&[1, 3, 4], 5);
        same((1, &whole), (2, &told(&[1, 3, 4], 9)));
        same((1, &whole), (2, &told(&[1, 3], 3)));
        same((1, &whole), (2, &started_from(3, told(&[4], 5))));
        assert!(complaint(|| same((1, &told(&[1, 3, 4], 5)), (2, &told(&[1, 3], 5)))).contains("more and less"));
        assert!(complaint(|| same((1, &told(&[1, 3, 4], 5)), (2, &told(&[1, 2, 4], 5)))).contains("different"));
        let early = started_from(2, told(&[4], 5));
        assert!(complaint(move || same((1, &told(&[1, 3, 4], 5)), (2, &early))).contains("different"));
    }
}
