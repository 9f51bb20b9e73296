//! Clients that are too many, too slow, gone without a word, or that send what never ends. They are closed in the
//! documented time, cost a bounded amount of memory, and keep nobody waiting.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::calm::{Calm, Honest, Manners, MemoryWatch};
use super::mib;
use super::wire::{BULK, Wire, chunk, request};
use crate::support::http::raw;
use crate::support::namespaces::{TwoHosts, on_thread};
use crate::support::{Cluster, PATIENCE, Setup, note, skip, sys, wait_until};
use crate::support::{shared, turn};

/// Of docs/limits.md.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: usize = 32 << 20;
/// Deeper than any JSON that is read.
const DEEP_BYTES: usize = 4 << 20;
/// Streams whose lines never end: twice what there is room for.
const ENDLESS: usize = 16;
const ANSWERS_BYTES_MAX: u64 = 256 << 20;
const VANISHED_WITHIN: Duration = Duration::from_secs(45);
/// Beyond a documented time, on a machine that is busy with other things.
const SLACK: Duration = Duration::from_secs(8);
/// Nobody who is honest waits longer, whatever goes on; a machine that does other things besides included.
const HONEST_WITHIN: Duration = Duration::from_secs(4);

const IDLE: usize = 10_000;
/// What an idle connection may cost; docs/limits.md says about 10 KiB.
const IDLE_BYTES_MAX: u64 = 24 << 10;

/// The HTTP connections that a replica counts.
async fn connections(address: &str) -> Option<u64> {
    let answer = raw(address, b"GET /metrics HTTP/1.1\r\nHost: q\r\nConnection: close\r\n\r\n").await?;
    let text = answer.text();
    text.lines().find_map(|line| line.strip_prefix("quorate_http_connections ")?.trim().parse().ok())
}

/// Where the leader serves HTTP.
async fn leader_address(cluster: &Cluster) -> String {
    cluster.replicas[&cluster.leader().await].http.clone()
}

/// The end of a test: honest clients were served in time, and nothing has changed.
async fn unharmed(cluster: &Cluster, honest: Honest, calm: &Calm, during: &str) {
    let answered = honest.end().await;
    note(&format!("{during}: {}", answered.summary()));
    assert!(answered.slowest() < HONEST_WITHIN, "an honest request took {:?} during {during}", answered.slowest());
    assert_eq!(Calm::of(&cluster.any()).await, *calm, "after {during}");
}

async fn open_many(address: &str) -> Vec<Vec<Wire>> {
    let mut opening = JoinSet::new();
    for opener in 0..100 {
        let address = address.to_owned();
        opening.spawn(async move {
            let mut open = Vec::new();
            for n in 0..IDLE / 100 {
                let mut wire = Wire::open(&address).await.unwrap();
                // Some have asked for something before they fell silent.
                if n % 10 == 0 && opener % 2 == 0 {
                    assert_eq!(wire.ask(&request("GET /livez", &[], b"")).await.unwrap().status, 200);
                }
                open.push(wire);
            }
            open
        });
    }
    opening.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_cost_little_and_are_closed() {
    let _turn = turn().await;
    let files = sys::raise_open_files();
    if files < IDLE as u64 + 1_000 {
        return skip("ten_thousand_idle_connections_cost_little_and_are_closed", &format!("only {files} open files"));
    }
    let cluster = Cluster::of_three().await;
    cluster.settled().await;
    let (address, calm) = (leader_address(&cluster).await, Calm::of(&cluster.any()).await);
    let pid = cluster.replicas[&cluster.leader().await].process.pid();
    let before = sys::resident_bytes(pid).unwrap();
    let honest = Honest::start(&cluster, Manners::Served, "");
    let opening = Instant::now();
    let open = open_many(&address).await;
    assert!(opening.elapsed() < HEADER_TIMEOUT / 2, "opening took {:?}", opening.elapsed());
    let counted = connections(&address).await.expect("no such gauge");
    assert!(counted >= IDLE as u64, "{counted} connections are counted");
    let each = sys::resident_bytes(pid).unwrap().saturating_sub(before) / IDLE as u64;
    assert!(each < IDLE_BYTES_MAX, "an idle connection costs {each} bytes");
    let since = Instant::now();
    wait_until("the idle connections to be closed", HEADER_TIMEOUT + SLACK, || async {
        connections(&address).await.filter(|open| *open < 100)
    })
    .await;
    note(&format!("{IDLE} idle connections at {each} bytes each were closed after {:?}", since.elapsed()));
    drop(open);
    unharmed(&cluster, honest, &calm, "ten thousand idle connections").await;
    cluster.finish();
}

/// Sends a byte from time to time until the other side closes; how long that took, and what it said before.
async fn drip(address: String, head: Vec<u8>, every: Duration) -> (Duration, String) {
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let started = Instant::now();
    stream.write_all(&head).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let mut said = Vec::new();
    let dripping = async {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(every).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = dripping => {}
        // A reset is an end too.
        _ = timeout(PATIENCE * 3, reading.read_to_end(&mut said)) => {}
    }
    (started.elapsed(), String::from_utf8_lossy(&said).into_owned())
}

/// Asks for something, reads nothing of the answer for as long as it is told, and then what is left of it.
async fn read_late(address: String, request: Vec<u8>, after: Duration) -> Vec<u8> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    stream.write_all(&request).await.unwrap();
    tokio::time::sleep(after).await;
    let mut said = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await;
    said
}

