//! An operator who changes the membership: what is asked of the cluster goes through its API, again and again
//! and through any replica, until it is done.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use quorate_consensus::Start;
use quorate_types::ReplicaId;

use super::mail::Sender;
use super::{CLIENTS_HOST, World};
use crate::client::Send;
use crate::network::Host;
use crate::replica::{Answer, Fate, Place, Replica};

/// Longer than the cluster lets a new replica take to catch up before it says so.
const PATIENCE: Duration = Duration::from_secs(65);
/// Before the next try, and between two steps.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// One thing after the other.
pub(crate) struct Errand {
    steps: VecDeque<Step>,
    /// The request that is under way, and until when it is waited for.
    asked: Option<(u64, Duration)>,
    next: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A new replica with an empty disk starts; whoever was in its place is gone.
    Start {
        id: ReplicaId,
        host: Host,
    },
    Add {
        id: ReplicaId,
        host: Host,
    },
    Remove(ReplicaId),
    /// A replica that was removed stops by itself.
    AwaitEnd(ReplicaId),
}

impl World {
    /// How many replicas are lost for good, may turn out to be, or are being changed.
    pub(crate) fn at_risk(&self) -> usize {
        let damaged = self.replicas.values().filter(|replica| replica.fate == Fate::Stays && replica.disk.is_damaged());
        self.errands.len() + damaged.count()
    }

    /// How many the cluster can do without.
    pub(crate) fn spare(&self) -> usize {
        (self.founders as usize).saturating_sub(1) / 2
    }

    /// Whether there are more replicas than in the beginning.
    pub(crate) fn has_grown(&self) -> bool {
        self.replicas.len() > self.founders as usize
    }

    fn fresh_id(&mut self) -> ReplicaId {
        self.newest_id = ReplicaId(self.newest_id.0 + 1);
        self.newest_id
    }

    /// A replica's machine is gone for good; another one takes its place. Workers and clients know the place
    /// by its name, so the new replica is found where the old one was.
    pub(crate) fn replace(&mut self, old: ReplicaId) {
        let host = self.replica(old).host;
        self.replica(old).give_up();
        self.forget_joining(old);
        let id = self.fresh_id();
        let (start, add, remove) = (Step::Start { id, host }, Step::Add { id, host }, Step::Remove(old));
        let steps = match self.chance.below(3) {
            0 => [start, add, remove],
            1 => [remove, start, add],
            _ => [start, remove, add],
        };
        self.trace.line(format_args!("replica {old} is given up, replica {id} takes its place: {steps:?}"));
        self.go(&steps);
    }

    /// Nobody goes on adding a replica whose machine is gone.
    fn forget_joining(&mut self, gone: ReplicaId) {
        for errand in self.errands.values_mut() {
            let steps = errand.steps.len();
            errand.steps.retain(|step| !matches!(step, Step::Add { id, .. } if *id == gone));
            if errand.steps.len() < steps {
                errand.asked = None;
                errand.next = self.now;
            }
        }
        self.errands.retain(|_, errand| !errand.steps.is_empty());
    }

    pub(crate) fn grow(&mut self) {
        let taken: Vec<Host> = self.replicas.values().map(|replica| replica.host).collect();
        let host = (1..).find(|host| !taken.contains(host)).unwrap_or(Host::MAX);
        let id = self.fresh_id();
        self.trace.line(format_args!("replica {id} is to join at {host}"));
        self.go(&[Step::Start { id, host }, Step::Add { id, host }]);
    }

    pub(crate) fn shrink(&mut self, id: ReplicaId) {
        self.trace.line(format_args!("replica {id} is to leave"));
        self.replica(id).fate = Fate::Leaves;
        self.go(&[Step::Remove(id), Step::AwaitEnd(id)]);
    }

    fn go(&mut self, steps: &[Step]) {
        self.made_errands += 1;
        let next = self.now + self.chance.between(Duration::ZERO, PAUSE_MAX);
        self.errands.insert(self.made_errands, Errand { steps: steps.iter().copied().collect(), asked: None, next });
    }

