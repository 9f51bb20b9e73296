//! Recordings come from many programs: each becomes a job, or is refused with the reason.

use quorate_types::job::JobRequest;
use quorate_types::{JobName, Name};

use super::*;
use crate::fuzz::{Fuzz, Verdict};
use crate::fuzz_json::damage;

const CONVERSIONS: [Conversion; 3] = [
    Conversion { time_scale: 1.0, burn: false, cores_millis: None },
    Conversion { time_scale: 0.001, burn: true, cores_millis: Some(500) },
    Conversion { time_scale: 1e300, burn: true, cores_millis: None },
];

/// Whether the recording becomes a job that a server takes.
fn is_job(text: &[u8], conversion: &Conversion) -> bool {
    let Ok(job) = convert(text, conversion) else { return false };
    JobName::new(job["name"].as_str().unwrap()).unwrap();
    for task in job["tasks"].as_array().unwrap() {
        Name::new(task["name"].as_str().unwrap()).unwrap();
    }
    // An amount of cores or bytes may be more than there can be; only the server knows that limit.
    let Ok(request) = serde_json::from_value::<JobRequest>(job.clone()) else { return false };
    match request.validate() {
        Ok(spec) => {
            assert_eq!(Some(spec.tasks.len()), job["tasks"].as_array().map(Vec::len));
            true
        }
        Err(complaints) => {
            let cycle = |detail: &str| detail.contains("in a cycle");
            assert!(complaints.iter().all(|complaint| cycle(&complaint.detail)), "{complaints:?}");
            false
        }
    }
}

#[test]
fn any_recording_becomes_a_job_or_is_refused() {
    Fuzz::target("wfformat").run(damage, |text| {
        Verdict::accepted_if(CONVERSIONS.map(|conversion| is_job(text, &conversion)).contains(&true))
    });
}

#[test]
fn thousands_of_tasks_may_share_a_name() {
    let (mut specified, mut executed) = (Vec::new(), Vec::new());
    for id in 0..10_000 {
        specified.push(json!({"id": id.to_string(), "name": "mProject"}));
        executed.push(json!({"id": id.to_string(), "runtimeInSeconds": 1}));
    }
    let workflow = json!({"specification": {"tasks": specified}, "execution": {"tasks": executed}});
    let started = std::time::Instant::now();
    assert!(is_job(json!({"workflow": workflow}).to_string().as_bytes(), &CONVERSIONS[0]));
    assert!(started.elapsed() < std::time::Duration::from_secs(2), "took {:?}", started.elapsed());
}
