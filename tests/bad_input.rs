//! Over a hundred malformed requests, over every route: each is answered by a problem with its code, changes nothing
//! and makes nothing panic.
#![allow(clippy::too_many_lines, reason = "tables of requests are long")]

use crate::support::http::{Answer, raw};
use crate::support::{Api, Cluster, Setup, turn};
use serde_json::{Value, json};

/// Of one job and one body: limits of the contract's limits page.
const BODY_BYTES_MAX: usize = 32 << 20;

/// A request that must be refused.
struct Bad {
    what: String,
    request: Vec<u8>,
    status: u16,
    code: &'static str,
    /// For a bad job: where the complaint points.
    pointer: Option<&'static str>,
}

fn bad(what: &str, line: &str, headers: &[&str], body: &[u8], status: u16, code: &'static str) -> Bad {
    let mut head = format!("{line} HTTP/1.1\r\nHost: quorate\r\nConnection: close\r\n");
    let has = |name: &str| headers.iter().any(|header| header.to_lowercase().starts_with(name));
    if !has("content-type") {
        head.push_str("Content-Type: application/json\r\n");
    }
    if !has("content-length") && !has("transfer-encoding") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    let request = [head.as_bytes(), body].concat();
    Bad { what: what.to_owned(), request, status, code, pointer: None }
}

/// A job that is no job.
fn job(body: &str, pointer: &'static str) -> Bad {
    let what = format!("the job {}", body.chars().take(120).collect::<String>());
    Bad { pointer: Some(pointer), ..bad(&what, "POST /v1/jobs", &[], body.as_bytes(), 422, "invalid_job") }
}

