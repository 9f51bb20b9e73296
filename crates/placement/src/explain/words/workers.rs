//! What there is to say of the workers.

use quorate_types::Name;
use quorate_types::explain::{Explanation, Obstacle, ObstacleKind, Shortage, StartBasis, WorkerOutlook, WorkerSurvey};
use quorate_types::resources::format_bytes;
use quorate_types::status::{TaskState, WorkerState};

use super::{list, plural};

/// Workers that have a sentence of their own.
const TOLD_MAX: usize = 5;

pub(super) fn say(explanation: &Explanation) -> Vec<String> {
    let Some(survey) = &explanation.workers else { return Vec::new() };
    if explanation.start.as_ref().is_some_and(|start| start.basis == StartBasis::Now) {
        return Vec::new();
    }
    let mut said = overview(survey, explanation.state);
    if survey.open > 0 {
        return said;
    }
    said.extend(survey.listed.iter().take(TOLD_MAX).map(worker));
    if survey.total > TOLD_MAX as u64 {
        let counts: Vec<String> = survey
            .counts
            .iter()
            .map(|count| {
                let what = match (count.kind, &count.resource) {
                    (ObstacleKind::Short, Some(resource)) => format!("short of {resource}"),
                    (ObstacleKind::Short, None) => "short of something".to_owned(),
                    (ObstacleKind::NotReady, _) => "not ready".to_owned(),
                    (ObstacleKind::Requires, _) => "not what the task requires".to_owned(),
                    (ObstacleKind::Tainted, _) => "tainted".to_owned(),
                    (ObstacleKind::Crowded, _) => "where enough of its elements are".to_owned(),
                    (ObstacleKind::Apart, _) => "with a task that it must be apart from".to_owned(),
                    (ObstacleKind::Shunned, _) => "with a job that it must be apart from".to_owned(),
                    (ObstacleKind::AttemptsFull, _) => "full of attempts".to_owned(),
                    (ObstacleKind::Kept, _) => "kept for other tasks".to_owned(),
                    (ObstacleKind::GangShort, _) => "with room that does not do for all of its gang".to_owned(),
                    (ObstacleKind::TakenAhead, _) => "taken by tasks ahead in the queue".to_owned(),
                    (ObstacleKind::NotReached, _) => "for a later round".to_owned(),
                };
                format!("{} {} {what}", count.workers, plural(count.workers, "is", "are"))
            })
            .collect();
        said.push(format!("Of all {} workers {}.", survey.total, list(&counts)));
    }
    said
}

fn overview(survey: &WorkerSurvey, state: TaskState) -> Vec<String> {
    let mut said: Vec<String> = survey.lacking.iter().map(|kind| lacking(kind, &survey.kinds)).collect();
    let WorkerSurvey { total, open, able, .. } = survey;
    let workers = plural(*total, "worker", "workers");
    if *total == 0 {
        return vec!["There is no worker.".to_owned()];
    }
    if *able == 0 && said.is_empty() {
        let are = |kind| survey.counts.iter().any(|count| count.kind == kind);
        said.push(match are(ObstacleKind::Requires) || are(ObstacleKind::Tainted) {
            true if are(ObstacleKind::Tainted) => {
                "No worker is what the task requires, without a taint that it does not \
                 tolerate, and large enough, even if it ran nothing else."
                    .to_owned()
            }
            true => "No worker is what the task requires and large enough, even if it ran nothing else.".to_owned(),
            false => "No worker is large enough, even if it ran nothing else.".to_owned(),
        });
    }
    match (*open, state) {
        (0, _) if *total == 1 => said.push("The only worker can't take it now.".to_owned()),
        (0, _) => said.push(format!("None of the {total} {workers} can take it now.")),
        (_, _) if *total == 1 => said.push("The only worker has room for it now.".to_owned()),
        (open, _) => said.push(format!("{open} of {total} {workers} {} room for it now.", plural(open, "has", "have"))),
    }
    said
}

fn lacking(kind: &Name, known: &[Name]) -> String {
    let names: Vec<String> = known.iter().map(ToString::to_string).collect();
    let meant = known.iter().find(|other| is_near(kind, other));
    let meant = meant.map_or_else(String::new, |meant| format!(" Is {meant} meant?"));
    format!("No worker has the resource {kind}; they have {}.{meant}", list(&names))
}

