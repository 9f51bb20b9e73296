//! Agent and watchdog read whatever the other one's memory might hold.

use super::*;
use crate::fuzz::{Fuzz, Verdict, damage_frames};
use crate::table::tests::key;

fn orders() -> Vec<Order> {
    let spawn = Spawn {
        key: key(1),
        argv: vec!["sh".into(), "-c".into(), "true".into()],
        env: vec![("QUORATE_JOB".into(), "1".into()), ("EMPTY".into(), String::new())],
        working_dir: "/tmp".into(),
        stdin: Some("stdin".into()),
        stdout: "stdout".into(),
        stderr: "stderr".into(),
    };
    let registration = Registration {
        epoch: Epoch(7),
        name: Name::new("w1").unwrap(),
        servers: vec!["http://127.0.0.1:1".into()],
        token: Some("secret".into()),
    };
    vec![
        Order::Spawn(Box::new(spawn)),
        Order::Terminate { key: key(1), grace_ms: 10_000 },
        Order::Kill { key: key(2) },
        Order::KillAll { round: 3 },
        Order::Deadline(Boottime(1 << 40)),
        Order::Registration(Some(registration)),
        Order::Registration(None),
        Order::Ping { seq: 1 },
        Order::Shutdown,
    ]
}

fn events() -> Vec<Event> {
    vec![
        Event::Ready,
        Event::Spawned { key: key(1), pid: 4711 },
        Event::NotStarted { key: key(2), detail: "no such file".into() },
        Event::Exited { key: key(1), status: Status::Exited(-1), ordered: false, ran_ms: 1 << 33 },
        Event::Exited { key: key(1), status: Status::Signalled(9), ordered: true, ran_ms: 0 },
        Event::AllEnded { round: 3 },
        Event::Lapsed { deadline: Boottime(u64::MAX) },
        Event::Pong { seq: 1 },
    ]
}

fn encoded<T: Serialize>(messages: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    messages.iter().for_each(|message| encode(message, &mut bytes).unwrap());
    bytes
}

/// All messages of some bytes, and whether they were nothing but messages.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> (Vec<T>, bool) {
    let (mut inbox, mut messages) = (Inbox::default(), Vec::new());
    for piece in bytes.chunks(100) {
        inbox.push(piece);
        loop {
            match inbox.pop() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, false),
            }
        }
    }
    let all_used = inbox.consumed == inbox.bytes.len();
    (messages, all_used)
}

fn run<T>(target: &'static str, messages: &[T])
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let one_by_one = messages.iter().map(|message| encoded(std::slice::from_ref(message)));
    Fuzz::target(target).and(one_by_one).and([encoded(messages)]).run(damage_frames, |bytes| {
        let (messages, only_messages) = read::<T>(bytes);
        assert_eq!(read(&encoded(&messages)), (messages, true));
        Verdict::accepted_if(only_messages)
    });
}

#[test]
fn whatever_the_agent_sends_is_read_or_refused() {
    run("watchdog_orders", &orders());
}

#[test]
fn whatever_the_watchdog_sends_is_read_or_refused() {
    run("watchdog_events", &events());
}