fn task(fields: &str, pointer: &'static str) -> Bad {
    job(&format!(r#"{{"tasks":[{{"name":"a","command":["true"],{fields}}}]}}"#), pointer)
}

fn get(line: &str, status: u16, code: &'static str) -> Bad {
    bad(line, &format!("GET {line}"), &[], b"", status, code)
}

fn send(line: &str, body: &str, status: u16, code: &'static str) -> Bad {
    bad(&format!("{line} {body}"), line, &[], body.as_bytes(), status, code)
}

fn jobs_that_are_none() -> Vec<Bad> {
    let not_json = [
        "",
        "{",
        "nonsense",
        "{\"command\":[\"true\"]} trailing",
        "{'command':['true']}",
        "\u{0}",
        "{\"command\":[\"\\ud800\"]}",
        "{\"command\":[\"a\"],\"priority\":1e999}",
    ];
    let mut all: Vec<Bad> = not_json.iter().map(|body| send("POST /v1/jobs", body, 400, "invalid_json")).collect();
    all.push(bad(
        "bytes that are no UTF-8",
        "POST /v1/jobs",
        &[],
        b"{\"name\":\"\xff\xfe\",\"command\":[\"true\"]}",
        400,
        "invalid_json",
    ));
    let deep = format!("{}1{}", "{\"tasks\":[".repeat(2000), "]}".repeat(2000));
    all.push(Bad { what: "deep nesting".into(), ..bad("", "POST /v1/jobs", &[], deep.as_bytes(), 422, "invalid_job") });
    let long = |n: usize| "x".repeat(n);
    all.extend([
        job("[]", ""),
        job("null", ""),
        job("17", ""),
        job("{}", "/tasks"),
        job(r#"{"tasks":[]}"#, "/tasks"),
        job(r#"{"tasks":{}}"#, "/tasks"),
        job(r#"{"command":"true"}"#, "/command"),
        job(r#"{"command":[]}"#, "/command"),
        job(r#"{"command":[""]}"#, "/command"),
        job(r#"{"command":[1]}"#, "/command/0"),
        job(r#"{"command":["a\u0000b"]}"#, "/command"),
        job(r#"{"command":["a"],"tasks":[{"command":["b"]}]}"#, "/command"),
        job(r#"{"command":["a"],"comand":["b"]}"#, "/comand"),
        job(r#"{"command":["a"],"command":["b"]}"#, ""),
        job(r#"{"command":["a"],"name":""}"#, "/name"),
        job(r#"{"command":["a"],"name":"a\nb"}"#, "/name"),
        job(r#"{"command":["a"],"name":"ü"}"#, "/name"),
        job(r#"{"command":["a"],"name":".."}"#, "/name"),
        job(&format!(r#"{{"command":["a"],"name":"{}"}}"#, long(129)), "/name"),
        job(r#"{"command":["a"],"namespace":"a/b"}"#, "/namespace"),
        job(r#"{"command":["a"],"namespace":"a b"}"#, "/namespace"),
        job(r#"{"command":["a"],"namespace":null,"priority":-1}"#, "/priority"),
        job(r#"{"command":["a"],"priority":101}"#, "/priority"),
        job(r#"{"command":["a"],"priority":256}"#, "/priority"),
        job(r#"{"command":["a"],"priority":"high"}"#, "/priority"),
        job(r#"{"command":["a"],"priority":1.5}"#, "/priority"),
        job(r#"{"command":["a"],"labels":[]}"#, "/labels"),
        job(r#"{"command":["a"],"labels":{"a b":"c"}}"#, "/labels"),
        job(r#"{"command":["a"],"labels":{"a":1}}"#, "/labels/a"),
        job(&format!(r#"{{"command":["a"],"labels":{{"a":"{}"}}}}"#, long(257)), "/labels"),
        job(r#"{"command":["a"],"idempotency_key":""}"#, "/idempotency_key"),
        job(&format!(r#"{{"command":["a"],"idempotency_key":"{}"}}"#, long(257)), "/idempotency_key"),
        job(r#"{"command":["a"],"on_failure":"explode"}"#, "/on_failure"),
        job(r#"{"command":["a"],"schedule":{"cron":"* * * * *","overlap":"never"}}"#, "/schedule/overlap"),
        job(r#"{"command":["a"],"schedule":{"cron":"* * * * *","misfire":"some"}}"#, "/schedule/misfire"),
        job(r#"{"command":["a"],"schedule":{"cron":"* * * * *","misfire_window":-1}}"#, "/schedule/misfire_window"),
        job(r#"{"command":["a"],"schedule":{"cron":"* * * * *","dst":"twice"}}"#, "/schedule/dst"),
        job(r#"{"command":["a"],"schedule":{"cron":"* * * * *","paused":"yes"}}"#, "/schedule/paused"),
        job(r#"{"command":["a"],"schedule":{"cron":"* * * * *","jitter":"soon"}}"#, "/schedule/jitter"),
        job(r#"{"command":["a"],"concurrency":{"key":"a b"}}"#, "/concurrency/key"),
        job(r#"{"command":["a"],"concurrency":{"key":"a","when_full":"push"}}"#, "/concurrency/when_full"),
        job(r#"{"command":["a"],"concurrency":{"key":"a","limit":0}}"#, "/concurrency/limit"),
        job(r#"{"command":["a"],"preempt":"all"}"#, "/preempt"),
        job(r#"{"command":["a"],"kind":"daemon"}"#, "/kind"),
        job(r#"{"command":["a"],"start_after":"yesterday"}"#, "/start_after"),
        job(r#"{"command":["a"],"deadline":5}"#, "/deadline"),
        job(r#"{"command":["a"],"expires":"-1s"}"#, "/expires"),
        job(r#"{"command":["a"],"then":[{"on":"maybe","job":{"command":["b"]}}]}"#, "/then/0/on"),
        task(r#""no_retry_on":[256]"#, "/tasks/0/no_retry_on/0"),
        task(r#""retry_on":["1"]"#, "/tasks/0/retry_on/0"),
        task(r#""grace":"-1s""#, "/tasks/0/grace"),
        task(r#""needs":[{"job":1,"on":"later"}]"#, "/tasks/0/needs/0"),
        task(r#""max_parallel":0"#, "/tasks/0/max_parallel"),
        task(r#""gang":"a b""#, "/tasks/0/gang"),
        task(r#""losses":-1"#, "/tasks/0/losses"),
        job(r#"{"tasks":[{"name":"a","command":["x"]},{"command":["x"]}]}"#, "/tasks/1/name"),
        job(r#"{"tasks":[{"name":"a","command":["x"]},{"name":"a","command":["x"]}]}"#, "/tasks/1/name"),
        job(r#"{"tasks":[{"name":"a/b","command":["x"]}]}"#, "/tasks/0/name"),
        job(r#"{"tasks":[{"name":"a"}]}"#, "/tasks/0/command"),
        job(r#"{"tasks":[null]}"#, "/tasks/0"),
        job(r#"{"tasks":[{"driver":"noop","command":[""]}]}"#, "/tasks/0/command"),
        task(r#""needs":["b"]"#, "/tasks/0/needs/0"),
        task(r#""needs":["a"]"#, "/tasks/0/needs/0"),
        task(r#""needs":"b""#, "/tasks/0/needs"),
        task(r#""count":0"#, "/tasks/0/count"),
        task(r#""count":-1"#, "/tasks/0/count"),
        task(r#""count":1000001"#, "/tasks"),
        task(r#""count":99999999999999999999"#, "/tasks/0/count"),
        task(r#""retries":1001"#, "/tasks/0/retries"),
        task(r#""retries":4294967296"#, "/tasks/0/retries"),
        task(r#""timeout":"0s""#, "/tasks/0/timeout"),
        task(r#""timeout":10"#, "/tasks/0/timeout"),
        task(r#""timeout":"soon""#, "/tasks/0/timeout"),
        task(r#""timeout":"-5s""#, "/tasks/0/timeout"),
        task(r#""timeout":"11years""#, "/tasks/0/timeout"),
        task(r#""timeout":"99999999999999999999999s""#, "/tasks/0/timeout"),
        task(r#""expected":"0ms""#, "/tasks/0/expected"),
        task(r#""backoff":{"initial":"9s","max":"1s"}"#, "/tasks/0/backoff/max"),
        task(r#""backoff":{"factor":0.5}"#, "/tasks/0/backoff/factor"),
        task(r#""backoff":{"factor":1e300}"#, "/tasks/0/backoff/factor"),
        task(r#""backoff":{"inital":"1s"}"#, "/tasks/0/backoff/inital"),
        task(r#""resources":{"cpu":-1}"#, "/tasks/0/resources/cpu"),
        task(r#""resources":{"cpu":"two"}"#, "/tasks/0/resources/cpu"),
        task(r#""resources":{"cpu":1e18}"#, "/tasks/0/resources/cpu"),
        task(r#""resources":{"memory":"1 elephant"}"#, "/tasks/0/resources/memory"),
        task(r#""resources":{"memory":-5}"#, "/tasks/0/resources/memory"),
        task(r#""resources":{"a b":1}"#, "/tasks/0/resources"),
        task(r#""env":{"A=B":"c"}"#, "/tasks/0/env"),
        task(r#""env":{"":"c"}"#, "/tasks/0/env"),
        task(r#""env":{"A":"b\u0000"}"#, "/tasks/0/env"),
        task(r#""env":{"A":1}"#, "/tasks/0/env/A"),
        task(r#""working_dir":"""#, "/tasks/0/working_dir"),
        task(r#""working_dir":"/a\u0000""#, "/tasks/0/working_dir"),
        task(&format!(r#""stdin":"{}""#, long((256 << 10) + 1)), "/tasks/0/stdin"),
        task(r#""driver":"teleport""#, "/tasks/0/driver"),
        task(r#""image":"busybox""#, "/tasks/0/image"),
    ]);
    let cycle = r#"{"tasks":[{"name":"a","command":["x"],"needs":["c"]},{"name":"b","command":["x"],"needs":["a"]},{"name":"c","command":["x"],"needs":["b"]}]}"#;
    all.push(Bad { pointer: None, ..job(cycle, "") });
    let many: Vec<Value> = (0..100_001).map(|n| json!({"name": format!("t{n}"), "command": ["x"]})).collect();
    all.push(job(&json!({"tasks": many}).to_string(), "/tasks"));
    all
}

fn requests(live: u64) -> Vec<Bad> {
    let huge = format!(r#"{{"command":["true"],"name":"{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    let declared = format!("Content-Length: {}", BODY_BYTES_MAX + 1);
    let differs = r#"{"command":["true"],"idempotency_key":"one"}"#.as_bytes();
    let long_key = format!("Idempotency-Key: {}", "k".repeat(257));
    let fine = br#"{"command":["true"]}"#;
    vec![
        bad("a body that is too large", "POST /v1/jobs", &[], huge.as_bytes(), 413, "too_large"),
        bad("a body that says it is too large", "POST /v1/jobs", &[&declared], huge.as_bytes(), 413, "too_large"),
        bad("keys that differ", "POST /v1/jobs", &["Idempotency-Key: two"], differs, 422, "invalid_job"),
        bad("an empty key", "POST /v1/jobs", &["Idempotency-Key:"], fine, 400, "invalid_json"),
        bad("a long key", "POST /v1/jobs", &[&long_key], fine, 400, "invalid_json"),
        bad("an unknown parameter of POST", "POST /v1/jobs?dryrun=true", &[], fine, 400, "invalid_json"),
        bad("a parameter of reads", "POST /v1/jobs?min_index=1", &[], fine, 400, "invalid_json"),
        bad("half a dry run", "POST /v1/jobs?dry_run=maybe", &[], fine, 400, "invalid_json"),
        bad("a dry run of nothing", "POST /v1/jobs?dry_run=true", &[], b"{}", 422, "invalid_job"),
        send("PUT /v1/jobs", "{}", 405, "method_not_allowed"),
        send("PUT /v1/jobs?dry=1", "{}", 405, "method_not_allowed"),
        send("POST /v1/nowhere?dry=1", "{}", 404, "not_found"),
        send("DELETE /v1/jobs", "", 405, "method_not_allowed"),
        send("PATCH /v1/jobs/1", "{}", 405, "method_not_allowed"),
        send("GET /v1/jobs/1/cancel", "", 405, "method_not_allowed"),
        send("POST /v1/events", "", 405, "method_not_allowed"),
        send("POST /v1/workers", "{}", 405, "method_not_allowed"),
        send("POST /livez", "", 405, "method_not_allowed"),
        send("PUT /v1/cluster", "{}", 405, "method_not_allowed"),
        get("/", 404, "not_found"),
        get("/v2/jobs", 404, "not_found"),
        get("/v1/nothing", 404, "not_found"),
        get("/v1/jobs/", 404, "not_found"),
        get("/v1/jobs/999999", 404, "not_found"),
        get("/v1/jobs/0", 404, "not_found"),
        get("/v1/jobs/-1", 404, "not_found"),
        get("/v1/jobs/one", 404, "not_found"),
        get("/v1/jobs/18446744073709551616", 404, "not_found"),
        get("/v1/jobs/%00", 404, "not_found"),
        get("/v1/jobs/..%2f..%2fetc%2fpasswd", 404, "not_found"),
        get("/v1/jobs/%ff%fe", 400, "invalid_json"),
        get("/v1/jobs?state=sleeping", 400, "invalid_json"),
        get("/v1/jobs?sate=running", 400, "invalid_json"),
        get("/v1/jobs?namespace=a%20b", 400, "invalid_json"),
        get("/v1/jobs?label=", 400, "invalid_json"),
        get("/v1/jobs?label=a%20b=c", 400, "invalid_json"),
        get("/v1/jobs?limit=0", 400, "invalid_json"),
        get("/v1/jobs?limit=1001", 400, "invalid_json"),
        get("/v1/jobs?limit=-1", 400, "invalid_json"),
        get("/v1/jobs?limit=ten", 400, "invalid_json"),
        get("/v1/jobs?limit=1&limit=2", 400, "invalid_json"),
        get("/v1/jobs?cursor=garbage", 400, "invalid_json"),
        get("/v1/jobs?cursor=99999999999999999999999", 400, "invalid_json"),
        get("/v1/jobs?consistency=eventual", 400, "invalid_json"),
        get("/v1/jobs?min_index=soon", 400, "invalid_json"),
        get("/v1/jobs?name=%ff", 400, "invalid_json"),
        get(&format!("/v1/jobs/{live}?wait=long"), 400, "invalid_json"),
        get(&format!("/v1/jobs/{live}?wait=1s&until=forever"), 400, "invalid_json"),
        get(&format!("/v1/jobs/{live}/tasks?state=odd"), 400, "invalid_json"),
        get(&format!("/v1/jobs/{live}/tasks?cursor=1"), 400, "invalid_json"),
        get(&format!("/v1/jobs/{live}/tasks?cursor=a.b"), 400, "invalid_json"),
        get("/v1/jobs/999999/tasks", 404, "not_found"),
        get(&format!("/v1/jobs/{live}/tasks/other/0"), 404, "not_found"),
        get(&format!("/v1/jobs/{live}/tasks/main/1"), 404, "not_found"),
        get(&format!("/v1/jobs/{live}/tasks/main/-1"), 404, "not_found"),
        get(&format!("/v1/jobs/{live}/tasks/main/4294967296"), 404, "not_found"),
        get(&format!("/v1/jobs/{live}/tasks/a%20b/0"), 404, "not_found"),
        get(&format!("/v1/jobs/{live}/tasks/main/1/explain"), 404, "not_found"),
        get(&format!("/v1/jobs/{live}/tasks/main/-1/explain"), 404, "not_found"),
        get(&format!("/v1/jobs/{live}/tasks/main/0/explain?deep=true"), 400, "invalid_json"),
        get(&format!("/v1/jobs/{live}/explain?limit=1"), 400, "invalid_json"),
        get("/v1/jobs/0x1/explain", 404, "not_found"),
        get(&format!("/v1/jobs/{live}/tasks/main/0/logs"), 404, "not_found"),
        get(&format!("/v1/jobs/{live}/tasks/main/0/logs?stream=stdlog"), 400, "invalid_json"),
        get(&format!("/v1/jobs/{live}/tasks/main/0/logs?tail=-1"), 400, "invalid_json"),
        get(&format!("/v1/jobs/{live}/tasks/main/0/logs?follow=maybe"), 400, "invalid_json"),
        get(&format!("/v1/jobs/{live}/tasks/main/0/logs?attempt=x"), 400, "invalid_json"),
        send("POST /v1/jobs/999999/cancel", "", 404, "not_found"),
        send("POST /v1/jobs/999999/pause", "", 404, "not_found"),
        send("POST /v1/jobs/999999/resume", "", 404, "not_found"),
        send("POST /v1/jobs/999999/retry", "", 404, "not_found"),
        send("DELETE /v1/jobs/999999", "", 404, "not_found"),
        send("DELETE /v1/jobs/one", "", 404, "not_found"),
        send(&format!("DELETE /v1/jobs/{live}"), "", 409, "conflict"),
        send(&format!("POST /v1/jobs/{live}/retry"), "", 409, "conflict"),
        send(&format!("POST /v1/jobs/{live}/retry"), "{\"faild\":true}", 400, "invalid_json"),
        send(&format!("POST /v1/jobs/{live}/retry"), "{\"failed\":1}", 400, "invalid_json"),
        send(&format!("POST /v1/jobs/{live}/tasks/main/0/reassign"), "", 409, "conflict"),
        send(&format!("POST /v1/jobs/{live}/tasks/main/7/reassign"), "", 404, "not_found"),
        send(&format!("POST /v1/jobs/{live}/tasks/none/0/reassign"), "", 404, "not_found"),
        get("/v1/workers/nobody", 404, "not_found"),
        get("/v1/workers?label=a", 400, "invalid_json"),
        get("/v1/workers?limit=0", 400, "invalid_json"),
        get("/v1/workers?cursor=", 400, "invalid_json"),
        get("/v1/workers?cursor=a%20b", 400, "invalid_json"),
        get("/v1/namespaces?label=a", 400, "invalid_json"),
        get("/v1/namespaces?limit=0", 400, "invalid_json"),
        get("/v1/namespaces?cursor=a%20b", 400, "invalid_json"),
        get("/v1/namespaces/a%20b", 404, "not_found"),
        send("POST /v1/namespaces/a", "{}", 405, "method_not_allowed"),
        send("PUT /v1/namespaces/a", "", 400, "invalid_json"),
        send("PUT /v1/namespaces/a", "[2]", 400, "invalid_json"),
        send("PUT /v1/namespaces/a", "{\"weight\":0}", 400, "invalid_json"),
        send("PUT /v1/namespaces/a", "{\"quota\":{\"cpu\":\"1\"}}", 400, "invalid_json"),
        send("PUT /v1/namespaces/a%20b", "{}", 404, "not_found"),
        send("DELETE /v1/namespaces/a%20b", "", 404, "not_found"),
        send("POST /v1/workers/nobody/drain", "", 404, "not_found"),
        send("POST /v1/workers/nobody/undrain", "", 404, "not_found"),
        send("POST /v1/workers/no%20body/drain", "", 404, "not_found"),
        send("DELETE /v1/workers/nobody", "", 404, "not_found"),
        send("POST /v1/workers/nobody/ended", "{\"epoch\":1}", 404, "not_found"),
        send("POST /v1/workers/nobody/ended", "{\"epoch\":\"x\"}", 400, "invalid_json"),
        send("POST /v1/workers/nobody/ended", "", 400, "invalid_json"),
        get("/v1/session", 400, "invalid_json"),
        bad("another protocol", "GET /v1/session", &["Upgrade: websocket"], b"", 400, "invalid_json"),
        bad("no word of an upgrade", "GET /v1/session", &["Upgrade: quorate-worker/6"], b"", 400, "invalid_json"),
        get("/v1/cluster?verbose=1", 400, "invalid_json"),
        get("/v1/cluster/digest?index=1", 400, "invalid_json"),
        send("POST /v1/cluster/replicas", "", 400, "invalid_json"),
        send("POST /v1/cluster/replicas", "{\"id\":9}", 400, "invalid_json"),
        send("POST /v1/cluster/replicas", "{\"id\":0,\"http\":\"h:1\",\"peer\":\"p:1\"}", 400, "invalid_json"),
        send("POST /v1/cluster/replicas", "{\"id\":9,\"http\":\"h:1\",\"peer\":\"nowhere\"}", 400, "invalid_json"),
        send("POST /v1/cluster/replicas", "{\"id\":9,\"http\":\"\",\"peer\":\"p:1\"}", 400, "invalid_json"),
        send("POST /v1/cluster/replicas", "{\"id\":9,\"http\":\"h:1\",\"peer\":\":\"}", 400, "invalid_json"),
        send("POST /v1/cluster/replicas", "{\"id\":9,\"http\":\"h:1\",\"peer\":\"p:0\"}", 400, "invalid_json"),
        send("POST /v1/cluster/replicas", "{\"id\":9,\"http\":\"h:65536\",\"peer\":\"p:1\"}", 400, "invalid_json"),
        send("POST /v1/cluster/replicas", "{\"id\":9,\"http\":\"http://h:1\",\"peer\":\"p:1\"}", 400, "invalid_json"),
        send("POST /v1/cluster/replicas", "{\"id\":9,\"http\":\"h:1\",\"peer\":\"p:1\",\"x\":1}", 400, "invalid_json"),
        send("POST /v1/cluster/replicas", "{\"id\":2,\"http\":\"h:1\",\"peer\":\"127.0.0.1:1\"}", 409, "conflict"),
        send("DELETE /v1/cluster/replicas/77", "", 404, "not_found"),
        send("DELETE /v1/cluster/replicas/x", "", 404, "not_found"),
        send("POST /v1/cluster/transfer-leader", "{\"to\":\"x\"}", 400, "invalid_json"),
        send("POST /v1/cluster/transfer-leader", "{\"two\":2}", 400, "invalid_json"),
        get("/v1/events?type=job.exploded", 400, "invalid_json"),
        get("/v1/events?until=tomorrow", 400, "invalid_json"),
        get("/v1/events?from=-1", 400, "invalid_json"),
        get("/v1/events?job=x", 400, "invalid_json"),
        get("/v1/events?since=1", 400, "invalid_json"),
        bad("a cursor that is none", "GET /v1/events?until=now", &["Last-Event-ID: 17"], b"", 400, "invalid_json"),
        bad("a cursor of letters", "GET /v1/events?until=now", &["Last-Event-ID: a.b"], b"", 400, "invalid_json"),
        bad(
            "a cursor too large",
            "GET /v1/events?until=now",
            &["Last-Event-ID: 99999999999999999999.0"],
            b"",
            400,
            "invalid_json",
        ),
    ]
}

/// What the HTTP parser refuses before any route is looked for.
fn garbage() -> Vec<Bad> {
    let header = format!("GET /livez HTTP/1.1\r\nHost: q\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
    let long = format!("GET /{} HTTP/1.1\r\nHost: q\r\n\r\n", "x".repeat(70_000));
    let many: String = (0..500).map(|n| format!("X-{n}: 1\r\n")).collect();
    let refused = [
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".to_vec(), 400, "invalid_json"),
        ("an unknown version", b"GET / HTTP/9.9\r\nHost: q\r\n\r\n".to_vec(), 400, "invalid_json"),
        ("an oversized header", header.into_bytes(), 431, "too_large"),
        ("a long path", long.into_bytes(), 414, "too_large"),
        ("too many headers", format!("GET /livez HTTP/1.1\r\nHost: q\r\n{many}\r\n").into_bytes(), 431, "too_large"),
        ("a NUL in a header", b"GET /livez HTTP/1.1\r\nHost: q\r\nX-A: a\0b\r\n\r\n".to_vec(), 400, "invalid_json"),
        (
            "a bad length",
            b"POST /v1/jobs HTTP/1.1\r\nHost: q\r\nContent-Length: -5\r\n\r\n".to_vec(),
            400,
            "invalid_json",
        ),
        (
            "a bad chunk",
            b"POST /v1/jobs HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n".to_vec(),
            400,
            "invalid_json",
        ),
    ];
    refused
        .map(|(what, request, status, code)| Bad { what: what.to_owned(), request, status, code, pointer: None })
        .into()
}

#[derive(Debug, PartialEq)]
struct Visible {
    jobs: Value,
    tasks: Vec<Value>,
    workers: Value,
    namespaces: Value,
    members: Value,
    events: usize,
}

async fn visible(api: &Api, job: u64) -> Visible {
    let members = api.read("/v1/cluster").await["replicas"].as_array().unwrap().clone();
    let names = |replica: &Value| json!([replica["id"], replica["voter"], replica["http"], replica["peer"]]);
    Visible {
        jobs: api.read("/v1/jobs").await,
        tasks: api.tasks(job).await,
        workers: api.read("/v1/workers").await,
        namespaces: api.read("/v1/namespaces").await,
        members: members.iter().map(names).collect(),
        events: api.events(1).await.0.len(),
    }
}

fn check(bad: &Bad, answer: &Answer) -> Result<(), String> {
    let found = std::panic::catch_unwind(|| answer.code());
    let code = found.map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())?;
    if (answer.status, code.as_str()) != (bad.status, bad.code) {
        return Err(format!("{} {code} instead of {} {}: {}", answer.status, bad.status, bad.code, answer.text()));
    }
    let pointer = answer.json()["errors"][0]["pointer"].as_str().map(str::to_owned);
    match bad.pointer {
        Some(wanted) if pointer.as_deref().is_none_or(|found| !found.starts_with(wanted)) => {
            Err(format!("points at {pointer:?} instead of {wanted:?}: {}", answer.text()))
        }
        Some(_) | None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_malformed_request_is_refused_by_its_code_and_changes_nothing() {
    let _turn = turn().await;
    let cluster = Cluster::of_three().await;
    cluster.settled().await;
    // No worker: the job stays pending, and whatever changes, a bad request changed it.
    let live = cluster.any().submit(&json!({"name": "live", "command": ["true"]})).await;
    for api in cluster.apis() {
        api.get(&format!("/v1/jobs/{live}")).await.ok();
    }
    cluster.digests_agree().await;
    let before = visible(&cluster.any(), live).await;
    let (jobs, mut others) = (jobs_that_are_none(), requests(live));
    others.extend(garbage());
    assert!(jobs.len() + others.len() >= 150, "{} cases", jobs.len() + others.len());

    let ids = cluster.ids();
    let mut wrong = Vec::new();
    for (nth, bad) in jobs.iter().chain(&others).enumerate() {
        // Each through another replica, so that leader and followers are asked.
        let address = &cluster.replicas[&ids[nth % ids.len()]].http;
        let verdict = match raw(address, &bad.request).await {
            Some(answer) => check(bad, &answer),
            None => Err("no answer".into()),
        };
        wrong.extend(verdict.err().map(|why| format!("{}: {why}", bad.what)));
    }
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), jobs.len() + others.len(), wrong.join("\n"));

    assert_eq!(visible(&cluster.any(), live).await, before);
    cluster.digests_agree().await;
    let id = cluster.any().submit(&json!({"name": "still fine", "command": ["true"]})).await;
    assert_eq!(id, live + 1, "a bad request took a number");
    cluster.finish();
}

/// A job that is refused before the log leaves not even an entry there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_at_the_edge_never_reaches_the_log() {
    let _turn = turn().await;
    let cluster = Cluster::of_three().await;
    cluster.settled().await;
    // What young replicas tell each other may still be under way in the first rounds; every round of a replica that
    // logs what it refuses would be dirty.
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let before = cluster.digests_agree().await;
        for bad in jobs_that_are_none() {
            raw(&cluster.replicas[&2].http, &bad.request).await.unwrap();
        }
        let after = cluster.digests_agree().await;
        if before == after {
            return cluster.finish();
        }
        rounds.push((before, after));
    }
    panic!("refused requests reached the log: {rounds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_refused_one_by_one() {
    let _turn = turn().await;
    let cluster = Cluster::of_three().await;
    let lines = "{\"command\":[\"true\"]}\n{broken\n\n{\"command\":[]}\n{\"command\":[\"true\"]}\n\u{0}\n{\"nmae\":1}";
    let headers = [("content-type", "application/x-ndjson")];
    let answer = cluster.any().send(reqwest::Method::POST, "/v1/jobs", &headers, lines.into()).await.unwrap().ok();
    let said: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let codes: Vec<&str> = said.iter().map(|line| line["error"]["code"].as_str().unwrap_or("taken")).collect();
    assert_eq!(codes, ["taken", "invalid_json", "invalid_job", "taken", "invalid_json", "invalid_job"], "{said:?}");
    assert_eq!(cluster.any().all("/v1/jobs?limit=10").await.len(), 2);
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_token_nothing_is_told() {
    let _turn = turn().await;
    let cluster = Cluster::prepare(Setup { replicas: 1, ..Setup::default() }.with("token", "correct"));
    let mut cluster = cluster;
    cluster.start_all();
    let api = cluster.any();
    crate::support::wait_until("the replica to lead", crate::support::PATIENCE, || async {
        api.try_get("/readyz").await.filter(|answer| answer.status == 200)
    })
    .await;
    let routes = [
        "/v1/jobs",
        "/v1/workers",
        "/v1/namespaces",
        "/v1/cluster",
        "/v1/cluster/digest",
        "/v1/events?until=now",
        "/metrics",
        "/v1/session",
        "/nothing",
    ];
    for (route, header) in routes.iter().flat_map(|route| {
        ["", "Bearer", "Bearer ", "Bearer wrong", "Bearer correctX", "Basic correct", "correct", "Bearer correct "]
            .map(|h| (*route, h))
    }) {
        // The last one is cut by HTTP itself: spaces around a value do not count.
        let headers: &[(&str, &str)] = if header.is_empty() { &[] } else { &[("authorization", header)] };
        let answer = api.send(reqwest::Method::GET, route, headers, Vec::new()).await.unwrap();
        if header == "Bearer correct " {
            assert_ne!(answer.status, 401, "{route}");
            continue;
        }
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthenticated"), "{route} {header:?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let submitted = api.post("/v1/jobs", &json!({"command": ["true"]})).await;
    assert_eq!(submitted.code(), "unauthenticated");
    let headers = [("authorization", "Bearer correct")];
    let jobs = api.send(reqwest::Method::GET, "/v1/jobs", &headers, Vec::new()).await.unwrap().ok();
    assert_eq!(jobs.json()["items"], json!([]));
    let log = cluster.replicas[&1].process.log_text();
    assert!(!log.contains("correct"), "the token is in the log");
    cluster.finish();
}
