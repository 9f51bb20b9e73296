//! How a service stands, and its elements in it.

use quorate_state::job::Job;
use quorate_types::api::{Rollout, ServiceView};
use quorate_types::service::Kind;
use quorate_types::status::TaskState;
use quorate_types::{Span, TaskIndex};

use super::Voice;

/// What is to be said of a service that has not ended; none of other jobs.
pub(super) fn of_job(job: &Job, voice: Voice) -> Option<Vec<String>> {
    let view = job.service_view().filter(|_| !job.header.state.is_finished())?;
    let ServiceView { version, wanted, available, updated, max_unavailable, rollout, stalled_by } = view;
    let (id, name, state, kind) = (job.id(), &job.spec.name, job.header.state, job.spec.kind());
    let what = match kind {
        Kind::System => "a system job with one element on each worker that matches",
        Kind::Service | Kind::Batch => "a service",
    };
    let who = match voice {
        Voice::Real => format!("Job {id} ({name}) is {state}"),
        Voice::DryRun => format!("The job ({name}) would be {state}"),
    };
    let mut said = vec![
        format!("{who}. It is {what}, in version {version}."),
        format!("Of its {wanted} elements {available} are available, and {updated} have the newest version."),
    ];
    let paused = job.header.paused.then(|| "Nothing goes over to it while the job is paused.".to_owned());
    match rollout {
        Rollout::Done => {}
        Rollout::Rolling => {
            said.push(format!(
                "Others follow as these become available: at most {max_unavailable} may be unavailable."
            ));
            said.extend(paused);
        }
        Rollout::Stalled => {
            let why = stalled_by.unwrap_or_default();
            said.push(format!("The rollout stands still: {why}. No other element goes over until it stays well."));
            said.push(format!(
                "Another definition, or the one before, goes on from here: quorate job update {id} FILE."
            ));
        }
    }
    Some(said)
}

/// What is to be said of an element besides.
pub(super) fn of_element(job: &Job, task: u32, index: TaskIndex) -> Vec<String> {
    let Some(service) = job.spec.service.as_ref().filter(|_| !job.header.state.is_finished()) else {
        return Vec::new();
    };
    let number = |at: u32| service.versions.get(at as usize).map_or(0, |version| version.number);
    let mut said = Vec::new();
    if task != service.newest {
        said.push(format!("It has version {}; the newest is {}.", number(task), number(service.newest)));
    }
    let runs = job.task(task).and_then(|found| found.state_of(index)) == Some(TaskState::Running);
    if runs && job.is_available(index) == Some(false) {
        let least = job.spec.health_of(task).map(|health| health.min_healthy).filter(|least| *least > Span(0));
        said.push(match least {
            Some(least) => format!("It is not available: it has not been well for {least} yet."),
            None => "It is not available: its health command has not succeeded yet.".to_owned(),
        });
    }
    said
}
