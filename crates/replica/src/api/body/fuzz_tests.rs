//! Submissions: whatever a client sends is refused with a complaint, or is a job that the state takes.

use std::sync::Arc;

use quorate_state::State;
use quorate_state::command::{Command, Entry, Proposal};
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::job::{JobRequest, JobSpec};
use quorate_types::{LogIndex, Timestamp};

use super::*;
use crate::fuzz::{Fuzz, Verdict};
use crate::fuzz_json::damage;

/// The way of a submission through the API, up to the command.
fn accept(json: &[u8]) -> Result<JobSpec, Problem> {
    let Object(request): Object<JobRequest> = parse(json, Code::InvalidJob).map_err(|ApiError(problem)| problem)?;
    request.validate().map_err(|errors| Problem::with_errors(Code::InvalidJob, errors))
}

/// Applies a submission to a state that has nothing else.
fn submit(spec: &JobSpec) {
    let (mut state, command) = (State::default(), Command::Submit(Arc::new(spec.clone())));
    let entry = Entry { time: Timestamp(1_700_000_000_000), proposals: vec![Proposal { origin: None, command }] };
    let outcome = state.apply(LogIndex(1), &entry).outcomes.remove(0);
    state.check().unwrap();
    assert!(
        matches!(outcome, Outcome::Submitted { existing: false, .. } | Outcome::Rejected(Rejection::QueueFull(_))),
        "{outcome:?}"
    );
}

#[test]
fn any_submission_is_a_job_or_gets_a_complaint() {
    Fuzz::target("job").run(damage, |json| match accept(json) {
        Ok(spec) => {
            // As `GET /v1/jobs/{id}` shows it, and as the log has it.
            let shown = serde_json::to_vec(&spec).unwrap();
            assert_eq!(accept(&shown).as_ref(), Ok(&spec), "{}", shown.escape_ascii());
            assert_eq!(crate::calls::decode::<JobSpec>(&crate::calls::encode(&spec)).unwrap(), spec);
            submit(&spec);
            Verdict::Accepted
        }
        Err(problem) => {
            assert!(matches!(problem.code, Code::InvalidJob | Code::InvalidJson), "{problem:?}");
            assert!(!problem.errors.is_empty() && problem.errors.len() <= 20, "{problem:?}");
            serde_json::to_vec(&problem).unwrap();
            Verdict::Refused
        }
    });
}
