//! From a request to a valid job. Every complaint names its place as a JSON pointer.

use std::collections::BTreeMap;
use std::fmt;

use crate::job::{Backoff, BackoffRequest, Driver, JobRequest, JobSpec, Object, TaskRequest, TaskSpec};
use crate::limits::*;
use crate::name::{JobName, Name};
use crate::need::Need;
use crate::problem::FieldError;
use crate::resources::Resources;
use crate::time::Span;

mod constraint;
mod flow;
mod gang;
mod gate;
mod needs;
mod service;

pub use constraint::check_taints;
pub use gang::check_host;

/// How many complaints one answer lists; a user mends a few at a time.
const COMPLAINTS_MAX: usize = 20;
/// What a process gets between TERM and KILL unless the task says otherwise.
const GRACE_DEFAULT: Span = Span::from_secs(10);

impl JobRequest {
    /// Checks the request and fills in the defaults.
    ///
    /// # Errors
    /// Up to twenty complaints, in the order of the document.
    pub fn validate(self) -> Result<JobSpec, Vec<FieldError>> {
        let mut complaints = Complaints::default();
        complaints.check_job_fields(&self);
        let service = complaints.service(&self);
        let schedule = self.schedule.map(|Object(schedule)| Box::new(complaints.schedule(schedule)));
        complaints.check_times([self.start_after, self.deadline, self.expires], schedule.is_some());
        let concurrency = self.concurrency.map(|Object(request)| complaints.concurrency(request));
        let namespace = self.namespace.unwrap_or_else(default_namespace);
        let then = complaints.follow_ups(self.then.unwrap_or_default(), &namespace);
        let short = self.command.is_some();
        let requests = match (self.tasks, self.command) {
            (Some(tasks), None) => tasks.into_iter().map(|Object(task)| task).collect(),
            (None, Some(command)) => {
                let (movable, count) = (self.movable, self.count);
                vec![TaskRequest { command: Some(command), movable, count, ..TaskRequest::default() }]
            }
            (Some(_), Some(_)) => {
                return Err(vec![FieldError::new("/command", "give either command or tasks, not both")]);
            }
            (None, None) => return Err(vec![FieldError::new("/tasks", "a job needs tasks or a command")]),
        };
        if !short {
            complaints.check_strays([("/movable", self.movable.is_some()), ("/count", self.count.is_some())]);
        }
        complaints.check_task_count(&requests);
        if complaints.is_full() {
            return Err(complaints.0);
        }
        let shape = match requests.len() {
            1 if short => Shape::Command,
            1 => Shape::OneTask,
            _ => Shape::Tasks,
        };
        let tasks: Vec<TaskSpec> =
            requests.into_iter().enumerate().map(|(at, request)| complaints.task(at, request, shape)).collect();
        complaints.check_elements(&tasks);
        complaints.check_needs(&tasks, shape);
        complaints.check_anti_affinity(&tasks, shape);
        complaints.check_gangs(&tasks, shape);
        if let Some(service) = &service {
            complaints.check_task_of_service(service, &tasks, shape);
        }
        if !complaints.0.is_empty() {
            return Err(complaints.0);
        }
        let name = match (self.name, tasks.first()) {
            (Some(name), _) => name,
            (None, Some(task)) => {
                JobName::new(&task.name).map_err(|e| vec![FieldError::new("/name", e.to_string())])?
            }
            (None, None) => return Err(vec![FieldError::new("/tasks", "a job needs a task")]),
        };
        Ok(JobSpec {
            name,
            namespace,
            priority: self.priority.unwrap_or(50),
            labels: self.labels.unwrap_or_default(),
            idempotency_key: self.idempotency_key,
            on_failure: self.on_failure.unwrap_or_default(),
            tasks: tasks.into(),
            start_after: self.start_after,
            deadline: self.deadline,
            expires: self.expires,
            concurrency,
            then,
            schedule,
            preempt: self.preempt.unwrap_or_else(|| service::default_preempt(service.as_deref())),
            service,
        })
    }
}

impl Complaints {
    /// What stands beside tasks, and is meant for the short form.
    fn check_strays(&mut self, fields: [(&str, bool); 2]) {
        for (field, _) in fields.into_iter().filter(|(_, given)| *given) {
            self.add(field.into(), "belongs to a task, or to a job with a command of its own");
        }
    }
}