/// Writes lines without end and reads no answer; how many bytes went, and how long until the other side closed.
async fn never_listen(address: String) -> (usize, Duration) {
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(BULK).await.unwrap();
    // Each is refused, so that only answers are made, and long ones.
    let lines = chunk("{\"command\":[]}\n".repeat(1000).as_bytes());
    let (mut written, started) = (0, Instant::now());
    loop {
        match timeout(PATIENCE * 3, stream.write(&lines[written % lines.len()..])).await.expect("never closed") {
            Ok(bytes) => written += bytes,
            Err(_) => return (written, started.elapsed()),
        }
    }
}

/// A submission of many lines by somebody honest who is in no hurry: each is answered as it comes.
async fn line_by_line(address: String, lines: usize, every: Duration) {
    let mut wire = Wire::open(&address).await.unwrap();
    wire.send(BULK).await.unwrap();
    let mut buffer = Vec::new();
    for n in 1..=lines {
        wire.send(&chunk(b"{\"command\":[\"true\"]}\n")).await.unwrap();
        while count(&buffer, "{\"id\":") < n {
            let read = timeout(HONEST_WITHIN, wire.stream.read_buf(&mut buffer)).await.expect("a line has no answer");
            assert!(read.unwrap() > 0, "closed after {n} lines");
        }
        tokio::time::sleep(every).await;
    }
}

fn count(bytes: &[u8], part: &str) -> usize {
    String::from_utf8_lossy(bytes).matches(part).count()
}

