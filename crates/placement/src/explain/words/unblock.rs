//! What would let an element go on, in a few words each.

use quorate_types::explain::{Explanation, GangOutlook, Obstacle, StartBasis, Wait, WorkerOutlook, WorkerSurvey};
use quorate_types::status::WorkerState;

use super::workers::amount;
use super::{Circumstances, gates, verb};
use quorate_types::{Name, Resources, job::TaskSpec};

/// Workers for which it is said what they lack.
const WAYS_MAX: usize = 3;

pub(super) fn of(explanation: &Explanation, about: &Circumstances<'_>) -> Vec<String> {
    let starts = explanation.start.as_ref().is_some_and(|start| start.basis == StartBasis::Now);
    let mut ways: Vec<String> = explanation.waits_for.iter().filter_map(|wait| wait_ends(wait, about)).collect();
    let Some(survey) = explanation.workers.as_ref().filter(|_| !starts) else { return ways };
    let spec = about.subject.spec.tasks.get(about.subject.task as usize);
    let short = explanation.gang.as_ref().filter(|gang| gang.fit < gang.size);
    if survey.able == 0 {
        let mut any = survey_ways(survey);
        any.extend(spec.map(|spec| format!("a worker registers that has {}", asked(spec))));
        // Of what it waits for all must come about, and with it one of these.
        ways = if ways.is_empty() { any } else { ways.into_iter().chain([any.join(", or ")]).collect() };
    } else if !explanation.waits_for.is_empty() {
        // All of that comes first.
    } else if let Some(gang) = short {
        let GangOutlook { name, size, fit, .. } = gang;
        ways.push(format!("there is room for all {size} elements of gang {name} at once, and not for {fit} only"));
    } else {
        ways.extend(survey_ways(survey));
        if let Some((spec, label)) = spec.zip(unlabelled(survey)).filter(|_| ways.is_empty()) {
            ways.push(format!("a worker registers that has {} and a label {label}", asked(spec)));
        }
    }
    ways
}

/// A label that workers lack, over which the task is spread.
fn unlabelled(survey: &WorkerSurvey) -> Option<&Name> {
    let all = survey.listed.iter().flat_map(|outlook| &outlook.obstacles);
    all.filter_map(|obstacle| match obstacle {
        Obstacle::Crowded { label, value: None, .. } => Some(label),
        _ => None,
    })
    .next()
}

fn wait_ends(wait: &Wait, about: &Circumstances<'_>) -> Option<String> {
    Some(match wait {
        Wait::Task { task, on, .. } => format!("task {task} {}s", verb(*on)),
        Wait::Element { task, index, on, .. } => format!("element {index} of task {task} {}s", verb(*on)),
        Wait::Job { job, on, .. } => format!("job {job} {}s", verb(*on)),
        Wait::StartTime { at } => format!("the time is {}", about.at(*at)),
        Wait::Paused => match about.subject.voice.job(about.subject.header.id) {
            Some(job) => format!("job {job} is resumed"),
            None => "the job is resumed".to_owned(),
        },
        Wait::Cancelling => return None,
        Wait::Backoff { until, .. } => format!("the backoff is over at {}", about.at(*until)),
        Wait::MaxParallel { live, ahead, limit } => {
            let ends = u64::from(*live) + ahead + 1 - u64::from(*limit);
            format!("{ends} of the elements before it end")
        }
        Wait::NamespaceLimit { namespace, resource, asked, limit, .. } if asked > limit => {
            format!("the limit of namespace {namespace} is raised to {}", amount(resource, *asked))
        }
        Wait::NamespaceLimit { namespace, resource, asked, held, limit, ahead } => {
            let less = held + asked * (*ahead as f64 + 1.0) - limit;
            format!("namespace {namespace} gives back {}, or its limit is raised by that", amount(resource, less))
        }
        Wait::ClusterResource { resource, amount, total, held, .. } => {
            gates::resource_ends(resource, *amount, *total, *held)
        }
        Wait::Rate { key, next, .. } => gates::rate_ends(key, *next, about),
        Wait::Lock { lock, holder, .. } => gates::lock_ends(lock, holder),
        Wait::Gang { gang, live, .. } => format!("{live} elements of gang {gang} end"),
        Wait::Concurrency { holders, held, place, limit, .. } => {
            let ends = held + place - u64::from(*limit).min(held + place - 1);
            let named: Vec<String> = holders.iter().map(ToString::to_string).collect();
            format!("{ends} of the jobs before it end, the first of {}", super::list(&named))
        }
    })
}

/// The nearest ways out, each for one worker at least.
fn survey_ways(survey: &WorkerSurvey) -> Vec<String> {
    let mut ways = Vec::new();
    for way in survey.listed.iter().filter_map(way) {
        if ways.len() < WAYS_MAX && !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways
}

/// What one worker would need; none if it is too small or gone.
fn way(outlook: &WorkerOutlook) -> Option<String> {
    let worker = &outlook.worker;
    let (mut parts, mut short) = (Vec::new(), Vec::new());
    for obstacle in &outlook.obstacles {
        parts.push(match obstacle {
            Obstacle::NotReady { state: WorkerState::Draining } => format!("{worker} is undrained"),
            Obstacle::NotReady { state: WorkerState::Ready | WorkerState::Lost | WorkerState::Left } => return None,
            Obstacle::Short(found) if found.asked > found.capacity => return None,
            Obstacle::Short(found) => {
                short.push(amount(&found.resource, found.missing));
                continue;
            }
            Obstacle::Requires { .. } | Obstacle::Crowded { value: None, .. } => return None,
            Obstacle::Tainted { taint } => format!("{worker} loses its taint {taint}"),
            Obstacle::Crowded { label, value: Some(value), .. } => {
                format!("one of its elements on workers with {label}={value} ends")
            }
            Obstacle::Apart { task } => format!("task {task} ends on {worker}"),
            Obstacle::Shunned { job, .. } => format!("job {job} ends on {worker}"),
            Obstacle::AttemptsFull { .. } => format!("an attempt on {worker} ends"),
            Obstacle::GangShort { .. } => return None,
            Obstacle::Kept { task, job: Some(job) } => format!("task {task} of job {job} has started"),
            Obstacle::Kept { task, job: None } => format!("task {task} has started"),
            Obstacle::TakenAhead => format!("what tasks ahead in the queue take of {worker} is free again"),
            Obstacle::NotReached => "the tasks ahead in the queue have started".to_owned(),
        });
    }
    if !short.is_empty() {
        parts.push(format!("{worker} has {} more free", super::list(&short)));
    }
    (!parts.is_empty()).then(|| parts.join(" and "))
}

/// What the task asks for and requires.
fn asked(spec: &TaskSpec) -> String {
    let Resources { cpu_millis, memory_bytes, other_millis } = &spec.resources;
    let mut parts = Vec::new();
    if *cpu_millis > 0 {
        let n = *cpu_millis as f64 / 1_000.0;
        parts.push(if n == 1.0 { "1 core".to_owned() } else { format!("{n} cores") });
    }
    if *memory_bytes > 0 {
        parts.push(format!("{} of memory", quorate_types::resources::format_bytes(*memory_bytes)));
    }
    parts.extend(other_millis.iter().map(|(kind, millis)| amount(kind, *millis as f64 / 1_000.0)));
    let requires: Vec<String> = spec.requires.iter().map(ToString::to_string).collect();
    if requires.is_empty() {
        return super::list(&parts);
    }
    format!("{} and meets {}", super::list(&parts), super::list(&requires))
}