/// The tasks that a running one adds to its job, each with what it comes before; as far as they can be checked without
/// the job. What they need and don't bring along may be there.
pub(crate) fn added_tasks(requests: Vec<Object<TaskRequest>>) -> Result<Vec<(TaskSpec, Vec<Need>)>, Vec<FieldError>> {
    let (mut complaints, mut before) = (Complaints::default(), Vec::with_capacity(requests.len()));
    let each = requests.into_iter().enumerate().map(|(at, Object(mut request))| {
        before.push(request.before.take().unwrap_or_default());
        complaints.task(at, request, Shape::Extension)
    });
    let tasks: Vec<TaskSpec> = each.collect();
    complaints.check_needs(&tasks, Shape::Extension);
    if complaints.0.is_empty() { Ok(tasks.into_iter().zip(before).collect()) } else { Err(complaints.0) }
}

/// The namespace of jobs that name none.
pub fn default_namespace() -> Name {
    constant("default")
}

/// The label that tasks are spread over if no other is named.
pub fn default_spread_label() -> Name {
    constant("zone")
}

/// A name that is written in this program and therefore valid.
fn constant(text: &'static str) -> Name {
    Name::new(text).unwrap_or_else(|e| unreachable!("{text:?} {e}"))
}

/// Checks the labels of a job or worker.
pub fn check_labels(labels: &BTreeMap<Name, String>) -> Result<(), String> {
    if labels.len() > LABELS_MAX {
        return Err(format!("has {} labels, the most is {LABELS_MAX}", labels.len()));
    }
    match labels.iter().find(|(_, value)| value.len() > LABEL_VALUE_BYTES_MAX) {
        Some((label, _)) => Err(format!("label {label} is longer than {LABEL_VALUE_BYTES_MAX} bytes")),
        None => Ok(()),
    }
}

/// Checks an idempotency key.
pub fn check_idempotency_key(key: &str) -> Result<(), String> {
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(format!("must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes long"));
    }
    Ok(())
}

/// How the request is written, which decides where a complaint points and which names may be left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Command,
    OneTask,
    Tasks,
    /// Tasks without a job around them, which may need others of a job that is not here.
    Extension,
}

impl Shape {
    /// Where a field of the task at `at` stands.
    fn place(self, at: usize, field: impl fmt::Display) -> String {
        match self {
            Self::Command => format!("/{field}"),
            Self::OneTask | Self::Tasks => format!("/tasks/{at}/{field}"),
            Self::Extension => format!("/{at}/{field}"),
        }
    }
}

#[derive(Default)]
struct Complaints(Vec<FieldError>);

impl Complaints {
    fn add(&mut self, pointer: String, detail: impl Into<String>) {
        if !self.is_full() {
            self.0.push(FieldError::new(pointer, detail));
        }
    }

    fn is_full(&self) -> bool {
        self.0.len() >= COMPLAINTS_MAX
    }

    fn check_job_fields(&mut self, job: &JobRequest) {
        if let Some(priority) = job.priority.filter(|p| *p > PRIORITY_MAX) {
            self.add("/priority".into(), format!("{priority} is above {PRIORITY_MAX}"));
        }
        if let Some(Err(detail)) = job.labels.as_ref().map(check_labels) {
            self.add("/labels".into(), detail);
        }
        if let Some(Err(detail)) = job.idempotency_key.as_deref().map(check_idempotency_key) {
            self.add("/idempotency_key".into(), detail);
        }
    }

    fn check_task_count(&mut self, tasks: &[TaskRequest]) {
        if tasks.is_empty() {
            self.add("/tasks".into(), "a job needs at least one task");
        }
        if tasks.len() > TASKS_PER_JOB_MAX {
            self.0 = vec![FieldError::new("/tasks", format!("more than {TASKS_PER_JOB_MAX} tasks"))];
        }
        let edges: usize = tasks.iter().filter_map(|t| t.needs.as_ref()).map(Vec::len).sum();
        if edges > EDGES_PER_JOB_MAX {
            self.add("/tasks".into(), format!("{edges} dependencies, the most is {EDGES_PER_JOB_MAX}"));
        }
    }