/// A job of nearly the largest size, and thousands of events.
async fn much_to_read(cluster: &Cluster) -> u64 {
    let task = |n| json!({"name": format!("t{n}"), "command": ["true"], "stdin": "x".repeat(250 << 10)});
    let large = json!({"name": "large", "tasks": (0..15).map(task).collect::<Vec<_>>()});
    let id = cluster.any().submit(&large).await;
    let lines = "{\"command\":[\"true\"]}\n".repeat(10_000);
    let headers = [("content-type", "application/x-ndjson")];
    cluster.any().send(reqwest::Method::POST, "/v1/jobs", &headers, lines.into()).await.unwrap().ok();
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slow_are_closed_in_time_and_keep_nobody_waiting() {
    const OF_EACH: usize = 100;
    let _shared = shared().await;
    sys::raise_open_files();
    let mut cluster = Cluster::of_three().await;
    cluster.settled().await;
    cluster.start_worker_with("w", crate::support::WorkerSetup { cpu: "0.1", ..Default::default() }).await;
    let id = much_to_read(&cluster).await;
    let (address, calm) = (leader_address(&cluster).await, Calm::of(&cluster.any()).await);
    let before = sys::resident_bytes(cluster.replicas[&cluster.leader().await].process.pid()).unwrap();
    let (memory, honest) = (MemoryWatch::start(&cluster), Honest::start(&cluster, Manners::Served, ""));
    let (second, late) = (Duration::from_secs(1), WRITE_TIMEOUT + SLACK);

    let (mut heads, mut bodies, mut lines) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    let (mut jobs, mut events, mut deaf) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    let honest_lines = tokio::spawn(line_by_line(address.clone(), 30, second));
    for n in 0..OF_EACH {
        heads.spawn(drip(address.clone(), b"GET /livez HTTP/1.1\r\nX-A: ".to_vec(), second / 4));
        // Together they announce more than there is room for.
        let head = format!("POST /v1/jobs HTTP/1.1\r\nHost: q\r\nContent-Length: {BODY_BYTES_MAX}\r\n\r\n");
        bodies.spawn(drip(address.clone(), head.into_bytes(), second));
        // Half of a line, and then nothing.
        let begun = [BULK, &chunk(b"{\"command\":[\"true\"]}\n{\"command\"")].concat();
        lines.spawn(drip(address.clone(), begun, PATIENCE * 10));
        jobs.spawn(read_late(address.clone(), request(&format!("GET /v1/jobs/{id}"), &[], b""), late));
        jobs.spawn(read_late(address.clone(), request(&format!("GET /v1/jobs/{id}"), &[], b""), late));
        events.spawn(read_late(address.clone(), request("GET /v1/events?from=1", &[], b""), late));
        if n % 10 == 0 {
            deaf.spawn(never_listen(address.clone()));
        }
    }
    for (took, said) in heads.join_all().await {
        assert!(took > HEADER_TIMEOUT - second && took < HEADER_TIMEOUT + SLACK, "a slow head, after {took:?}: {said}");
    }
    for (took, said) in bodies.join_all().await {
        assert!(took > BODY_TIMEOUT - second && took < BODY_TIMEOUT + SLACK, "after {took:?}: {said}");
        assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("\"invalid_json\""), "a slow body: {said}");
    }
    for (took, said) in lines.join_all().await {
        assert!(took < BODY_TIMEOUT + SLACK, "half a line was waited for during {took:?}");
        assert!(said.contains("{\"id\":") && said.contains("\"invalid_json\""), "half a line: {said}");
    }
    for (written, took) in deaf.join_all().await {
        // The kernels at both ends may make a little more room in between, and then the time begins again.
        assert!(took < WRITE_TIMEOUT * 2 + SLACK && written < 32 << 20, "who never listens sent {written} in {took:?}");
    }
    let answers = jobs.join_all().await;
    let refused = answers.iter().filter(|answer| answer.starts_with(b"HTTP/1.1 429 ")).count();
    let whole = answers.iter().filter(|answer| answer.len() >= 15 * (250 << 10)).count();
    assert_eq!(whole, 0, "large answers waited for clients that read nothing");
    assert!(refused > 0 && refused < answers.len(), "{refused} of {} large answers were refused", answers.len());
    for said in events.join_all().await {
        assert!(said.starts_with(b"HTTP/1.1 200 ") && count(&said, "job.submitted") < 10_000, "{} bytes", said.len());
    }
    honest_lines.await.unwrap();
    let most = *memory.end().await.values().max().unwrap();
    note(&format!(
        "slow clients: {refused} large answers refused, memory {} MiB, before {} MiB",
        mib(most),
        mib(before)
    ));
    // The answers, once more while they are made, and what comes with a hundred streams.
    assert!(most < before + ANSWERS_BYTES_MAX + (192 << 20), "{} MiB after {} MiB", mib(most), mib(before));
    unharmed(&cluster, honest, &calm, "slow clients").await;
    cluster.finish();
}

#[test]
fn the_places_of_vanished_clients_become_free() {
    let hosts = match TwoHosts::new() {
        Ok(hosts) => hosts,
        Err(why) => return skip("the_places_of_vanished_clients_become_free", &why),
    };
    let there = hosts.path_a();
    on_thread(move || sys::enter_network(&there), move || clients_vanish(hosts));
}

