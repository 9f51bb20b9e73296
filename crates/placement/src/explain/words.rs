//! Explanations in sentences.

use quorate_state::job::Header;
use quorate_types::explain::{
    EndCause, EndStory, Explanation, GangOutlook, NamespaceUse, QueuePlace, StartBasis, StartForecast, Wait,
};
use quorate_types::policy::QueueOrder;
use quorate_types::resources::format_bytes;
use quorate_types::{JobSpec, On, Resources, Span, Timestamp};

use super::{Subject, Voice};
use namespaces::{at_limit, quota};

mod attempts;
mod gates;
mod namespaces;
mod unblock;
mod workers;

/// What sentences need to know besides the explanation.
pub(super) struct Circumstances<'a> {
    now: Timestamp,
    voice: Voice,
    subject: &'a Subject<'a>,
}

impl<'a> Circumstances<'a> {
    pub(super) fn of(subject: &'a Subject<'a>, now: Timestamp) -> Self {
        Self { now, voice: subject.voice, subject }
    }

    /// A time with how far away it is.
    fn at(&self, time: Timestamp) -> String {
        match (time.since(self.now), self.now.since(time)) {
            (Span(0), Span(0)) => format!("{time} (now)"),
            (Span(0), past) => format!("{time} ({} ago)", span(past)),
            (ahead, _) => format!("{time} (in {})", span(ahead)),
        }
    }
}

/// Puts the explanation into words.
pub(super) fn say(explanation: &mut Explanation, about: &Circumstances<'_>) {
    let mut said = vec![opening(explanation, about)];
    said.extend(explanation.previous.iter().map(attempts::previous));
    said.extend(explanation.waits_for.iter().map(|wait| waits_for(wait, about)));
    if explanation.waits_for_more > 0 {
        said.push(format!("It waits for {} more things.", explanation.waits_for_more));
    }
    said.extend(explanation.gang.iter().map(gang));
    said.extend(explanation.queue.iter().flat_map(|place| queue(place, about)));
    said.extend(explanation.start.as_ref().map(|forecast| start(forecast, about)));
    said.extend(attempts::room(&explanation.room));
    said.extend(attempts::protected(&explanation.protected));
    said.extend(workers::say(explanation));
    said.extend(explanation.attempt.iter().flat_map(|live| attempts::live(live, about)));
    said.extend(explanation.end.iter().flat_map(|story| end(story, about)));
    if !explanation.state.is_finished() {
        said.extend(limits(about));
    }
    explanation.sentences = said;
    explanation.unblock = unblock::of(explanation, about);
}