    fn task(&mut self, at: usize, request: TaskRequest, shape: Shape) -> TaskSpec {
        let place = |field: &str| shape.place(at, field);
        match shape {
            Shape::Tasks if request.name.is_none() => self.add(place("name"), "each task of several needs a name"),
            Shape::Extension if request.name.is_none() => self.add(place("name"), "a new task needs a name"),
            Shape::Command | Shape::OneTask | Shape::Tasks | Shape::Extension => {}
        }
        if request.before.is_some() {
            self.add(place("before"), "is for tasks that a running one adds; let the other task need this one");
        }
        let (retries, losses) = self.retries(&request, &place);
        self.check_constraints(&request, &place);
        self.check_cluster_resources(&request, &place);
        self.check_amounts(&request, &place);
        let rate = self.rate(request.rate, &place);
        let driver = request.driver.unwrap_or_default();
        let command = request.command.unwrap_or_default();
        // A task that executes nothing needs no command; the one that it has is a command all the same.
        let is_missing = driver == Driver::Noop && command.is_empty();
        if let Err(detail) = check_command(&command)
            && !is_missing
        {
            self.add(place("command"), detail);
        }
        let env = request.env.unwrap_or_default();
        if let Err(detail) = check_env(&env) {
            self.add(place("env"), detail);
        }
        let name = request.name.unwrap_or_else(|| constant("main"));
        TaskSpec {
            gang: request.gang.and_then(|gang| gang.name_for(&name)),
            name,
            driver,
            command,
            env,
            working_dir: request.working_dir,
            stdin: request.stdin,
            count: request.count.unwrap_or(1),
            max_parallel: request.max_parallel,
            needs: request.needs.unwrap_or_default(),
            resources: request.resources.unwrap_or_else(|| Resources::new(1000, 0)),
            retries,
            retry_on: request.retry_on.unwrap_or_default(),
            no_retry_on: request.no_retry_on.unwrap_or_default(),
            losses,
            backoff: self.backoff(&place("backoff"), request.backoff.map(|Object(backoff)| backoff)),
            timeout: request.timeout,
            grace: request.grace.unwrap_or(GRACE_DEFAULT),
            expected: request.expected,
            requires: request.requires.unwrap_or_default().into(),
            prefers: request.prefers.unwrap_or_default().into(),
            tolerations: request.tolerations.unwrap_or_default().into(),
            spread: request.spread.unwrap_or_default().into_iter().map(|Object(spread)| spread).collect(),
            anti_affinity: request.anti_affinity.unwrap_or_default().into(),
            key: request.key,
            cluster_resources: request.cluster_resources.unwrap_or_default(),
            rate,
            movable: request.movable.unwrap_or(false),
        }
    }

    /// What it is started with, how many of it there are, and for how long.
    fn check_amounts(&mut self, request: &TaskRequest, place: &dyn Fn(&str) -> String) {
        if let Some(Err(detail)) = request.working_dir.as_deref().map(check_path) {
            self.add(place("working_dir"), detail);
        }
        if request.stdin.as_ref().is_some_and(|s| s.len() > STDIN_BYTES_MAX) {
            self.add(place("stdin"), format!("longer than {STDIN_BYTES_MAX} bytes"));
        }
        if request.count == Some(0) {
            self.add(place("count"), "must be at least 1");
        }
        if request.max_parallel == Some(0) {
            self.add(place("max_parallel"), "must be at least 1");
        }
        let spans = [("timeout", request.timeout), ("expected", request.expected), ("grace", request.grace)];
        for (field, span) in spans {
            if span.is_some_and(|s| s.0 > SPAN_MS_MAX || (s.0 == 0 && field != "grace")) {
                self.add(place(field), "must be longer than nothing and shorter than ten years");
            }
        }
    }

    /// How often a task is tried again, and how many workers it may take with it.
    fn retries(&mut self, request: &TaskRequest, place: &dyn Fn(&str) -> String) -> (u32, u32) {
        let retries = request.retries.unwrap_or(0);
        if retries > RETRIES_MAX {
            self.add(place("retries"), format!("{retries} is above {RETRIES_MAX}"));
        }
        for (field, codes) in [("retry_on", &request.retry_on), ("no_retry_on", &request.no_retry_on)] {
            if codes.as_ref().is_some_and(|codes| codes.contains(&0)) {
                self.add(place(field), "0 is success, after which nothing is tried again");
            }
        }
        let losses = request.losses.unwrap_or(LOSSES_DEFAULT);
        if !(1..=LOSSES_MAX).contains(&losses) {
            self.add(place("losses"), format!("must be from 1 to {LOSSES_MAX}"));
        }
        (retries, losses)
    }

    fn backoff(&mut self, place: &str, request: Option<BackoffRequest>) -> Backoff {
        let request = request.unwrap_or_default();
        let default = Backoff::default();
        let initial = request.initial.unwrap_or(default.initial);
        let max = request.max.unwrap_or(default.max.max(initial));
        if max < initial || max.0 > SPAN_MS_MAX {
            self.add(format!("{place}/max"), "must be at least initial and shorter than ten years");
        }
        Backoff { initial, factor: request.factor.unwrap_or(default.factor), max }
    }