async fn clients_vanish(hosts: TwoHosts) {
    const OF_EACH: usize = 20;
    let _shared = shared().await;
    let setup = Setup { replicas: 1, host: "0.0.0.0".into(), ..Setup::default() };
    let cluster = Cluster::start(setup.with("insecure", "true")).await;
    let id = cluster.any().submit(&json!({"command": ["true"]})).await;
    let local = cluster.replicas[&1].http.clone();
    let remote = local.replace("0.0.0.0", crate::support::namespaces::ADDRESS_A);
    let asked = [
        "GET /v1/events HTTP/1.1\r\nHost: q\r\n\r\n".to_owned(),
        "GET /v1/events HTTP/1.1\r\nHost: q\r\nAccept: application/x-ndjson\r\n\r\n".to_owned(),
        format!("GET /v1/jobs/{id}?wait=300s HTTP/1.1\r\nHost: q\r\n\r\n"),
        "POST /v1/jobs HTTP/1.1\r\nHost: q\r\nContent-Length: 1000\r\n\r\n{".to_owned(),
    ];
    let expected = (asked.len() * OF_EACH) as u64;
    let there = hosts.path_b();
    // A socket belongs to the host on which it was made.
    let far = std::thread::spawn(move || {
        sys::enter_network(&there).unwrap();
        let open = |request: &String| {
            let mut stream = std::net::TcpStream::connect(&remote).unwrap();
            std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
            stream
        };
        asked.iter().flat_map(|request| std::iter::repeat_n(request, OF_EACH)).map(open).collect::<Vec<_>>()
    });
    let far = far.join().unwrap();
    wait_until("the far clients to be connected", PATIENCE, || async {
        connections(&local).await.filter(|open| *open > expected)
    })
    .await;
    hosts.cut();
    let since = Instant::now();
    wait_until("the places of the vanished to be free", VANISHED_WITHIN + SLACK, || async {
        connections(&local).await.filter(|open| *open < 5)
    })
    .await;
    note(&format!("{expected} vanished clients were noticed after {:?}", since.elapsed()));
    drop(far);
    cluster.finish();
}

