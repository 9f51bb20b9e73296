//! Who has no business here is told so and shown the door; the cluster does not notice.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod harness;

use std::net::SocketAddr;
use std::time::Duration;

use harness::{Cluster, Replica, submit};
use quorate_consensus::{Limits, Start};
use quorate_types::ReplicaId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends bytes and reads until the other side closes.
async fn send(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The other side may close before it has read all of it.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), read).await.expect("the connection stays open");
    answer
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&u32::try_from(payload.len()).unwrap().to_be_bytes()[..], payload].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_refused_with_a_reason() {
    let cluster = Cluster::start(3).await;
    cluster.leader().await;
    let address = cluster.replicas[0].address;
    let http = b"GET / HTTP/1.1\r\nHost: quorate\r\n\r\n";
    // cluster 0, from 2, to 1, storage 0, purpose 0, and a token of 2^62 bytes.
    let claim = [&b"QRTE\x02\x00\x00\x02\x01\x00\x00\x01\xfd"[..], &(1_u64 << 62).to_le_bytes()].concat();
    let refused: [&[u8]; 7] = [
        http,
        &frame(b""),
        &frame(b"QRTE"),
        &frame(b"what is this?"),
        &frame(b"QRTE\x02\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        &frame(&claim),
        &frame(b"QRTE\x63\x00anything of a later version"),
    ];
    for bytes in refused {
        let answer = send(address, bytes).await;
        assert!(answer.len() > 4, "no reason was given for {bytes:?}");
    }
    // Silence, and a frame that never ends, cost nothing but a little time.
    send(address, b"").await;
    send(address, &[0, 0, 1, 0, b'Q']).await;
    cluster.handle(0).propose(submit(10)).await.unwrap();
    cluster.shutdown().await;
}

/// More silent connections than there are places of any kind, and still whoever comes is attended to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_silent_keep_nobody_out() {
    let limits = Limits { peer_connections: 40, ..Limits::default() };
    let cluster = Cluster::start_with(1, limits).await;
    let address = cluster.replicas[0].address;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(address).await.unwrap());
        if silent.len() % 50 == 0 {
            let answer = send(address, &frame(b"who is there?")).await;
            assert!(answer.len() > 4, "with {} silent connections nobody gets in", silent.len());
        }
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_token_nobody_gets_in() {
    let mut cluster = Cluster::start(3).await;
    cluster.converge().await;
    let at = cluster.follower().await;
    cluster.replicas[at].shutdown().await;
    let (id, limits) = (cluster.replicas[at].id, cluster.limits);
    for token in [None, Some("wrong".to_owned())] {
        cluster.replicas[at].start(Start::Join, limits, token.clone()).await.unwrap();
        let stranger = cluster.handle(at);
        let others = cluster.handle(cluster.leader().await).clone();
        let committed = others.propose(submit(10)).await.unwrap();
        // One without a token of its own lets the others in, but they do not let it in.
        if token.is_some() {
            let waited = stranger.wait_applied(committed.index, Duration::from_millis(1500)).await;
            assert!(waited.is_err(), "{id} with a wrong token got entries");
        }
        let proposed = tokio::time::timeout(Duration::from_secs(2), stranger.propose(submit(10))).await;
        assert!(!matches!(proposed, Ok(Ok(_))), "{proposed:?} with the token {token:?}");
        cluster.replicas[at].shutdown().await;
    }
    cluster.restart(at).await;
    cluster.converge().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_another_cluster_is_not_taken_in() {
    let mut other = Cluster::start(1).await;
    other.handle(0).propose(submit(10)).await.unwrap();
    harness::eventually("the cluster has a name", || other.handle(0).version().state.cluster_id() != 0).await;
    other.replicas[0].shutdown().await;

    let limits = Limits { catch_up_wait: Duration::from_millis(1500), ..Limits::default() };
    let mut cluster = Cluster::start_with(3, limits).await;
    cluster.converge().await;
    let mut stray = Replica::new(1);
    let mut options = stray.options(Start::Join, limits, Some("secret".into()));
    options.dir = other.replicas[0].path();
    let stray_handle = quorate_consensus::start(options).await.unwrap();
    // Its id is 1 there; here it is asked for as 4: neither the id nor the cluster fits.
    let leader = cluster.leader().await;
    let added = cluster.handle(leader).add_replica(ReplicaId(4), harness::addresses(stray.address)).await;
    assert!(added.is_err(), "{added:?}");
    assert_eq!(stray_handle.version().state.jobs().count(), 1, "it keeps what it had");
    cluster.handle(leader).remove_replica(ReplicaId(4)).await.unwrap();
    stray_handle.shutdown().await;
    for replica in &mut cluster.replicas {
        replica.shutdown().await;
    }
}
