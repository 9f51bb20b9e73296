//! Ten times the load that the cluster can take, of three kinds: many clients with one job each, streams of jobs
//! without end, and large jobs.
//!
//! Clients and replicas share the machine, so what a cluster can take is measured in the same run, with the same
//! clients, just fewer of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::calm::{Calm, Honest, Manners, MemoryWatch, named};
use super::mib;
use super::wire::{BULK, Reply, Wire, chunk, request, submission};
use crate::support::load::{Accepted, lost};
use crate::support::turn;
use crate::support::{Cluster, note, sys};

/// Enough to keep the cluster busy, and few enough to be served at once.
const FEW: usize = 200;
const FEW_STREAMS: usize = 24;
const FEW_LARGE: usize = 16;
const TIMES: usize = 10;
/// Clients get going before anything is counted: a queue of large jobs is seconds long.
const RAMP: Duration = Duration::from_millis(700);
const RAMP_LARGE: Duration = Duration::from_millis(2500);
/// Of the flood; the two minutes of the promise are for whoever has them.
const SECONDS: &str = "QUORATE_OVERLOAD_SECONDS";
const SECONDS_DEFAULT: u64 = 12;
/// How much of the peak must remain: the promise, for a flood that lasts long enough to be measured.
const GOODPUT_MIN: f64 = 0.8;
/// In seconds next to other tests only a collapse can be told from the machine's other work.
const COLLAPSED: f64 = 0.35;
/// From here on a flood counts as measured.
const MEASURED_SECONDS: u64 = 60;
/// The machine may do other things while one of the two is measured, but hardly so often.
const ROUNDS: usize = 3;
/// Measuring the peak takes as long as a flood, but not more.
const PEAK_MAX: Duration = Duration::from_secs(3);
/// Jobs of streams stay; with more time they would fill the cluster up.
const STREAM_MAX: Duration = Duration::from_millis(1500);
/// A job of the size that fills queues by bytes.
const LARGE_BYTES: usize = 1 << 20;
/// Submissions in one piece of a stream.
const LINES_PER_CHUNK: u64 = 16;
/// Lines of a stream without an answer: more than a replica works on at once.
const LINES_AHEAD: u64 = 300;

