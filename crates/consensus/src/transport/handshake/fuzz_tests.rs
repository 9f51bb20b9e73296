//! What a stranger may say, to a replica that was dialled and to one that dials.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use super::super::wire::fuzz_tests::{connection, frame, runtime};
use super::*;
use crate::fatal::Fatal;
use crate::fuzz::{self, Fuzz, Rng, damage_frames};
use crate::machine::Published;
use crate::options::Limits;

const DIALLER: ReplicaId = ReplicaId(1);
const ACCEPTOR: ReplicaId = ReplicaId(2);
const CLUSTER: u64 = 9;
const STORAGE: u64 = 1 << 60;

pub(super) fn local(id: ReplicaId) -> Local {
    Local {
        id,
        network: Arc::new(crate::Tcp),
        storage: STORAGE,
        cluster: AtomicU64::new(CLUSTER),
        token: Some("secret".into()),
        published: Published::new(),
        fatal: Fatal::new(),
        limits: Limits::default(),
        estranged: Mutex::new(BTreeSet::new()),
        met: Mutex::default(),
    }
}

fn framed<T: Serialize>(message: &T) -> Vec<u8> {
    frame(&wire::encode(message).unwrap())
}

fn hello(purpose: Purpose) -> Vec<u8> {
    let token = Some("secret".into());
    let hello = Hello { cluster: CLUSTER, from: DIALLER, to: ACCEPTOR, storage: STORAGE, purpose, token };
    frame(&[&MAGIC[..], &PROTOCOL.to_le_bytes(), &wire::encode(&hello).unwrap()].concat())
}

/// What a dialler says.
fn visits() -> Vec<Vec<u8>> {
    let proceed = framed(&Verdict::Proceed);
    let purposes = [
        Purpose::Append,
        Purpose::Heartbeat,
        Purpose::Snapshot,
        Purpose::Vote,
        Purpose::Propose,
        Purpose::Call,
        Purpose::Vigil,
    ];
    purposes.map(|purpose| [hello(purpose), proceed.clone()].concat()).to_vec()
}

/// What the other one answers.
fn answers() -> Vec<Vec<u8>> {
    vec![
        framed(&Answer::Welcome { cluster: CLUSTER, storage: STORAGE }),
        framed(&Answer::Welcome { cluster: 0, storage: 0 }),
    ]
}

/// What ends a handshake.
fn refusals() -> Vec<Vec<u8>> {
    let refusals = [
        Refusal::Garbage,
        Refusal::Version(2),
        Refusal::Token,
        Refusal::Cluster(8),
        Refusal::Target(ReplicaId(3)),
        Refusal::OtherStorage,
        Refusal::Removed,
        Refusal::Busy,
    ];
    let refused = refusals.iter().map(|refusal| framed(&Answer::Refused(refusal.clone())));
    let verdicts = refusals.iter().map(|refusal| {
        let verdict = Verdict::Refused { refusal: refusal.clone(), cluster: CLUSTER };
        [hello(Purpose::Vote), framed(&verdict)].concat()
    });
    refused.chain(verdicts).collect()
}

async fn receives(bytes: &[u8]) -> bool {
    let (mut frames, _theirs) = connection(bytes).await;
    let visitor = receive(&local(ACCEPTOR), &mut frames).await;
    visitor.inspect(|visitor| assert_ne!(visitor.from, ACCEPTOR)).is_ok()
}

async fn greets(bytes: &[u8]) -> bool {
    let (mut frames, _theirs) = connection(bytes).await;
    greet(&local(DIALLER), &mut frames, ACCEPTOR, Purpose::Vote).await.is_ok()
}

#[test]
fn any_stranger_is_let_in_or_refused() {
    let runtime = runtime();
    let refusals = refusals();
    for refusal in &refusals {
        assert!(!runtime.block_on(receives(refusal)) && !runtime.block_on(greets(refusal)));
    }
    let mutate = |rng: &mut Rng, seeds: &[Vec<u8>]| {
        let seeds = if rng.one_in(4) { &refusals } else { seeds };
        damage_frames(rng, seeds)
    };
    Fuzz::target("handshake").and(visits()).and(answers()).run(mutate, |bytes| {
        let (received, greeted) = (runtime.block_on(receives(bytes)), runtime.block_on(greets(bytes)));
        fuzz::Verdict::accepted_if(received || greeted)
    });
}
