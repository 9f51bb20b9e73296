//! The client against scripted replicas: moving on, repeating safely, going on with streams.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fake;

use std::time::Duration;

use fake::{Fake, Step, dead_url, ok, problem};
use quorate_client::{Client, Error, EventFilter, LineOutcome, LogFilter, LogPiece, Options, TaskAddress};
use quorate_types::session::Stream;
use quorate_types::{Code, JobId, LogIndex, Name, TaskIndex};

const SUBMITTED: &str = r#"{"id":17,"index":4031,"state":"pending"}"#;

fn options() -> Options {
    let unreachable_patience = Duration::from_millis(200);
    Options { patience: Duration::from_secs(5), unreachable_patience, ..Options::default() }
}

fn client(servers: &[&str]) -> Client {
    Client::with_options(servers, Some("secret"), options()).unwrap()
}

fn job_json(state: &str) -> String {
    let counts = r#"{"total":1,"waiting":0,"pending":1,"assigned":0,"running":0,"stopping":0,"succeeded":0,"failed":0,"cancelled":0}"#;
    format!(
        r#"{{"id":17,"name":"n","namespace":"default","state":"{state}","priority":50,"labels":{{}},
        "submitted_at":"2026-01-01T00:00:00.000Z","started_at":null,"finished_at":null,"index":7,"tasks":{counts}}}"#
    )
}

fn header(request: &str, name: &str) -> Option<String> {
    let head = request.split("\r\n\r\n").next()?;
    head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned))
}

#[tokio::test]
async fn a_dead_replica_is_passed_over_and_the_live_one_remembered() {
    let live = Fake::start(vec![ok(SUBMITTED)]).await;
    let client = client(&[&dead_url().await, &live.url]);
    let submitted = client.submit(&serde_json::json!({"command": ["true"]}), None).await.unwrap();
    assert_eq!((submitted.id, submitted.index), (JobId(17), LogIndex(4031)));
    assert_eq!(client.server(), live.url);
    assert_eq!(header(&live.requests()[0], "authorization").as_deref(), Some("Bearer secret"));
}

/// The patience of these clients ends before the timeout of one try.
#[tokio::test]
async fn a_stopped_replica_is_left_soon() {
    let (stopped, live) = (Fake::start(vec![Step::Silent]).await, Fake::start(vec![ok(SUBMITTED)]).await);
    let client = client(&[&stopped.url, &live.url]);
    client.submit(&serde_json::json!({"command": ["true"]}), None).await.unwrap();
    assert_eq!(client.server(), live.url);
    let keys = [&stopped, &live].map(|fake| header(&fake.requests()[0], "idempotency-key").unwrap());
    assert_eq!(keys[0], keys[1]);
    assert!(stopped.requests()[1].starts_with("GET /livez "), "{:?}", stopped.requests());
}

#[tokio::test]
async fn a_slow_replica_is_waited_for() {
    let slow = Fake::start(vec![Step::Slow(SUBMITTED.into())]).await;
    let other = Fake::start(vec![ok(SUBMITTED)]).await;
    let client = client(&[&slow.url, &other.url]);
    client.submit(&serde_json::json!({"command": ["true"]}), None).await.unwrap();
    assert_eq!((slow.requests().len(), other.requests().len()), (2, 0));
}

