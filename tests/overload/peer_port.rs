//! Strangers at the peer port: each is told off in one line of the log and closed, and the cluster goes on.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::calm::{Calm, Honest, Manners};
use crate::support::shared;
use crate::support::{Cluster, PATIENCE, Setup, note, wait_until};

const TOKEN: &str = "the peers' own";
/// What is logged of a stranger.
const REFUSED: &str = "a peer connection was refused";
const EVICTED: &str = "too many connections without a handshake";
/// The reasons, as they are logged.
const GARBAGE: &str = "that is not Quorate's peer protocol";
const SILENT: &str = "the peer was silent";
/// A crowd several times as large as there are places for handshakes.
const CROWD: usize = 400;

/// Length-delimited, as everything on the peer port.
fn frame(payload: &[u8]) -> Vec<u8> {
    [&u32::try_from(payload.len()).unwrap().to_be_bytes()[..], payload].concat()
}

/// What a replica says first. Numbers up to 250 are one byte; larger ones are marked.
struct Hello {
    version: u16,
    cluster: u64,
    from: u8,
    to: u8,
    token: Option<&'static str>,
}

impl Hello {
    fn to(id: u64) -> Self {
        Self { version: 9, cluster: 0, from: 9, to: u8::try_from(id).unwrap(), token: Some(TOKEN) }
    }

    fn payload(&self) -> Vec<u8> {
        let mut bytes = [b"QRTE", &self.version.to_le_bytes()[..]].concat();
        match self.cluster {
            0 => bytes.push(0),
            cluster => bytes.extend([&[253][..], &cluster.to_le_bytes()].concat()),
        }
        // From, to, the number of the data folder, and appending as the purpose.
        bytes.extend([self.from, self.to, 7, 0]);
        match self.token {
            None => bytes.push(0),
            Some(token) => bytes.extend([&[1, u8::try_from(token.len()).unwrap()], token.as_bytes()].concat()),
        }
        bytes
    }

    fn frame(&self) -> Vec<u8> {
        frame(&self.payload())
    }
}

/// What strangers send to a replica, and what is then logged.
fn strangers(id: u64) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let hello = || Hello::to(id);
    let whole = hello().payload();
    vec![
        ("noise", (0..600).map(|n| (n * 73 % 251 + 1) as u8).collect(), GARBAGE),
        ("HTTP", b"GET /v1/cluster HTTP/1.1\r\nHost: quorate\r\n\r\n".to_vec(), GARBAGE),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), GARBAGE),
        ("an empty frame", frame(b""), GARBAGE),
        ("another magic", frame(b"RAFT\x01\x00\x00\x09\x01\x07\x00\x00"), GARBAGE),
        ("a cut hello", frame(&whole[..8]), GARBAGE),
        (
            "a token of a claimed length",
            frame(&[&whole[..10], b"\x01\xfd\xff\xff\xff\xff\xff\xff\xff\x3f"].concat()),
            GARBAGE,
        ),
        ("an old version", Hello { version: 0, ..hello() }.frame(), "the peer protocol here has version 9"),
        ("a new version", frame(b"QRTE\x63\x00whatever it may be"), "the peer protocol here has version 9"),
        ("another cluster", Hello { cluster: 0x1234_5678_9abc, ..hello() }.frame(), "this is cluster "),
        ("for somebody else", Hello { to: 77, ..hello() }.frame(), "this is replica "),
        ("itself", Hello { from: u8::try_from(id).unwrap(), ..hello() }.frame(), "this is replica "),
        ("a wrong token", Hello { token: Some("guessed"), ..hello() }.frame(), "the peer token is wrong"),
        ("no token", Hello { token: None, ..hello() }.frame(), "the peer token is wrong"),
        (
            "an unknown folder",
            Hello { from: u8::try_from(id % 3 + 1).unwrap(), ..hello() }.frame(),
            "known with another data folder",
        ),
        ("silence", Vec::new(), SILENT),
        ("half a length", vec![0, 0], SILENT),
        ("half a hello", hello().frame()[..12].to_vec(), SILENT),
        ("a welcome without an answer", hello().frame(), SILENT),
    ]
}

/// Sends this, and waits until the other side closes. The own port, by which the log names this connection.
async fn visit(address: &str, bytes: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let port = stream.local_addr().unwrap().port();
    // It may close before it has read all of it.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let closed = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(closed.is_ok(), "a stranger's connection stays open after {:?}", &bytes[..bytes.len().min(40)]);
    assert!(answer.len() < 100, "a stranger is told much: {answer:?}");
    port
}

