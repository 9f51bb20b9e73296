//! Jobs of Quorate with their run times, one a line.
//!
//! A line is a job as the API takes it, with two more fields: `"submitted_at"`, and `"run"`, how long it ran. A task
//! may have a `"run"` of its own, and an array task `"runs"`, one for each element. `"command"` may be left out.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use quorate_placement::book::Constraints;
use quorate_state::company::Company;
use quorate_types::job::{JobRequest, JobSpec, TaskSpec};
use quorate_types::{Name, Need, Span, Timestamp};
use serde_json::{Map, Value, json};

use super::Entry;
use super::error::{InputError, LineError};
use super::in_order_of_needs;
use super::lines::Lines;
use crate::lab::job::{Gang, Job, Kin};

/// The label that tells jobs of one owner from those of another; without it the namespace does.
const OWNER_LABEL: &str = "owner";
/// Ids in the needs of all elements of one task: each element of an array needs every element of another.
const NEEDS_MAX: usize = 10_000_000;

/// The jobs of a file: an element of a task is one.
#[derive(Debug)]
pub(super) struct NdjsonJobs {
    lines: Lines,
    last_id: u64,
    waiting: VecDeque<Job>,
}

impl NdjsonJobs {
    pub(super) fn new(lines: Lines) -> Self {
        Self { lines, last_id: 0, waiting: VecDeque::new() }
    }

    /// Makes jobs of the next line; `false` at the end.
    fn read(&mut self) -> Result<bool, InputError> {
        let Some(line) = self.lines.next()? else { return Ok(false) };
        let jobs = Line::parse(line).and_then(|line| line.jobs(self.last_id));
        let jobs = jobs.map_err(|error| self.lines.wrong(error))?;
        self.last_id += jobs.len() as u64;
        self.waiting.extend(jobs);
        Ok(true)
    }
}

impl Iterator for NdjsonJobs {
    type Item = Result<Entry, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.is_empty() {
            match self.read() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        self.waiting.pop_front().map(|job| Ok(Entry::Job(job)))
    }
}

/// One line, checked.
#[derive(Debug)]
struct Line {
    spec: JobSpec,
    submitted: Timestamp,
    /// The run times of each task's elements.
    runs: Vec<Vec<Span>>,
}

impl Line {
    fn parse(text: &[u8]) -> Result<Self, LineError> {
        let Value::Object(mut job) = serde_json::from_slice(text)? else { return Err(LineError::NotAnObject) };
        let submitted = job.remove("submitted_at").ok_or(LineError::Missing("submitted_at"))?;
        let submitted = serde_json::from_value(submitted)?;
        let run = take_span(&mut job, "run")?;
        let recorded = match job.get_mut("tasks").and_then(Value::as_array_mut) {
            Some(tasks) => tasks.iter_mut().map(Runs::take).collect::<Result<_, _>>()?,
            None => {
                job.entry("command").or_insert_with(|| json!(["true"]));
                vec![Runs::default()]
            }
        };
        let request: JobRequest = serde_json::from_value(Value::Object(job))?;
        let mut complaints = Vec::new();
        let spec = request.validate().map_err(|found| complaints = found);
        let Ok(spec) = spec else {
            return Err(complaints.into_iter().next().map_or(LineError::NotAnObject, LineError::Job));
        };
        let runs = spec.tasks.iter().zip(recorded).map(|(task, recorded)| recorded.of(task, run));
        Ok(Self { runs: runs.collect::<Result<_, _>>()?, submitted, spec })
    }