#[tokio::test]
async fn nothing_alive_is_unreachable_and_names_the_causes() {
    let client = client(&[&dead_url().await, &dead_url().await]);
    match client.cluster().await {
        Err(Error::Unreachable { refusals, .. }) => assert_eq!(refusals.len(), 2),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_leader_sends_the_request_to_another_replica() {
    let lost = Fake::start(vec![problem(Code::NoLeader)]).await;
    let live = Fake::start(vec![ok(&job_json("running"))]).await;
    let client = client(&[&lost.url, &live.url]);
    assert_eq!(client.job(JobId(17)).await.unwrap().index, LogIndex(7));
    assert_eq!((lost.requests().len(), live.requests().len()), (1, 1));
}

#[tokio::test]
async fn an_unknown_outcome_is_repeated_with_the_same_key() {
    for doubt in [problem(Code::OutcomeUnknown), Step::Hang] {
        let first = Fake::start(vec![doubt]).await;
        let second = Fake::start(vec![ok(SUBMITTED)]).await;
        let client = client(&[&first.url, &second.url]);
        client.submit(&serde_json::json!({"command": ["true"]}), None).await.unwrap();
        let key = header(&first.requests()[0], "idempotency-key");
        assert!(key.as_ref().is_some_and(|key| key.len() == 32), "{key:?}");
        assert_eq!(key, header(&second.requests()[0], "idempotency-key"));
    }
}

#[tokio::test]
async fn a_key_of_the_users_own_is_kept() {
    let live = Fake::start(vec![ok(SUBMITTED)]).await;
    let client = client(&[&live.url]);
    client.submit(&serde_json::json!({"command": ["true"], "idempotency_key": "in it"}), None).await.unwrap();
    client.submit(&serde_json::json!({"command": ["true"]}), Some("beside it")).await.unwrap();
    let keys: Vec<_> = live.requests().iter().map(|request| header(request, "idempotency-key")).collect();
    assert_eq!(keys, [None, Some("beside it".to_owned())]);
}

#[tokio::test]
async fn a_conflict_with_ones_own_lost_cancel_is_success() {
    let first = Fake::start(vec![Step::Hang]).await;
    let second = Fake::start(vec![problem(Code::Conflict), ok(&job_json("cancelled"))]).await;
    assert_eq!(client(&[&first.url, &second.url]).cancel(JobId(17)).await.unwrap(), LogIndex(7));

    let certain = Fake::start(vec![problem(Code::Conflict), ok(&job_json("cancelled"))]).await;
    let error = client(&[&certain.url]).cancel(JobId(17)).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Conflict));
}