    fn check_elements(&mut self, tasks: &[TaskSpec]) {
        let elements: u64 = tasks.iter().map(|t| u64::from(t.count)).sum();
        if elements > ELEMENTS_PER_JOB_MAX {
            self.add("/tasks".into(), format!("{elements} elements, the most is {ELEMENTS_PER_JOB_MAX}"));
        }
    }
}

fn check_command(command: &[String]) -> Result<(), String> {
    if command.first().is_none_or(String::is_empty) {
        return Err("a program is needed as the first element".into());
    }
    if command.len() > COMMAND_ARGS_MAX || command.iter().map(String::len).sum::<usize>() > COMMAND_BYTES_MAX {
        return Err(format!("more than {COMMAND_ARGS_MAX} arguments or {COMMAND_BYTES_MAX} bytes"));
    }
    if command.iter().any(|arg| arg.contains('\0')) {
        return Err("an argument must not hold a NUL character".into());
    }
    Ok(())
}

fn check_env(env: &BTreeMap<String, String>) -> Result<(), String> {
    let bytes: usize = env.iter().map(|(k, v)| k.len() + v.len()).sum();
    if env.len() > ENV_VARS_MAX || bytes > ENV_BYTES_MAX {
        return Err(format!("more than {ENV_VARS_MAX} variables or {ENV_BYTES_MAX} bytes"));
    }
    // NAME=VALUE and its NUL are one string for the kernel, which takes 128 KiB at the most.
    if let Some((name, _)) = env.iter().find(|(k, v)| k.len() + v.len() + 2 > ENV_BYTES_MAX) {
        return Err(format!("{name} and its value are longer than {} bytes", ENV_BYTES_MAX - 2));
    }
    match env.iter().find(|(k, v)| k.is_empty() || k.contains(['=', '\0']) || v.contains('\0')) {
        Some((name, _)) => Err(format!("{name:?} is not the name of a variable, or its value holds a NUL character")),
        None => Ok(()),
    }
}