/// Reads an answer of many pieces to its end.
async fn to_the_end(mut wire: Wire) -> String {
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n0\r\n\r\n") {
        match timeout(PATIENCE, wire.stream.read_buf(&mut said)).await.expect("an answer without end") {
            Ok(1..) => {}
            // A reset may overtake what was said before.
            Ok(0) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_or_too_deep_is_refused_and_fills_no_memory() {
    let _shared = shared().await;
    sys::raise_open_files();
    let cluster = Cluster::of_three().await;
    cluster.settled().await;
    let (address, calm) = (leader_address(&cluster).await, Calm::of(&cluster.any()).await);
    let before = sys::resident_bytes(cluster.replicas[&cluster.leader().await].process.pid()).unwrap();
    let (memory, honest) = (MemoryWatch::start(&cluster), Honest::start(&cluster, Manners::Served, ""));

    // Heads that only just are not too large: hundreds of them are held, until their time is over.
    let mut held = Vec::new();
    for _ in 0..500 {
        let mut wire = Wire::open(&address).await.unwrap();
        wire.send(format!("GET /livez HTTP/1.1\r\nX-A: {}", "x".repeat(79 << 10)).as_bytes()).await.unwrap();
        held.push(wire);
    }
    // Beyond that they are refused, not held.
    for _ in 0..20 {
        let mut wire = Wire::open(&address).await.unwrap();
        // It may close before it has taken all of it.
        let _ = wire.send(format!("GET /livez HTTP/1.1\r\nX-A: {}", "x".repeat(1 << 20)).as_bytes()).await;
        let reply = wire.answer().await;
        assert!(reply.as_ref().is_ok_and(|reply| reply.status == 431), "a huge head: {reply:?}");
    }
    // JSON as deep as it is long.
    for part in ["[", "{\"tasks\":[", "{\"a\":"] {
        let deep = part.repeat(DEEP_BYTES / part.len() - 1);
        for path in ["/v1/jobs", "/v1/jobs/1/retry", "/v1/cluster/replicas"] {
            let sent = request(&format!("POST {path}"), &["Content-Type: application/json"], deep.as_bytes());
            let reply = Wire::open(&address).await.unwrap().ask(&sent).await.unwrap();
            assert!(matches!(reply.status, 400 | 422), "{path}: {}", reply.text());
        }
        let mut wire = Wire::open(&address).await.unwrap();
        wire.send(&[BULK, &chunk(format!("{deep}\n{{\"command\":[\"true\"]}}\n").as_bytes()), b"0\r\n\r\n"].concat())
            .await
            .unwrap();
        let said = to_the_end(wire).await;
        assert!(said.contains("\"error\"") && said.contains("{\"id\":"), "a deep line, and one after it: {said}");
    }
    // Lines that never end: held as far as there is room for all, refused beyond.
    let mut endless = JoinSet::new();
    for _ in 0..ENDLESS {
        let address = address.clone();
        endless.spawn(async move {
            let mut wire = Wire::open(&address).await.unwrap();
            let mut sent = wire.send(BULK).await;
            for _ in 0..(BODY_BYTES_MAX >> 16) - 1 {
                sent = sent.and(wire.send(&chunk(&[b'x'; 1 << 16])).await);
            }
            (wire, sent.is_ok())
        });
    }
    let mut said = Vec::new();
    for (mut wire, _) in endless.join_all().await {
        for _ in 0..3 {
            // The rest of the line, unless it was refused already.
            let _ = wire.send(&chunk(&[b'x'; 1 << 16])).await;
        }
        said.push(to_the_end(wire).await);
    }
    let of = |code: &str| said.iter().filter(|said| said.contains(code)).count();
    let (large, overloaded) = (of("\"too_large\""), of("\"overloaded\""));
    assert!(large > 0 && large + overloaded <= said.len(), "{large} too large, {overloaded} overloaded");
    let most = *memory.end().await.values().max().unwrap();
    note(&format!(
        "long heads and lines: {large} too large, {overloaded} overloaded, {} not told; memory {} MiB, before {} MiB",
        said.len() - large - overloaded,
        mib(most),
        mib(before)
    ));
    assert!(most < before + (640 << 20), "{} MiB after {} MiB", mib(most), mib(before));
    drop(held);
    unharmed(&cluster, honest, &calm, "long heads and deep bodies").await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_without_the_token_take_no_room() {
    const STRANGERS: usize = 300;
    const EACH: usize = 20;
    let _shared = shared().await;
    sys::raise_open_files();
    let mut cluster = Cluster::prepare(Setup { replicas: 1, ..Setup::default() }.with("token", "correct"));
    cluster.start_all();
    let address = cluster.replicas[&1].http.clone();
    let asks = request("GET /v1/jobs?limit=1", &["Authorization: Bearer correct"], b"");
    wait_until("the replica to lead", PATIENCE, || async {
        let reply = async { Wire::open(&address).await?.ask(&asks).await }.await.ok()?;
        (reply.status == 200).then_some(())
    })
    .await;
    let before = sys::resident_bytes(cluster.replicas[&1].process.pid()).unwrap();
    let (memory, honest) =
        (MemoryWatch::start(&cluster), Honest::start(&cluster, Manners::Served, "Authorization: Bearer correct"));
    let mut strangers = JoinSet::new();
    for n in 0..STRANGERS {
        let address = address.clone();
        strangers.spawn(async move {
            for _ in 0..EACH {
                let mut wire = Wire::open(&address).await.unwrap();
                // A large body is announced, and the answer does not wait for it.
                let head = format!("POST /v1/jobs HTTP/1.1\r\nHost: q\r\nAuthorization: Bearer {n}\r\nContent-Length: {BODY_BYTES_MAX}\r\n\r\n");
                wire.send(head.as_bytes()).await.unwrap();
                let reply = timeout(PATIENCE, wire.answer()).await.expect("no answer").unwrap();
                assert_eq!((reply.status, reply.code()), (401, "unauthenticated"), "{}", reply.text());
            }
        });
    }
    strangers.join_all().await;
    let most = *memory.end().await.values().max().unwrap();
    let answered = honest.end().await;
    note(&format!(
        "{} requests without the token: {}; memory {} MiB, before {} MiB",
        STRANGERS * EACH,
        answered.summary(),
        mib(most),
        mib(before)
    ));
    assert!(answered.slowest() < HONEST_WITHIN);
    assert!(most < before + (64 << 20), "{} MiB after {} MiB", mib(most), mib(before));
    cluster.finish();
}