#[tokio::test]
async fn what_is_not_repeatable_reports_a_lost_answer() {
    let first = Fake::start(vec![Step::Hang]).await;
    let second = Fake::start(vec![ok(r#"{"index":1}"#)]).await;
    let error = client(&[&first.url, &second.url]).transfer_leader(None).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    assert!(second.requests().is_empty());
}

#[tokio::test]
async fn lines_that_met_no_leader_are_sent_again() {
    let unknown = serde_json::to_string(&quorate_types::Problem::new(Code::OutcomeUnknown, "x")).unwrap();
    let invalid = serde_json::to_string(&quorate_types::Problem::new(Code::InvalidJob, "x")).unwrap();
    let first = format!("{{\"id\":1,\"index\":5}}\n{{\"error\":{unknown}}}\n{{\"error\":{invalid}}}\n");
    let live = Fake::start(vec![ok(&first), ok("{\"id\":2,\"index\":6}\n")]).await;
    let lines = [r#"{"command":["a"]}"#, r#"{"command":["b"]}"#, r#"{"command":[]}"#].map(|line| line.into());
    let outcomes = client(&[&live.url]).submit_lines(&lines).await.unwrap();
    assert_eq!(outcomes[0], LineOutcome::Accepted { id: JobId(1), index: LogIndex(5) });
    assert_eq!(outcomes[1], LineOutcome::Accepted { id: JobId(2), index: LogIndex(6) });
    assert!(matches!(&outcomes[2], LineOutcome::Rejected { error } if error.code == Code::InvalidJob));
    let requests = live.requests();
    let again = requests[1].split("\r\n\r\n").nth(1).unwrap().trim();
    assert!(requests[0].contains(again), "the line is repeated with its key: {again}");
}

fn event(cursor: &str) -> String {
    format!("{{\"cursor\":\"{cursor}\",\"time\":\"2026-01-01T00:00:00.000Z\",\"type\":\"job.running\",\"job\":17}}\n")
}

#[tokio::test]
async fn events_go_on_at_another_replica_each_once() {
    let half = event("6.0")[..20].to_owned();
    let first = Fake::start(vec![Step::Broken("", [event("5.0"), event("5.1"), half].concat())]).await;
    let second = Fake::start(vec![ok(&[event("5.0"), event("5.1"), "\n".into(), event("6.0")].concat())]).await;
    let filter = EventFilter { from: Some(LogIndex(5)), until_now: true, ..EventFilter::default() };
    let mut events = client(&[&first.url, &second.url]).events(filter).await.unwrap();
    let mut cursors = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        cursors.push(event.cursor);
    }
    assert_eq!(cursors, ["5.0", "5.1", "6.0"]);
    assert_eq!(header(&second.requests()[0], "last-event-id").as_deref(), Some("5.1"));
}

#[tokio::test]
async fn events_from_now_on_resume_where_the_stream_began() {
    let first = Fake::start(vec![Step::Broken("quorate-index: 41\r\n", "\n".into())]).await;
    let second = Fake::start(vec![ok(&event("42.0"))]).await;
    let filter = EventFilter { until_now: true, ..EventFilter::default() };
    let mut events = client(&[&first.url, &second.url]).events(filter).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().cursor, "42.0");
    assert!(second.requests()[0].starts_with("GET /v1/events?from=42&until=now "));
}

fn logs_filter() -> LogFilter {
    LogFilter { stream: Stream::Stdout, attempt: None, tail: None, follow: true }
}

fn address() -> TaskAddress {
    TaskAddress { job: JobId(17), task: Name::new("main").unwrap(), index: TaskIndex(0) }
}

fn ended_task() -> Step {
    ok(
        r#"{"task":"main","index":0,"state":"succeeded","attempt":1,"worker":"w","exit_code":0,"reason":null,"result":null,
        "progress":null,"started_at":null,"finished_at":null,"attempts":[]}"#,
    )
}

#[tokio::test]
async fn output_goes_on_at_the_right_byte() {
    let first = Fake::start(vec![Step::Broken("quorate-attempt: 1\r\n", "hello ".into())]).await;
    let whole = Step::Answer(200, "", "hello world\n".into());
    let second = Fake::start(vec![whole, ended_task()]).await;
    let mut logs = client(&[&first.url, &second.url]).logs(address(), logs_filter()).await.unwrap();
    let mut text = Vec::new();
    while let Some(piece) = logs.next().await.unwrap() {
        match piece {
            LogPiece::Bytes(bytes) => text.extend_from_slice(&bytes),
            LogPiece::Gap(_) => panic!("nothing is missing"),
        }
    }
    assert_eq!(text, b"hello world\n");
    assert!(second.requests()[0].contains("attempt=1"), "the attempt is kept to");
}

#[tokio::test]
async fn the_kept_end_of_a_long_output_is_not_taken_for_all_of_it() {
    let kept = |length: usize| Step::Answer(200, "quorate-log-source: cluster\r\n", "x".repeat(length));
    for (length, whole) in [(100, true), (16 << 10, false)] {
        let live = Fake::start(vec![kept(length), ended_task()]).await;
        let mut logs = client(&[&live.url]).logs(address(), logs_filter()).await.unwrap();
        let first = logs.next().await.unwrap().unwrap();
        assert_eq!(first != LogPiece::Gap(None), whole, "{length} bytes");
    }
}

#[tokio::test]
async fn output_that_is_gone_is_said_to_be_missing() {
    let first = Fake::start(vec![Step::Broken("", "hello ".into())]).await;
    let tail = Step::Answer(200, "quorate-log-offset: 10\r\n", "tail\n".into());
    let second = Fake::start(vec![tail, ended_task()]).await;
    let mut logs = client(&[&first.url, &second.url]).logs(address(), logs_filter()).await.unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = logs.next().await.unwrap() {
        pieces.push(piece);
    }
    let bytes = |text: &'static str| LogPiece::Bytes(text.into());
    assert_eq!(pieces, [bytes("hello "), LogPiece::Gap(Some(4)), bytes("tail\n")]);
}
