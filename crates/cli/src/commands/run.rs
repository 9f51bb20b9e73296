//! `quorate run`: a command on the cluster as if it ran here.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use quorate_client::{Client, Error, EventFilter, Events, LogFilter, TaskAddress};
use quorate_types::api::{JobView, Submitted, TaskView};
use quorate_types::event::{EventType, EventView};
use quorate_types::session::Stream;
use quorate_types::status::JobState;
use quorate_types::{AttemptNumber, Code, JobId};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::{Context, logs};
use crate::args::{Format, RunArgs};
use crate::exit::{Failure, INTERRUPTED, JOB_FAILED};
use crate::output;
use crate::runtime::Interrupts;

/// After so long without a start the user is told what the job waits for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long output may still come in after the job has ended.
const OUTPUT_GRACE: Duration = Duration::from_secs(10);

pub(super) async fn run(context: &Context, args: RunArgs) -> Result<(), Failure> {
    // Before the submission: from then on Ctrl-C means to cancel.
    let mut interrupts = Interrupts::listen()?;
    let job = job(&args);
    let submitted = tokio::select! {
        submitted = context.client.submit(&job, None) => submitted?,
        () = interrupts.next() => {
            output::note("interrupted before the cluster answered: the job may have been submitted; `quorate job list` tells");
            return Err(Failure::Code(INTERRUPTED));
        }
    };
    if args.detach {
        return match context.format {
            Format::Json => output::json::print(&submitted),
            Format::Table => output::data(submitted.id.to_string()),
        };
    }
    Following::new(context.client.clone(), submitted).follow(interrupts).await
}

/// The job as JSON; what was not given is left to the cluster's defaults.
fn job(args: &RunArgs) -> Value {
    let mut task = Map::new();
    task.insert("name".into(), "main".into());
    task.insert("command".into(), args.command.clone().into());
    let mut resources = Map::new();
    if let Some(millis) = args.cpu {
        resources.insert("cpu".into(), json!(millis as f64 / 1000.0));
    }
    insert(&mut resources, "memory", args.memory);
    if !resources.is_empty() {
        task.insert("resources".into(), resources.into());
    }
    if !args.env.is_empty() {
        let env: Map<String, Value> = args.env.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        task.insert("env".into(), env.into());
    }
    insert(&mut task, "retries", args.retries);
    insert(&mut task, "timeout", args.timeout.map(|timeout| timeout.to_string()));
    let mut job = Map::new();
    job.insert("name".into(), name(args).into());
    insert(&mut job, "namespace", args.namespace.as_ref().map(ToString::to_string));
    insert(&mut job, "priority", args.priority);
    if !args.label.is_empty() {
        let labels: Map<String, Value> =
            args.label.iter().map(|(key, value)| (key.to_string(), value.clone().into())).collect();
        job.insert("labels".into(), labels.into());
    }
    job.insert("tasks".into(), json!([task]));
    job.into()
}

fn insert(map: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(key.into(), value.into());
    }
}

/// The given name, or else the program's, as far as it is a name.
fn name(args: &RunArgs) -> String {
    if let Some(name) = &args.name {
        return name.to_string();
    }
    let program = args.command.first().map_or("", String::as_str);
    let last = program.rsplit('/').next().unwrap_or_default();
    match quorate_types::JobName::new(last) {
        Ok(name) => name.to_string(),
        Err(_) => "run".to_owned(),
    }
}

/// A submitted job whose output is copied here until it ends.
#[derive(Debug)]
struct Following {
    client: Client,
    submitted: Submitted,
    /// Attempts whose output is being copied or was.
    copied: HashSet<AttemptNumber>,
    copies: JoinSet<Result<(), Failure>>,
    interrupted: bool,
}

impl Following {
    fn new(client: Client, submitted: Submitted) -> Self {
        Self { client, submitted, copied: HashSet::new(), copies: JoinSet::new(), interrupted: false }
    }