/// What is to be said of a job as a whole.
pub(super) fn of_job(header: &Header, spec: &JobSpec, voice: Voice) -> Vec<String> {
    let counts = &header.counts;
    let parts = [
        (counts.waiting, "waiting"),
        (counts.pending, "pending"),
        (counts.assigned, "assigned"),
        (counts.running, "running"),
        (counts.stopping, "stopping"),
        (counts.succeeded, "succeeded"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
    ];
    let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    let who = match voice {
        Voice::Real => format!("Job {} ({}) is {}", header.id, spec.name, header.state),
        Voice::DryRun => format!("The job ({}) would be {}", spec.name, header.state),
    };
    if spec.schedule.is_some() {
        return vec![format!("{who}. It is a schedule: it has no tasks of its own, each of its runs is a job.")];
    }
    vec![format!("{who}: of its {} {} {}.", counts.total, plural(counts.total, "task", "tasks"), list(&parts))]
}

fn opening(explanation: &Explanation, about: &Circumstances<'_>) -> String {
    let task = &explanation.task;
    let spec = about.subject.spec.tasks.get(about.subject.task as usize);
    let what = match spec.is_some_and(|spec| spec.count > 1) {
        true => format!("Element {} of task {task}", explanation.index),
        false => format!("Task {task}"),
    };
    match explanation.job {
        Some(job) => format!("{what} of job {job} is {}.", explanation.state),
        None => format!("{what} would be {}.", explanation.state),
    }
}

fn waits_for(wait: &Wait, about: &Circumstances<'_>) -> String {
    match wait {
        Wait::Task { task, on, of: 1, .. } => format!("It waits for task {task} to {}.", verb(*on)),
        Wait::Task { task, on, left, of } => {
            format!("It waits for task {task} to {}: {left} of its {of} {} left.", verb(*on), elements(*left))
        }
        Wait::Element { task, index, on, state } => {
            format!("It waits for element {index} of task {task} to {}; that is {state}.", verb(*on))
        }
        Wait::Job { job, on, state } => {
            let state = state.map_or_else(String::new, |state| format!("; that is {state}"));
            format!("It waits for job {job} to {}{state}.", verb(*on))
        }
        Wait::StartTime { at } => format!("Its job does not start before {}.", about.at(*at)),
        Wait::Paused => "Its job is paused.".to_owned(),
        Wait::Cancelling => "Its job is being cancelled: it will not start.".to_owned(),
        Wait::Backoff { until, failures: 0, .. } => {
            format!("Its worker was unable to run it; it is tried again at {}.", about.at(*until))
        }
        Wait::Backoff { until, failures, .. } if about.subject.spec.service.is_some() => {
            let times = plural(u64::from(*failures), "time", "times");
            format!("It ended {failures} {times} in a row; it is started again at {}.", about.at(*until))
        }
        Wait::Backoff { until, failures, retries } => {
            format!("It failed; retry {failures} of {retries} comes at {}.", about.at(*until))
        }
        Wait::MaxParallel { limit, live, ahead } => {
            let first = if *ahead > 0 { format!(", and {ahead} more come before it") } else { String::new() };
            format!("Only {limit} elements of its task may run at a time (max_parallel): {live} do{first}.")
        }
        Wait::NamespaceLimit { .. } => {
            let task = about.subject.spec.tasks.get(about.subject.task as usize);
            at_limit(wait, task.is_some_and(|task| task.gang.is_some())).unwrap_or_default()
        }
        Wait::ClusterResource { resource, amount, total, held, holders } => {
            gates::resource(resource, *amount, *total, *held, holders)
        }
        Wait::Rate { key, limit, per, out, .. } => gates::rate(key, *limit, *per, *out),
        Wait::Lock { lock, holder, place } => gates::lock(lock, holder, *place),
        Wait::Gang { gang, live, size } => {
            format!(
                "Its attempt has ended; it waits for the {live} of the {size} elements of gang {gang} that have not."
            )
        }
        Wait::Concurrency { key, limit, holders, held, place, waiting } => {
            let named: Vec<String> = holders.iter().map(ToString::to_string).collect();
            let more = held.saturating_sub(named.len() as u64);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let jobs = plural(*held, "job", "jobs");
            format!(
                "The concurrency key {key} lets {limit} {} run at a time: {jobs} {}{more} {} it. It is the {} of \
                 {waiting} in line.",
                plural(u64::from(*limit), "job", "jobs"),
                list(&named),
                plural(*held, "holds", "hold"),
                ordinal(*place),
            )
        }
    }
}

fn queue(place: &QueuePlace, about: &Circumstances<'_>) -> Vec<String> {
    let line = if place.policy == QueueOrder::FairShare {
        format!("that namespace {} has in the queue", place.namespace)
    } else {
        "in the queue".to_owned()
    };
    let tasks = plural(place.of, "task", "tasks");
    let mut said = vec![format!("It is the {} of {} {tasks} {line}.", ordinal(place.place), place.of)];
    if place.elements_before > 0 {
        let elements = plural(place.elements_before, "element of its task comes", "elements of its task come");
        said.push(format!("{} {elements} before it.", place.elements_before));
    }
    said.push(format!("The policy {} goes by {}.", place.policy, reason(place, about)));
    said.extend(quota(place));
    said
}

/// What the gang asks for, and how much of it is there.
fn gang(outlook: &GangOutlook) -> String {
    let GangOutlook { name, size, fit, tasks } = outlook;
    let parts = tasks.iter().map(|task| format!("{} × ({}) for {}", task.count, asked(&task.resources), task.task));
    let parts: Vec<String> = parts.collect();
    format!("Its gang {name} starts all of its {size} elements at once: {}. {fit} of them would fit now.", list(&parts))
}

fn asked(resources: &Resources) -> String {
    let units = |millis: u64| millis as f64 / 1_000.0;
    let memory = (resources.memory_bytes > 0).then(|| format!(", {}", format_bytes(resources.memory_bytes)));
    let others = resources.other_millis.iter().map(|(kind, millis)| format!(", {} {kind}", units(*millis)));
    format!("{} cpu", units(resources.cpu_millis)) + &memory.into_iter().chain(others).collect::<String>()
}

/// What the policy has of the task.
fn reason(place: &QueuePlace, about: &Circumstances<'_>) -> String {
    let submitted = format!("when it was submitted, {}", about.at(place.submitted_at));
    let expected = match place.expected {
        Some(expected) => format!("{} (from {})", span(expected.span), source(expected.source)),
        None => "nobody knows how long, which comes last".to_owned(),
    };
    match place.policy {
        QueueOrder::Fifo => submitted,
        QueueOrder::Priority => {
            format!("priority, {}, and {submitted}: ten minutes of waiting are worth a point", place.priority)
        }
        QueueOrder::Sjf | QueueOrder::Srtf => format!("how long it is expected to run: {expected}"),
        QueueOrder::AgedSjf => {
            let expected = place.expected.map_or_else(|| "a day, since nobody knows".to_owned(), |_| expected);
            format!("how long it is expected to run, {expected}; priority, {}; and {submitted}", place.priority)
        }
        QueueOrder::LeastWork => {
            let dependents = place.open_dependencies;
            format!(
                "how long it is expected to run, {expected}, and a second for each task that waits for it: {dependents}"
            )
        }
        QueueOrder::Deadline => match place.deadline {
            Some(deadline) => format!("the deadline of its job, {}", about.at(deadline)),
            None => "deadlines; its job has none and comes last".to_owned(),
        },
        QueueOrder::CriticalPath => format!("the longest chain behind it: {}", span(place.path)),
        QueueOrder::FairShare => format!("what namespaces use: {}; then by {submitted}", used(place)),
        QueueOrder::RoundRobin => {
            format!("turns; it has been in line since {}", about.at(place.in_line_since))
        }
        QueueOrder::Multifactor => {
            format!("age, size, priority and fair share: {submitted}; priority {}; {}", place.priority, used(place))
        }
    }
}

fn used(place: &QueuePlace) -> String {
    let Some(NamespaceUse { share, after, of }) = place.namespace_use else { return "nothing is known of it".into() };
    let percent = (share * 1_000.0).round() / 10.0;
    format!(
        "{} has a share of {percent} % by what it runs and what it used before; {after} of the {of} namespaces that wait \
         have less",
        place.namespace
    )
}

const fn source(source: quorate_types::explain::ExpectedSource) -> &'static str {
    use quorate_types::explain::ExpectedSource;
    match source {
        ExpectedSource::Specification => "its specification",
        ExpectedSource::Learned => "the last runs of its name",
        ExpectedSource::Timeout => "its timeout",
    }
}