#[derive(Debug, Default)]
struct Score {
    good: AtomicUsize,
    refused: Mutex<BTreeMap<String, usize>>,
    accepted: Mutex<Vec<Accepted>>,
    wrong: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Score {
    fn refuse(&self, code: &str) {
        *self.refused.lock().unwrap().entry(code.to_owned()).or_insert(0) += 1;
    }

    /// A line of an answer that is no success.
    fn refuse_line(&self, line: &str) {
        match ["overloaded", "no_leader", "outcome_unknown"]
            .iter()
            .find(|code| line.contains(&format!("\"code\":\"{code}\"")))
        {
            Some(code) if line.contains("\"retryable\":true") => self.refuse(code),
            Some(_) | None => self.wrong(line.to_owned()),
        }
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Submits one job after the other, without a pause, also after refusals. Most are taken away again at once, so
/// that the cluster does not fill up, which is another limit.
struct Client {
    address: String,
    prefix: String,
    filler: Arc<str>,
    /// Of so many jobs one stays.
    keep: u64,
    /// From one submission to the next, at least.
    every: Duration,
    score: Arc<Score>,
    wire: Option<Wire>,
}

impl Client {
    async fn run(mut self) {
        for n in 0_u64.. {
            if !self.score.goes_on() {
                return;
            }
            let started = Instant::now();
            let name = format!("{}-{n}", self.prefix);
            let request = match self.filler.is_empty() {
                true => named(&name),
                false => submission(&self.filler.replacen(PLACE, &name, 1)),
            };
            match self.ask(&request).await {
                Some(reply) if reply.status == 201 => {
                    self.score.good.fetch_add(1, Ordering::Relaxed);
                    let id = reply.id().unwrap();
                    match n % self.keep {
                        0 => self.score.accepted.lock().unwrap().push(Accepted { id, name }),
                        _ => self.take_away(id).await,
                    }
                }
                Some(reply) => self.score.wrong(reply.text()),
                None => {}
            }
            tokio::time::sleep(self.every.saturating_sub(started.elapsed())).await;
        }
    }

    async fn take_away(&mut self, id: u64) {
        for line in [format!("POST /v1/jobs/{id}/cancel"), format!("DELETE /v1/jobs/{id}")] {
            let request = request(&line, &[], b"");
            let mut asked = 0;
            let reply = loop {
                asked += 1;
                if let Some(reply) = self.ask(&request).await {
                    break reply;
                }
                tokio::time::sleep(self.every).await;
            };
            match reply.status {
                200 => {}
                // It may have been done by an earlier try whose outcome was unknown.
                404 | 409 if asked > 1 => {}
                _ => self.score.wrong(reply.text()),
            }
        }
    }

    /// The answer, unless it is a refusal in the agreed form.
    async fn ask(&mut self, request: &[u8]) -> Option<Reply> {
        let asked = async {
            let mut open = match self.wire.take() {
                Some(open) => open,
                None => Wire::open(&self.address).await?,
            };
            let reply = open.ask(request).await?;
            Ok::<_, std::io::Error>((open, reply))
        };
        let (open, reply) = match asked.await {
            Ok(answered) => answered,
            Err(error) => {
                self.score.wrong(format!("{}: {error}", self.prefix));
                return None;
            }
        };
        // A body that was refused unread ends its connection.
        self.wire = (!reply.head.contains("\r\nconnection: close")).then_some(open);
        if reply.is_refusal() {
            self.score.refuse(&format!("{} {}", reply.status, reply.code()));
            return None;
        }
        Some(reply)
    }
}

/// Where the name of a large job belongs, of which the rest is always the same.
const PLACE: &str = "NAME";

fn large(name: &str, filler: &str) -> String {
    let task = |n| json!({"name": format!("t{n}"), "command": ["true"], "stdin": filler});
    json!({"name": name, "tasks": [task(0), task(1), task(2), task(3)]}).to_string()
}

/// One submission of lines that ends only with the load.
async fn stream(address: String, prefix: String, score: Arc<Score>) {
    let mut connection = TcpStream::connect(&address).await.unwrap();
    let (reading, mut writing) = connection.split();
    let answered = AtomicU64::new(0);
    let write = async {
        writing.write_all(BULK).await?;
        let mut written = 0_u64;
        while score.goes_on() {
            // What would wait in the sockets would have to be served after the end.
            if written - answered.load(Ordering::Relaxed) > LINES_AHEAD {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            let line = |n| format!("{{\"name\":\"{prefix}-{n}\",\"command\":[\"true\"]}}\n");
            let lines: String = (written..written + LINES_PER_CHUNK).map(line).collect();
            written += LINES_PER_CHUNK;
            writing.write_all(&chunk(lines.as_bytes())).await?;
        }
        writing.write_all(b"0\r\n\r\n").await?;
        Ok::<u64, std::io::Error>(written)
    };
    let (written, ()) = tokio::join!(write, answers(reading, &prefix, &score, &answered));
    let answered = answered.into_inner();
    match written {
        Ok(written) if written == answered => {}
        Ok(written) => score.wrong(format!("{written} lines, {answered} answers")),
        Err(error) => score.wrong(format!("after {answered} answers: {error}")),
    }
}

/// Reads the answers, of which there is one for each line, in order.
async fn answers(mut reading: impl AsyncReadExt + Unpin, prefix: &str, score: &Score, answered: &AtomicU64) {
    let mut buffer = Vec::new();
    loop {
        let ended = buffer.ends_with(b"0\r\n\r\n");
        let mut taken = 0;
        while let Some(end) = buffer[taken..].iter().position(|byte| *byte == b'\n') {
            let line = &buffer[taken..taken + end];
            taken += end + 1;
            // The others are the heads of chunks and of the answer.
            if line.starts_with(b"{") {
                let line = std::str::from_utf8(line).unwrap();
                let name = format!("{prefix}-{}", answered.fetch_add(1, Ordering::Relaxed));
                match line.strip_prefix("{\"id\":").and_then(|rest| rest.split(',').next()?.parse().ok()) {
                    Some(id) => {
                        score.good.fetch_add(1, Ordering::Relaxed);
                        score.accepted.lock().unwrap().push(Accepted { id, name });
                    }
                    None => score.refuse_line(line),
                }
            }
        }
        buffer.drain(..taken);
        if ended || !matches!(reading.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Single,
    Stream,
    Large,
}

impl Kind {
    fn ramp(self) -> Duration {
        match self {
            Self::Single | Self::Stream => RAMP,
            Self::Large => RAMP_LARGE,
        }
    }

    fn few(self) -> usize {
        match self {
            Self::Single => FEW,
            Self::Stream => FEW_STREAMS,
            Self::Large => FEW_LARGE,
        }
    }
}

/// A measured stretch of load.
struct Stretch {
    per_second: f64,
    score: Arc<Score>,
}

/// Clients that together submit at most so often in a second.
async fn load(
    cluster: &Cluster,
    kind: Kind,
    (clients, rate_max): (usize, f64),
    lasts: Duration,
    prefix: &str,
) -> Stretch {
    let score = Arc::<Score>::default();
    let filler: Arc<str> = match kind {
        Kind::Large => large(PLACE, &"x".repeat(LARGE_BYTES / 4 - 100)).into(),
        Kind::Single | Kind::Stream => "".into(),
    };
    let every = Duration::from_secs_f64(clients as f64 / rate_max);
    let addresses: Vec<&String> = cluster.replicas.values().map(|replica| &replica.http).collect();
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (address, prefix) = (addresses[client % addresses.len()].clone(), format!("{prefix}-{client}"));
        match kind {
            Kind::Single | Kind::Large => {
                let (filler, keep) = (filler.clone(), if kind == Kind::Large { 40 } else { 10 });
                tasks.spawn(Client { address, prefix, filler, keep, every, score: score.clone(), wire: None }.run())
            }
            Kind::Stream => tasks.spawn(stream(address, prefix, score.clone())),
        };
    }
    tokio::time::sleep(kind.ramp()).await;
    let (started, before) = (Instant::now(), score.good.load(Ordering::Relaxed));
    tokio::time::sleep(lasts).await;
    let good = score.good.load(Ordering::Relaxed) - before;
    let per_second = good as f64 / started.elapsed().as_secs_f64();
    score.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    Stretch { per_second, score }
}

/// A busy worker, whose one task must not notice anything.
async fn cluster() -> (Cluster, u64) {
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker_with("w", crate::support::WorkerSetup { cpu: "1", ..Default::default() }).await;
    let sleeper =
        cluster.any().submit(&json!({"name": "sleeper", "priority": 100, "command": ["sleep", "1000"]})).await;
    cluster.any().task_is(sleeper, "main", 0, "running").await;
    (cluster, sleeper)
}

/// What came of one kind of load.
#[derive(Default)]
struct Drowned {
    accepted: Vec<Accepted>,
    refused: usize,
    /// How much of the peak remained.
    ratio: f64,
}

/// Peak and flood of one kind.
async fn drown(cluster: &Cluster, kind: Kind, round: usize, lasts: Duration) -> Drowned {
    let few = kind.few();
    let prefix = |of: &str| format!("{kind:?}-{of}-{round}");
    let peak = load(cluster, kind, (few, f64::INFINITY), lasts.min(PEAK_MAX), &prefix("peak")).await;
    assert!(peak.per_second > 0.0, "{kind:?}: nothing is done at all");
    let (memory, honest) = (MemoryWatch::start(cluster), Honest::start(cluster, Manners::MayBeRefused, ""));
    let offered = (few * TIMES, peak.per_second * TIMES as f64);
    let flood = load(cluster, kind, offered, lasts, &prefix("flood")).await;
    let (answered, most) = (honest.end().await, memory.end().await);
    let most: Vec<u64> = most.into_values().map(mib).collect();
    let ratio = flood.per_second / peak.per_second;
    let refused = flood.score.refused.lock().unwrap().clone();
    note(&format!(
        "{kind:?}: peak {:.0}/s, under {TIMES} times as much {:.0}/s ({ratio:.2}), refused {refused:?}, most memory {most:?} MiB; {}, {} refused",
        peak.per_second,
        flood.per_second,
        answered.summary(),
        answered.refused,
    ));
    let mut drowned = Drowned { ratio, refused: refused.values().sum(), ..Drowned::default() };
    for stretch in [peak, flood] {
        let wrong = stretch.score.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{kind:?}: {} wrong answers: {:#?}", wrong.len(), &wrong[..wrong.len().min(10)]);
        drowned.accepted.append(&mut stretch.score.accepted.lock().unwrap());
    }
    drowned
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_the_load_is_refused_in_part_and_the_rest_is_done() {
    let _turn = turn().await;
    sys::raise_open_files();
    let seconds = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS_DEFAULT);
    let (cluster, sleeper) = cluster().await;
    let calm = Calm::of(&cluster.any()).await;
    let wanted = if seconds >= MEASURED_SECONDS { GOODPUT_MIN } else { COLLAPSED };
    let (mut accepted, mut refused) = (Vec::new(), 0);
    // Streams come last: their jobs stay.
    for kind in [Kind::Single, Kind::Large, Kind::Stream] {
        let lasts = Duration::from_secs(seconds) / 3;
        let lasts = if kind == Kind::Stream { lasts.min(STREAM_MAX) } else { lasts };
        let mut ratios = Vec::new();
        while ratios.len() < ROUNDS && ratios.last().is_none_or(|ratio| *ratio < wanted) {
            let drowned = drown(&cluster, kind, ratios.len(), lasts).await;
            accepted.extend(drowned.accepted);
            refused += drowned.refused;
            ratios.push(drowned.ratio);
            assert_eq!(Calm::of(&cluster.any()).await, calm, "after {kind:?}");
        }
        assert!(ratios.last().is_some_and(|ratio| *ratio >= wanted), "{kind:?}: of the peak remained {ratios:?}");
    }
    assert!(refused > 0, "nothing was refused: that was no overload");
    let missing = lost(&cluster.any(), &accepted).await;
    assert!(missing.is_empty(), "{} of {} accepted jobs are lost: {missing:?}", missing.len(), accepted.len());
    let task = cluster.any().task(sleeper, "main", 0).await;
    assert_eq!((&task["state"], &task["attempt"]), (&json!("running"), &json!(1)), "{task}");
    cluster.finish();
}