    /// Does what is due.
    pub(super) fn operate(&mut self) {
        let due: Vec<u64> =
            self.errands.iter().filter(|(_, errand)| errand.next <= self.now).map(|(n, _)| *n).collect();
        for number in due {
            let Some(step) = self.errands.get(&number).and_then(|errand| errand.steps.front().copied()) else {
                continue;
            };
            let done = match step {
                Step::Start { id, host } => {
                    self.put_in_place(id, host);
                    true
                }
                Step::Add { id, host } => {
                    let at = Replica::addresses(host);
                    let body = serde_json::json!({"id": id.0, "http": at.http, "peer": at.peer}).to_string();
                    let request = Request::post("/v1/cluster/replicas").header("content-type", "application/json");
                    self.ask(number, request.body(Body::from(body)));
                    false
                }
                Step::Remove(id) => {
                    self.ask(number, Request::delete(format!("/v1/cluster/replicas/{id}")).body(Body::empty()));
                    false
                }
                Step::AwaitEnd(id) => self.has_ended(id),
            };
            if done {
                self.step_is_done(number);
            } else if let Some(errand) = self.errands.get_mut(&number) {
                errand.next = errand.asked.map_or(self.now, |(_, until)| until).max(self.now + PAUSE_MAX / 6);
            }
        }
    }

    fn put_in_place(&mut self, id: ReplicaId, host: Host) {
        self.replicas.retain(|_, replica| replica.host != host);
        let drift_ppm = super::drift(&mut self.chance);
        let place = Place { host, folder: self.folder.path(), network: self.network.clone(), drift_ppm };
        self.replicas.insert(id, Replica::new(id, self.setup.clone(), Start::Join, place));
        self.start(id);
    }

    /// Whether a replica that was removed has stopped by itself; then it is taken away.
    fn has_ended(&mut self, id: ReplicaId) -> bool {
        let ended = self.replicas.get(&id).is_none_or(|replica| replica.failure().is_some());
        if ended && let Some(mut replica) = self.replicas.remove(&id) {
            replica.kill();
        }
        ended
    }

    fn ask(&mut self, number: u64, request: Result<Request<Body>, axum::http::Error>) {
        let request = request.unwrap_or_else(|e| unreachable!("a request of plain parts: {e}"));
        let ids: Vec<ReplicaId> = self.replicas.keys().copied().collect();
        let (Some(errand), Some(to)) = (self.errands.get_mut(&number), self.chance.pick(&ids).copied()) else { return };
        self.mail.next_request += 1;
        let sent = self.mail.next_request;
        errand.asked = Some((sent, self.now + PATIENCE));
        self.mail.senders.insert(sent, Sender::Operator(number));
        self.send(CLIENTS_HOST, to, Send { request, number: sent });
        // Nobody is there to answer, as far as the operator can see.
        if !self.replicas.get(&to).is_some_and(Replica::is_well) {
            errand_at(self, number).asked = None;
        }
    }

    /// An answer to an operator.
    pub(super) fn on_operator_answer(&mut self, number: u64, request: u64, answer: &Answer) {
        let Some(errand) =
            self.errands.get_mut(&number).filter(|errand| errand.asked.is_some_and(|(n, _)| n == request))
        else {
            return;
        };
        errand.asked = None;
        // Whoever never became a member need not be removed.
        let is_none = answer.status == StatusCode::NOT_FOUND && matches!(errand.steps.front(), Some(Step::Remove(_)));
        if answer.status.is_success() || is_none {
            return self.step_is_done(number);
        }
        let pause = self.chance.between(Duration::ZERO, PAUSE_MAX);
        let detail = String::from_utf8_lossy(&answer.body).into_owned();
        self.trace.line(format_args!("the operator is told: {} {detail}", answer.status));
        errand_at(self, number).next = self.now + pause;
    }

    fn step_is_done(&mut self, number: u64) {
        let pause = self.chance.between(Duration::ZERO, PAUSE_MAX);
        let Some(errand) = self.errands.get_mut(&number) else { return };
        let done = errand.steps.pop_front();
        errand.next = self.now + pause;
        self.trace.line(format_args!("the operator has done {done:?}"));
        if errand.steps.is_empty() {
            self.errands.remove(&number);
            self.counts.changes += 1;
        }
    }
}

fn errand_at(world: &mut World, number: u64) -> &mut Errand {
    let errand = world.errands.get_mut(&number);
    errand.unwrap_or_else(|| unreachable!("errand {number} was looked up just now"))
}