fn start(forecast: &StartForecast, about: &Circumstances<'_>) -> String {
    let StartForecast { basis, worker, at } = forecast;
    match (basis, at) {
        (StartBasis::Now, _) => match about.voice {
            Voice::Real => format!("The next round starts it on {worker}."),
            Voice::DryRun => format!("It would start at once, on {worker}."),
        },
        (StartBasis::Reservation, Some(at)) => {
            format!("It is to start at {} on {worker}, if what runs there ends when it is expected to.", about.at(*at))
        }
        (StartBasis::Reservation | StartBasis::Hold, _) => {
            format!(
                "{worker} is kept for it: nothing behind it in the queue goes there. When it has room nobody knows."
            )
        }
    }
}

fn end(story: &EndStory, about: &Circumstances<'_>) -> Vec<String> {
    let EndStory { failures, retries, .. } = story;
    let why = match (story.cause, &story.task) {
        (EndCause::Succeeded, _) => "It succeeded".to_owned(),
        (EndCause::RetriesUsedUp, _) if *retries == 0 => "It failed, and has no retries".to_owned(),
        (EndCause::RetriesUsedUp, _) => {
            let all = plural(u64::from(*retries), "retry is", "retries are");
            format!("It failed {failures} times: its {retries} {all} used up")
        }
        (EndCause::NotRetried, _) => "It failed, and is not to be tried again after this exit code".to_owned(),
        (EndCause::Poisonous, _) => "It lost one worker after the other: it is poisonous".to_owned(),
        (EndCause::Unable, _) => "One worker after the other was unable to run it".to_owned(),
        (EndCause::Deadline, _) => "The deadline of its job went by".to_owned(),
        (EndCause::Expired, _) => "Its job expired before it had started".to_owned(),
        (EndCause::JobCancelled, _) => "Its job was cancelled".to_owned(),
        (EndCause::OtherTaskFailed, Some(task)) => format!("Task {task} failed, which ends its job"),
        (EndCause::OtherTaskFailed, None) => "Another task had failed, which ended its job".to_owned(),
        (EndCause::NeedUnmet, Some(task)) => format!("What it needed of task {task} did not come about"),
        (EndCause::NeedUnmet, None) => "What it needed did not come about".to_owned(),
    };
    let reason = story.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    let mut said = vec![format!("{why}{reason}.")];
    if let (Some(worker), Some(at)) = (&story.worker, story.at) {
        said.push(format!("Attempt {}, its last, ended on {worker} at {}.", story.attempts, about.at(at)));
    }
    if story.cause == EndCause::Succeeded && *failures > 0 {
        said.push(format!("It used {failures} of its {retries} retries."));
    }
    said
}

/// What ends the job if it takes too long.
fn limits(about: &Circumstances<'_>) -> Vec<String> {
    let flow = about.subject.header.flow();
    let deadline = flow.deadline.map(|at| format!("Its job fails if it has not finished by {}.", about.at(at)));
    let expires = flow.expires.map(|at| format!("What of its job has not started by {} is cancelled.", about.at(at)));
    deadline.into_iter().chain(expires).collect()
}

const fn verb(on: On) -> &'static str {
    match on {
        On::Success => "succeed",
        On::Failure => "fail",
        On::Finish => "end",
    }
}

fn elements(left: u64) -> &'static str {
    if left == 1 { "elements is" } else { "elements are" }
}

pub(super) fn plural<'a>(n: u64, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}

/// `a`, `a and b`, `a, b and c`.
fn list(items: &[String]) -> String {
    match items {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn ordinal(n: u64) -> String {
    let ending = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        (_, _) => "th",
    };
    format!("{n}{ending}")
}

/// In seconds from a second on: more would pretend to know better.
fn span(span: Span) -> String {
    if span.0 < 1_000 { format!("{}ms", span.0) } else { Span(span.0 / 1_000 * 1_000).to_string() }
}