    /// A job for each element, numbered from after `last_id`, in an order in which each comes after what it needs: what
    /// is not known at a job's submission counts as ended.
    fn jobs(&self, last_id: u64) -> Result<Vec<Job>, LineError> {
        let mut next = last_id + 1;
        let mut ids: HashMap<&str, std::ops::Range<u64>> = HashMap::new();
        let order = in_order_of_needs(&self.spec.tasks);
        for task in order.iter().map(|at| &self.spec.tasks[*at]) {
            let end = next + u64::from(task.count);
            ids.insert(&task.name, next..end);
            next = end;
        }
        let gangs = self.gangs(&ids);
        let (mut jobs, apart) = (Vec::new(), self.spec.apart());
        for at in order {
            let (task, runs) = (&self.spec.tasks[at], &self.runs[at]);
            let apart = apart.get(&(at as u32)).into_iter().flatten().copied().collect();
            let kin = Kin { job: last_id + 1, task: at as u32 };
            let company = Company::of(&self.spec, task).map(Arc::new);
            let gang = task.gang.as_ref().and_then(|gang| gangs.get(gang)).copied();
            let place = Place { kin, constraints: Constraints::of(task, apart), company, gang };
            // Recorded work ended as it did: whatever the outcome that a need asks for, its end is waited for.
            let of_task = |need: &Need| need.task().and_then(|needed| ids.get(needed.as_str())).cloned();
            let all = task.needs.iter().filter(|need| !matches!(need, Need::Each { .. })).filter_map(of_task);
            let all: Vec<u64> = all.flatten().collect();
            let each = task.needs.iter().filter(|need| matches!(need, Need::Each { .. })).filter_map(of_task);
            let each: Vec<u64> = each.map(|range| range.start).collect();
            let needs = all.len() + each.len();
            if needs.saturating_mul(runs.len()) > NEEDS_MAX {
                return Err(LineError::TooManyNeeds { task: task.name.to_string(), needs, max: NEEDS_MAX });
            }
            for (index, (id, run)) in ids[task.name.as_str()].clone().zip(runs).enumerate() {
                let same_index = each.iter().map(|first| first + index as u64);
                let needs = all.iter().copied().chain(same_index).collect();
                jobs.push(Job { needs, ..self.element(task, id, *run, &place) });
            }
        }
        Ok(jobs)
    }

    /// The gangs of the job, by name.
    fn gangs(&self, ids: &HashMap<&str, std::ops::Range<u64>>) -> BTreeMap<Name, Gang> {
        let mut gangs: BTreeMap<Name, Gang> = BTreeMap::new();
        for task in &self.spec.tasks {
            let (Some(name), Some(range)) = (&task.gang, ids.get(task.name.as_str())) else { continue };
            let gang = gangs.entry(name.clone()).or_insert(Gang { id: range.start, size: 0 });
            gang.size += task.count;
        }
        gangs
    }

    fn element(&self, task: &TaskSpec, id: u64, run: Span, place: &Place) -> Job {
        let spec = &self.spec;
        let owner = spec.labels.get(OWNER_LABEL).and_then(|owner| Name::new(owner).ok());
        // What is expected is no limit: what runs longer is not ended then.
        let expected = task.expected.map(|expected| expected.max(run));
        let limit = match (task.timeout, expected) {
            (Some(timeout), Some(expected)) => Some(timeout.min(expected)),
            (timeout, expected) => timeout.or(expected),
        };
        let run = limit.map_or(run, |limit| run.min(limit));
        Job {
            limit,
            priority: spec.priority,
            namespace: spec.namespace.clone(),
            owner: owner.unwrap_or_else(|| spec.namespace.clone()),
            name: spec.name.clone(),
            constraints: place.constraints.clone(),
            company: place.company.clone(),
            gang: place.gang,
            kin: place.kin,
            ..Job::new(id, self.submitted, run, task.resources.clone())
        }
    }
}

/// Where all elements of a task may run, and under what they are counted.
#[derive(Debug)]
struct Place {
    kin: Kin,
    constraints: Option<Arc<Constraints>>,
    company: Option<Arc<Company>>,
    gang: Option<Gang>,
}

/// What a task says of its run times.
#[derive(Debug, Default)]
struct Runs {
    run: Option<Span>,
    runs: Option<Vec<Span>>,
}

impl Runs {
    /// Takes them out, so that what is left is a task as the API knows it.
    fn take(task: &mut Value) -> Result<Self, LineError> {
        let task = task.as_object_mut().ok_or(LineError::NotAnObject)?;
        task.entry("command").or_insert_with(|| json!(["true"]));
        let runs = task.remove("runs").map(serde_json::from_value).transpose()?;
        Ok(Self { run: take_span(task, "run")?, runs })
    }

    fn of(self, task: &TaskSpec, of_job: Option<Span>) -> Result<Vec<Span>, LineError> {
        match (self.runs, self.run.or(of_job)) {
            (Some(runs), _) if runs.len() == task.count as usize => Ok(runs),
            (Some(runs), _) => {
                Err(LineError::Runs { task: task.name.to_string(), count: task.count, runs: runs.len() })
            }
            (None, Some(run)) => Ok(vec![run; task.count as usize]),
            (None, None) => Err(LineError::NoRun { task: task.name.to_string() }),
        }
    }
}