fn check_path(path: &str) -> Result<(), String> {
    if path.is_empty() || path.len() > PATH_BYTES_MAX || path.contains('\0') {
        return Err(format!("must be a path of 1 to {PATH_BYTES_MAX} bytes without NUL"));
    }
    if !path.starts_with('/') && path.split('/').any(|part| part == "..") {
        return Err("must be absolute, or stay below the attempt's own folder".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(json: &str) -> Result<JobSpec, Vec<FieldError>> {
        serde_json::from_str::<JobRequest>(json).unwrap().validate()
    }

    #[test]
    fn a_command_becomes_a_task_named_main() {
        let job = validate(r#"{"command":["true"]}"#).unwrap();
        assert_eq!((job.name.as_str(), job.tasks[0].name.as_str()), ("main", "main"));
        assert_eq!((job.priority, job.tasks[0].count, job.tasks[0].resources.cpu_millis), (50, 1, 1000));
    }

    #[test]
    fn each_complaint_names_its_place() {
        let cases = [
            (r#"{}"#, "/tasks"),
            (r#"{"tasks":[]}"#, "/tasks"),
            (r#"{"command":["a"],"tasks":[]}"#, "/command"),
            (r#"{"command":[]}"#, "/command"),
            (r#"{"command":["a\u0000"]}"#, "/command"),
            (r#"{"tasks":[{"command":[]}]}"#, "/tasks/0/command"),
            (r#"{"tasks":[{"command":["x"],"working_dir":"a/../../b"}]}"#, "/tasks/0/working_dir"),
            (r#"{"command":["a"],"priority":101}"#, "/priority"),
            (r#"{"command":["a"],"idempotency_key":""}"#, "/idempotency_key"),
            (r#"{"tasks":[{"name":"a","command":["x"]},{"command":["x"]}]}"#, "/tasks/1/name"),
            (r#"{"tasks":[{"name":"a","command":["x"]},{"name":"a","command":["x"]}]}"#, "/tasks/1/name"),
            (r#"{"tasks":[{"name":"a","command":["x"],"needs":["b"]}]}"#, "/tasks/0/needs/0"),
            (r#"{"tasks":[{"name":"a","command":["x"],"needs":["a"]}]}"#, "/tasks/0/needs/0"),
            (r#"{"tasks":[{"name":"a","command":["x"],"count":0}]}"#, "/tasks/0/count"),
            (r#"{"tasks":[{"name":"a","command":["x"],"count":1000001}]}"#, "/tasks"),
            (r#"{"tasks":[{"name":"a","command":["x"],"timeout":"0s"}]}"#, "/tasks/0/timeout"),
            (r#"{"tasks":[{"name":"a","command":["x"],"retries":1001}]}"#, "/tasks/0/retries"),
            (r#"{"tasks":[{"name":"a","command":["x"],"env":{"A=":"x"}}]}"#, "/tasks/0/env"),
            (
                r#"{"tasks":[{"name":"a","command":["x"],"backoff":{"initial":"9s","max":"1s"}}]}"#,
                "/tasks/0/backoff/max",
            ),
            (r#"{"tasks":[{"command":["x"],"prefers":[{"condition":"a","weight":0}]}]}"#, "/tasks/0/prefers/0/weight"),
            (r#"{"tasks":[{"command":["x"],"prefers":["a","b","c","d","e","f","g"]}]}"#, "/tasks/0/prefers"),
            (r#"{"tasks":[{"command":["x"],"requires":["a","b","a"]}]}"#, "/tasks/0/requires/2"),
            (r#"{"tasks":[{"command":["x"],"tolerations":["a","a"]}]}"#, "/tasks/0/tolerations"),
            (r#"{"tasks":[{"command":["x"],"spread":[{"label":"zone","max":0}]}]}"#, "/tasks/0/spread/0/max"),
            (
                r#"{"tasks":[{"command":["x"],"spread":[{"label":"z","max":1},{"label":"z","max":2}]}]}"#,
                "/tasks/0/spread/1/label",
            ),
            (r#"{"tasks":[{"name":"a","command":["x"],"anti_affinity":["b"]}]}"#, "/tasks/0/anti_affinity/0"),
            (r#"{"tasks":[{"name":"a","command":["x"],"anti_affinity":["a","a"]}]}"#, "/tasks/0/anti_affinity/1"),
        ];
        for (json, pointer) in cases {
            let complaints = validate(json).expect_err(json);
            assert_eq!(complaints[0].pointer, pointer, "{json}: {complaints:?}");
        }
    }

    #[test]
    fn each_complaint_of_what_goes_together_or_apart_names_its_place() {
        let cases = [
            (r#"{"tasks":[{"command":["x"],"gang":true,"count":513}]}"#, "/tasks/0/gang"),
            (r#"{"tasks":[{"command":["x"],"gang":true,"count":2,"max_parallel":1}]}"#, "/tasks/0/max_parallel"),
            (
                r#"{"tasks":[{"name":"a","command":["x"],"gang":"g","count":500},
                    {"name":"b","command":["x"],"gang":"g","count":13}]}"#,
                "/tasks/1/gang",
            ),
            (
                r#"{"tasks":[{"name":"a","command":["x"],"gang":"g"},
                    {"name":"b","command":["x"],"gang":"g","needs":["a"]}]}"#,
                "/tasks/1/needs",
            ),
            (
                r#"{"tasks":[{"name":"a","command":["x"]},
                    {"name":"b","command":["x"],"gang":true,"needs":[{"task":"a","each":true}]}]}"#,
                "/tasks/1/needs",
            ),
            (
                r#"{"tasks":[{"name":"a","command":["x"],"anti_affinity":[{"label":"a=b"},"a",{"label":"a=b"}]}]}"#,
                "/tasks/0/anti_affinity/2",
            ),
            (r#"{"movable":true,"tasks":[{"command":["x"]}]}"#, "/movable"),
            (r#"{"command":["a"],"start_after":"0s"}"#, "/start_after"),
            (r#"{"command":["a"],"start_after":"2h","deadline":"1h"}"#, "/deadline"),
            (r#"{"command":["a"],"start_after":"2h","expires":"2h"}"#, "/expires"),
            (r#"{"command":["a"],"concurrency":{"key":"k","limit":0}}"#, "/concurrency/limit"),
            (r#"{"command":["a"],"then":[{"job":{"command":[]}}]}"#, "/then/0/job/command"),
            (r#"{"command":["a"],"then":[{"job":{"command":["b"],"then":[]}}]}"#, "/then/0/job/then"),
            (r#"{"command":["a"],"schedule":{}}"#, "/schedule"),
            (r#"{"command":["a"],"schedule":{"every":"1s","cron":"@daily"}}"#, "/schedule/every"),
            (r#"{"command":["a"],"schedule":{"every":"999ms"}}"#, "/schedule/every"),
            (r#"{"command":["a"],"schedule":{"every":"1m","time_zone":"Europe/Berlin"}}"#, "/schedule/time_zone"),
            (r#"{"command":["a"],"schedule":{"every":"48h","jitter":"25h"}}"#, "/schedule/jitter"),
            (r#"{"command":["a"],"schedule":{"every":"1m","jitter":"1m"}}"#, "/schedule/jitter"),
            (
                r#"{"command":["a"],"then":[{"job":{"command":["b"],"concurrency":{"key":"k","when_full":"reject"}}}]}"#,
                "/then/0/job/concurrency/when_full",
            ),
            (r#"{"command":["a"],"schedule":{"every":"1m","history":10001}}"#, "/schedule/history"),
            (r#"{"command":["a"],"schedule":{"every":"1m"},"deadline":"2030-01-01T00:00:00Z"}"#, "/deadline"),
            (r#"{"tasks":[{"name":"a","command":["x"],"max_parallel":0}]}"#, "/tasks/0/max_parallel"),
            (r#"{"tasks":[{"name":"a","command":["x"],"retry_on":[0]}]}"#, "/tasks/0/retry_on"),
            (r#"{"tasks":[{"name":"a","command":["x"],"losses":0}]}"#, "/tasks/0/losses"),
            (r#"{"tasks":[{"name":"a","command":["x"],"needs":[{"job":1},{"job":1}]}]}"#, "/tasks/0/needs/1"),
            (
                r#"{"tasks":[{"name":"a","command":["x"],"count":2},
                    {"name":"b","command":["x"],"needs":[{"task":"a","each":true}]}]}"#,
                "/tasks/1/needs/0",
            ),
        ];
        for (json, pointer) in cases {
            let complaints = validate(json).expect_err(json);
            assert_eq!(complaints[0].pointer, pointer, "{json}: {complaints:?}");
        }
    }

    #[test]
    fn arrays_are_no_objects() {
        assert!(serde_json::from_str::<Object<JobRequest>>(r#"["n"]"#).is_err());
        for json in [r#"{"tasks":[["a"]]}"#, r#"{"tasks":[{"command":["x"],"backoff":["1s",2,"5m"]}]}"#] {
            assert!(serde_json::from_str::<JobRequest>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_cycle_is_pointed_at() {
        let json = r#"{"tasks":[{"name":"free","command":["x"]},
            {"name":"tail","command":["x"],"needs":["c"]},
            {"name":"a","command":["x"],"needs":["free","c"]},
            {"name":"b","command":["x"],"needs":["a"]},
            {"name":"c","command":["x"],"needs":["b"]}]}"#;
        let complaint = &validate(json).unwrap_err()[0];
        assert!(["/tasks/2/needs/1", "/tasks/3/needs/0", "/tasks/4/needs/0"].contains(&complaint.pointer.as_str()));
        assert!(complaint.detail.contains("cycle"));
    }

    #[test]
    fn what_a_job_prints_can_be_submitted_again() {
        let json = r#"{"name":"n","tasks":[{"name":"a","command":["x"],"resources":{"cpu":0.5,"gpu":1},
            "backoff":{"factor":1.5},"timeout":"1h30m","count":3,"max_parallel":2,
            "requires":["zone=eu","m>=1.5"],"prefers":["ssd"],"tolerations":["d=ml"],
            "spread":[{"label":"rack","max":2}],"anti_affinity":["b",{"label":"app=web"}],"key":"k","movable":true},{"name":"b","gang":true,"command":["x"],"retry_on":[7],
            "needs":["a",{"job":3,"on":"finish"}]}],"start_after":"10m","expires":"1h",
            "preempt":"lower","concurrency":{"key":"k"},"then":[{"on":"failure","job":{"command":["y"]}}],"schedule":{"every":"90s"}}"#;
        let job = validate(json).unwrap();
        assert_eq!(validate(&serde_json::to_string(&job).unwrap()), Ok(job));
    }

    #[test]
    fn backoff_grows_to_its_maximum() {
        let backoff = Backoff { max: Span::from_secs(5), ..Backoff::default() };
        let waits: Vec<u64> = [1, 2, 3, 4, 1000].map(|n| backoff.wait(n).0).to_vec();
        assert_eq!(waits, [1000, 2000, 4000, 5000, 5000]);
    }
}