/// The lines in which a replica's log names this connection.
fn lines_about(log: &str, port: u16) -> Vec<&str> {
    let named = [format!("127.0.0.1:{port} "), format!("127.0.0.1:{port}\"")];
    log.lines().filter(|line| named.iter().any(|name| line.contains(name)) && line.contains("connection")).collect()
}

async fn cluster() -> Cluster {
    let cluster = Cluster::start(Setup::default().with("peer_token", TOKEN)).await;
    cluster.settled().await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stranger_gets_a_line_in_the_log_and_is_closed() {
    let _shared = shared().await;
    let cluster = cluster().await;
    let (calm, honest) = (Calm::of(&cluster.any()).await, Honest::start(&cluster, Manners::Served, ""));
    let mut visits = JoinSet::new();
    for (id, replica) in &cluster.replicas {
        for (what, bytes, reason) in strangers(*id) {
            let (id, address) = (*id, replica.peer.clone());
            visits.spawn(async move { (id, what, visit(&address, &bytes).await, reason) });
        }
    }
    for (id, what, port, reason) in visits.join_all().await {
        let process = &cluster.replicas[&id].process;
        wait_until(&format!("replica {id} to log {what}"), PATIENCE, || async {
            (!lines_about(&process.log_text(), port).is_empty()).then_some(())
        })
        .await;
        let log = process.log_text();
        let lines = lines_about(&log, port);
        let right = lines.len() == 1 && lines[0].contains(REFUSED) && lines[0].contains(reason);
        assert!(right, "{what}, of which the log should say once {reason:?}: {lines:#?}");
    }
    note(&honest.end().await.summary());
    assert_eq!(Calm::of(&cluster.any()).await, calm);
    cluster.digests_agree().await;
    cluster.finish();
}

/// Whoever gets past the handshake and then talks nonsense is closed too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_after_the_handshake_is_closed() {
    let _shared = shared().await;
    let cluster = cluster().await;
    let calm = Calm::of(&cluster.any()).await;
    let nonsense = [vec![], vec![0xff; 900], b"SELECT 1".to_vec(), vec![0; 70_000]];
    for (id, replica) in &cluster.replicas {
        for purpose in 0..6 {
            for bytes in &nonsense {
                let mut payload = Hello::to(*id).payload();
                payload[9] = purpose;
                // The verdict on the welcome is to proceed.
                let whole = [frame(&payload), frame(&[0]), frame(bytes)].concat();
                let mut stream = TcpStream::connect(&replica.peer).await.unwrap();
                stream.write_all(&whole).await.unwrap();
                let mut welcome = [0; 5];
                stream.read_exact(&mut welcome).await.unwrap();
                assert_eq!(welcome[4], 0, "not welcome: {welcome:?}");
                let mut rest = Vec::new();
                let _ = stream.shutdown().await;
                timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("nonsense is not closed").unwrap_or(0);
            }
        }
    }
    assert_eq!(Calm::of(&cluster.any()).await, calm);
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_the_peer_port_keeps_no_member_out() {
    let _shared = shared().await;
    let mut cluster = cluster().await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let (calm, honest) = (Calm::of(&cluster.any()).await, Honest::start(&cluster, Manners::Served, ""));
    let before = cluster.replicas[&leader].process.log_text().len();
    let mut visits = JoinSet::new();
    for n in 0..CROWD {
        let address = cluster.replicas[&leader].peer.clone();
        let (_, bytes, _) = strangers(leader).swap_remove(n % strangers(leader).len());
        visits.spawn(async move { visit(&address, &bytes).await });
    }
    visits.join_all().await;
    note(&format!("a crowd of {CROWD}: {}", honest.end().await.summary()));
    let said = || async {
        let log = cluster.replicas[&leader].process.log_since(before);
        let lines = log.lines().filter(|line| line.contains(REFUSED) || line.contains(EVICTED)).count();
        (lines >= CROWD).then_some(lines)
    };
    let lines = wait_until("a line about each of the crowd", PATIENCE, said).await;
    assert!(lines <= CROWD + 5, "{lines} lines about {CROWD} strangers");
    assert_eq!(Calm::of(&cluster.any()).await, calm);

    // A member that comes back while a silent crowd holds every place is let in.
    let address = cluster.replicas[&leader].peer.clone();
    let mut silent = Vec::new();
    for _ in 0..CROWD {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    cluster.kill(follower);
    timeout(Duration::from_secs(20), cluster.restart(follower)).await.expect("a member is kept out");
    drop(silent);
    cluster.digests_agree().await;
    cluster.finish();
}