/// Whether one edit makes one of the other: a letter more, less or another.
fn is_near(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    if long.len() - short.len() > 1 {
        return false;
    }
    let same = short.bytes().zip(long.bytes()).take_while(|(a, b)| a == b).count();
    let (short, long) = (&short.as_bytes()[same..], &long.as_bytes()[same..]);
    match long.split_first() {
        None => false,
        Some((_, rest)) if long.len() > short.len() => short == rest,
        Some((_, rest)) => short.get(1..) == Some(rest),
    }
}

fn worker(outlook: &WorkerOutlook) -> String {
    let obstacles: Vec<String> = outlook.obstacles.iter().map(obstacle).collect();
    format!("{} {}.", outlook.worker, obstacles.join("; it "))
}

fn obstacle(found: &Obstacle) -> String {
    match found {
        Obstacle::NotReady { state: WorkerState::Left } => "has left".to_owned(),
        Obstacle::NotReady { state: WorkerState::Lost } => "is lost".to_owned(),
        Obstacle::NotReady { state } => format!("takes no new tasks: it is {state}"),
        Obstacle::Short(shortage) => short(shortage),
        Obstacle::Requires { condition } => format!("is not what the task requires: {condition}"),
        Obstacle::Tainted { taint } => format!("has the taint {taint}, which the task does not tolerate"),
        Obstacle::Crowded { label, value: Some(value), max } => {
            format!("is one of those with {label}={value}, where {max} of its elements are, as many as may be")
        }
        Obstacle::Crowded { label, value: None, .. } => format!("has no label {label}, over which the task is spread"),
        Obstacle::Apart { task } => format!("runs task {task}, from which it must be apart"),
        Obstacle::Shunned { job, label } => format!("runs job {job}, from which it must be apart ({label})"),
        Obstacle::AttemptsFull { limit } => format!("runs {limit} attempts, as many as a worker may"),
        Obstacle::Kept { job: Some(job), task } => format!("is kept for task {task} of job {job}, which waits as well"),
        Obstacle::Kept { job: None, task } => format!("is kept for task {task} of the same job"),
        Obstacle::GangShort { gang } => format!("has room, but there is none for all of gang {gang} at once"),
        Obstacle::TakenAhead => "has room, but tasks ahead in the queue take it".to_owned(),
        Obstacle::NotReached => "has room, but a round ends before it comes to the task".to_owned(),
    }
}

fn short(shortage: &Shortage) -> String {
    let Shortage { resource, asked, free, capacity, missing } = shortage;
    let amount = |n: f64| amount(resource, n);
    if *capacity == 0.0 {
        return format!("has no {resource}");
    }
    if asked > capacity {
        return format!("has {} as a whole, and the task asks for {}", amount(*capacity), amount(*asked));
    }
    format!(
        "has {} of its {} free, and the task asks for {}: {} too little",
        bare(resource, *free),
        amount(*capacity),
        bare(resource, *asked),
        amount(*missing)
    )
}

/// `2 cores`, `512MiB`, `1 gpu`.
pub(super) fn amount(resource: &Name, n: f64) -> String {
    match resource.as_str() {
        "memory" => format!("{} of memory", format_bytes(n as u64)),
        "cpu" if n == 1.0 => "1 core".to_owned(),
        "cpu" => format!("{n} cores"),
        other => format!("{n} {other}"),
    }
}

pub(super) fn bare(resource: &Name, n: f64) -> String {
    if resource.as_str() == "memory" { format_bytes(n as u64) } else { n.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_letter_is_a_slip() {
        for (one, other, near) in [
            ("gpuu", "gpu", true),
            ("gp", "gpu", true),
            ("gpa", "gpu", true),
            ("xgpu", "gpu", true),
            ("gpu", "tpu", true),
            ("gpu", "cpu", true),
            ("gpu", "gpu", false),
            ("licence", "gpu", false),
            ("gpuuu", "gpu", false),
            ("ugp", "gpu", false),
        ] {
            assert_eq!((is_near(one, other), is_near(other, one)), (near, near), "{one} {other}");
        }
    }
}