fn take_span(object: &mut Map<String, Value>, key: &str) -> Result<Option<Span>, LineError> {
    Ok(object.remove(key).map(serde_json::from_value).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = r#""submitted_at":"2026-01-01T00:00:00Z""#;

    fn jobs(rest: &str) -> Result<Vec<Job>, LineError> {
        Line::parse(format!("{{{AT},{rest}}}").as_bytes())?.jobs(10)
    }

    #[test]
    fn a_command_is_one_job() {
        let jobs = jobs(r#""run":"90s","name":"nightly","priority":70,"command":["make"]"#).unwrap();
        let [job] = jobs.as_slice() else { panic!("{jobs:?}") };
        assert_eq!((job.id, job.run, job.limit, job.priority), (11, Span(90_000), None, 70));
        assert_eq!((job.name.as_str(), job.submitted), ("nightly", "2026-01-01T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn elements_are_jobs_and_need_all_of_what_is_needed() {
        let tasks = r#""run":"5s","tasks":[{"name":"a","count":2,"runs":["1s","2s"]},
            {"name":"b","needs":["a"],"resources":{"cpu":2},"timeout":"3s"}]"#;
        let jobs = jobs(tasks).unwrap();
        let runs: Vec<u64> = jobs.iter().map(|job| job.run.0).collect();
        // The last one is ended by its timeout.
        assert_eq!(runs, [1000, 2000, 3000]);
        assert_eq!((jobs[2].id, &jobs[2].needs, jobs[2].request.cpu_millis), (13, &vec![11, 12], 2000));
    }

    #[test]
    fn constraints_are_those_of_the_task_and_of_those_that_must_be_apart_from_it() {
        let jobs = jobs(
            r#""run":"1s","tasks":[{"name":"a","count":2},{"name":"b","requires":["zone=eu"],"anti_affinity":["a"]}]"#,
        );
        let jobs = jobs.unwrap();
        let apart: Vec<Vec<u32>> =
            jobs.iter().map(|job| job.constraints.as_ref().map_or(vec![], |wanted| wanted.apart.clone())).collect();
        assert_eq!(apart, [vec![1], vec![1], vec![0]]);
        assert_eq!(jobs.iter().map(|job| (job.kin.job, job.kin.task)).collect::<Vec<_>>(), [(11, 0), (11, 0), (11, 1)]);
        assert_eq!(jobs[2].constraints.as_ref().unwrap().requires[0].to_string(), "zone=eu");
    }

    #[test]
    fn what_is_needed_comes_first_wherever_it_stands() {
        let jobs = jobs(
            r#""run":"1s","tasks":[{"name":"end","needs":["mid"]},{"name":"mid","needs":["begin"],"count":2},
            {"name":"begin"}]"#,
        );
        let found: Vec<_> = jobs.unwrap().into_iter().map(|job| (job.id, job.needs)).collect();
        assert_eq!(found, [(11, vec![]), (12, vec![11]), (13, vec![11]), (14, vec![12, 13])]);
    }

    #[test]
    fn what_is_expected_ends_nothing() {
        for (times, limit_ms, run_ms) in [
            (r#""expected":"10s""#, 10_000, 7_000),
            (r#""expected":"2s""#, 7_000, 7_000),
            (r#""expected":"2s","timeout":"5s""#, 5_000, 5_000),
        ] {
            let jobs = jobs(&format!(r#""run":"7s","tasks":[{{"name":"a",{times}}}]"#)).unwrap();
            assert_eq!((jobs[0].limit, jobs[0].run), (Some(Span(limit_ms)), Span(run_ms)), "{times}");
        }
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        for (line, reason) in [
            ("[1]", "not a JSON object"),
            ("{", "not JSON"),
            (r#"{"run":"1s"}"#, "\"submitted_at\" is missing"),
            (r#"{"submitted_at":"yesterday","run":"1s"}"#, "not JSON"),
            (&format!("{{{AT}}}"), "task \"main\" has no \"run\""),
            (&format!("{{{AT},\"run\":1}}"), "not JSON"),
            (&format!("{{{AT},\"run\":\"1s\",\"prio\":1}}"), "unknown field `prio`"),
            (
                &format!("{{{AT},\"tasks\":[{{\"name\":\"a\",\"count\":2,\"runs\":[\"1s\"]}}]}}"),
                "2 elements, and 1 run",
            ),
            (&format!("{{{AT},\"run\":\"1s\",\"priority\":200}}"), "/priority"),
        ] {
            let error = Line::parse(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