    async fn follow(mut self, mut interrupts: Interrupts) -> Result<(), Failure> {
        let id = self.submitted.id;
        let mut events = self.events().await?;
        let mut impatient = pin!(tokio::time::sleep(PATIENCE));
        let mut told = false;
        loop {
            tokio::select! {
                () = interrupts.next() => self.on_interrupt()?,
                () = &mut impatient, if !told => {
                    told = true;
                    self.tell_what_is_waited_for();
                }
                Some(done) = self.copies.join_next() => flatten(done)?,
                ended = next_event(&self.client, id, &mut events) => match ended? {
                    Some(event) if self.on_event(&event) => break,
                    Some(_) => {}
                    None => break,
                },
            }
        }
        tokio::select! {
            () = interrupts.next() => return Err(Failure::Code(INTERRUPTED)),
            ended = tokio::time::timeout(OUTPUT_GRACE, self.rest_of_output()) => {
                if let Ok(result) = ended { result? } else { output::note("the end of the output did not come in time") }
            }
        }
        self.exit_code().await
    }

    fn tell_what_is_waited_for(&self) {
        if self.copied.is_empty() {
            let id = self.submitted.id;
            output::note(format!("job {id} has not started yet; `quorate job explain {id}` says why"));
        }
    }

    async fn events(&self) -> Result<Option<Events>, Failure> {
        let Submitted { id, index, .. } = self.submitted;
        let filter = EventFilter { from: Some(index), job: Some(id), ..EventFilter::default() };
        match self.client.events(filter).await {
            Ok(events) => Ok(Some(events)),
            // Then the job's end is waited for without them, and the output comes at the end.
            Err(error) if error.code() == Some(Code::Gone) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Answers whether the job has ended.
    fn on_event(&mut self, event: &EventView) -> bool {
        let id = self.submitted.id;
        match event.kind {
            EventType::TaskRunning | EventType::TaskSucceeded | EventType::TaskFailed => self.copy(event),
            EventType::TaskWaiting => {
                let why = event.reason.as_deref().unwrap_or("the attempt failed");
                output::note(format!("job {id}: {why}; it will be tried again"));
            }
            EventType::JobPaused => {
                output::note(format!("job {id} was paused; `quorate job resume {id}` lets it go on"))
            }
            EventType::JobSucceeded | EventType::JobFailed | EventType::JobCancelled => return true,
            EventType::JobSubmitted
            | EventType::JobRunning
            | EventType::JobResumed
            | EventType::JobRetried
            | EventType::TaskPending
            | EventType::TaskAssigned
            | EventType::TaskStopping
            | EventType::TaskCancelled
            | EventType::JobExtended
            | EventType::JobUpdated
            | EventType::RolloutFinished
            | EventType::TaskHealthy
            | EventType::ScheduleSkipped
            | EventType::LockAcquired
            | EventType::LockReleased
            | EventType::WorkerReady
            | EventType::WorkerDraining
            | EventType::WorkerLost
            | EventType::WorkerLeft => {}
        }
        false
    }

    /// Copies an attempt's output, once.
    fn copy(&mut self, event: &EventView) {
        let (Some(task), Some(attempt)) = (event.task.clone(), event.attempt) else { return };
        let address = TaskAddress { job: self.submitted.id, task, index: event.index.unwrap_or_default() };
        self.copy_attempt(&address, attempt);
    }

    fn copy_attempt(&mut self, address: &TaskAddress, attempt: AttemptNumber) {
        if !self.copied.insert(attempt) {
            return;
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            let (client, address) = (self.client.clone(), address.clone());
            let filter = LogFilter { stream, attempt: Some(attempt), tail: None, follow: true };
            self.copies.spawn(async move {
                match logs::print(&client, address, filter).await {
                    // An attempt that never ran has no output.
                    Err(Failure::Client(error)) if error.is_not_found() => Ok(()),
                    other => other,
                }
            });
        }
    }

    /// The first Ctrl-C cancels the job, the second leaves it to itself.
    fn on_interrupt(&mut self) -> Result<(), Failure> {
        let id = self.submitted.id;
        if self.interrupted {
            output::note(format!("left job {id}; `quorate job show {id}` shows how it ends"));
            return Err(Failure::Code(INTERRUPTED));
        }
        self.interrupted = true;
        output::note(format!("cancelling job {id} (Ctrl-C again leaves at once)"));
        let client = self.client.clone();
        self.copies.spawn(async move {
            match client.cancel(id).await {
                // It ended by itself in the meantime.
                Err(error) if error.code() == Some(Code::Conflict) => Ok(()),
                Err(error) => Err(error.into()),
                Ok(_) => Ok(()),
            }
        });
        Ok(())
    }

    async fn rest_of_output(&mut self) -> Result<(), Failure> {
        if self.copied.is_empty()
            && let Some(task) = self.task().await?
            && task.attempt.0 > 0
        {
            let address = TaskAddress { job: self.submitted.id, task: task.task, index: task.index };
            self.copy_attempt(&address, task.attempt);
        }
        while let Some(done) = self.copies.join_next().await {
            flatten(done)?;
        }
        Ok(())
    }

    async fn task(&self) -> Result<Option<TaskView>, Error> {
        Ok(self.client.all_tasks(self.submitted.id).await?.into_iter().next())
    }

    async fn exit_code(&self) -> Result<(), Failure> {
        let id = self.submitted.id;
        let job: JobView = self.client.job(id).await?;
        match job.state {
            JobState::Succeeded => Ok(()),
            JobState::Cancelled => {
                output::note(format!("job {id} was cancelled"));
                Err(Failure::Code(if self.interrupted { INTERRUPTED } else { JOB_FAILED }))
            }
            JobState::Failed | JobState::Pending | JobState::Running | JobState::Paused => {
                let task = self.task().await?;
                let code = task.as_ref().and_then(|task| task.exit_code).filter(|code| *code != 0);
                if code.is_none() {
                    let reason = task.and_then(|task| task.reason).unwrap_or_else(|| job.state.to_string());
                    output::note(format!("job {id}: {reason}"));
                }
                Err(Failure::Code(code.map_or(JOB_FAILED, exit_byte)))
            }
        }
    }
}

/// A process's code as ours: only eight bits of it reach the parent.
fn exit_byte(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(JOB_FAILED)
}

/// The next event, or `None` once the job has finished without any being told.
async fn next_event(client: &Client, id: JobId, events: &mut Option<Events>) -> Result<Option<EventView>, Failure> {
    if let Some(stream) = events {
        match stream.next().await {
            Ok(Some(event)) => return Ok(Some(event)),
            Ok(None) => *events = None,
            Err(error) if error.code() == Some(Code::Gone) => *events = None,
            Err(error) => return Err(error.into()),
        }
    }
    client.wait_job(id, None).await?;
    Ok(None)
}

fn flatten(done: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    match done {
        Ok(result) => result,
        Err(error) => Err(Failure::Other(anyhow::Error::new(error).context("copy output"))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use quorate_types::job::JobRequest;

    use super::*;
    use crate::args::{Cli, Command};

    fn job_of(line: &str) -> Value {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Run(args) => job(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_a_job_of_one_task() {
        let job = job_of(
            "quorate run --cpu 0.5 --memory 1MiB --retries 2 --timeout 90s --env A=1=2 --label zone=a --priority 7 -- /bin/echo -n x",
        );
        let expected = json!({"name": "echo", "priority": 7, "labels": {"zone": "a"}, "tasks": [{
            "name": "main", "command": ["/bin/echo", "-n", "x"], "env": {"A": "1=2"}, "retries": 2, "timeout": "1m30s",
            "resources": {"cpu": 0.5, "memory": 1_048_576}}]});
        assert_eq!(job, expected);
        let spec = serde_json::from_value::<JobRequest>(job).unwrap().validate().unwrap();
        assert_eq!(spec.tasks[0].resources.cpu_millis, 500);
    }

    #[test]
    fn a_plain_command_leaves_the_defaults_to_the_cluster() {
        assert_eq!(
            job_of("quorate run true"),
            json!({"name": "true", "tasks": [{"name": "main", "command": ["true"]}]})
        );
        assert_eq!(job_of("quorate run -- ü")["name"], "run");
    }

    #[test]
    fn exit_codes_keep_eight_bits() {
        assert_eq!([exit_byte(0), exit_byte(3), exit_byte(256 + 4), exit_byte(137)], [0, 3, 4, 137]);
    }
}
