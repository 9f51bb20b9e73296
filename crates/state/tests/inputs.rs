//! What a task gets to read of what it needs.

use crate::support::{Cluster, finished, name};
use quorate_state::command::{Command, RetryScope};
use quorate_state::limits::FINISHED_IN_MEMORY;
use quorate_types::inputs::{INPUT_BYTES, Inputs, Why};
use quorate_types::limits::{INPUTS_BYTES_MAX, RESULT_BYTES_MAX};
use quorate_types::session::{Finished, Happening};
use quorate_types::status::Ending;
use quorate_types::{Epoch, JobId, TaskIndex};

fn cluster() -> (Cluster, Epoch) {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w", 4_000);
    (cluster, epoch)
}

fn run(cluster: &mut Cluster, epoch: Epoch, job: JobId, task: u32, index: u32, code: i32, result: Option<&str>) {
    let key = cluster.assign(job, task, index, epoch).unwrap_or_else(|| panic!("{job} {task}[{index}] is not pending"));
    let end = Finished { result: result.map(str::to_owned), ..finished(Ending::Exited(code)) };
    cluster.report("w", epoch, key, Happening::Finished(Box::new(end)));
}

fn inputs(cluster: &Cluster, job: JobId, task: u32) -> Option<Inputs> {
    cluster.state.inputs_of(cluster.state.job(job).unwrap(), task)
}

fn own(cluster: &Cluster, job: JobId, task: u32, index: u32, room: usize) -> Option<Inputs> {
    cluster.state.job(job).unwrap().inputs_of_element(task, TaskIndex(index), room)
}

/// `0:succeeded:two 1:failed` for the elements of a task.
fn said(inputs: &Inputs, task: &str) -> String {
    let elements = inputs.needs[&name(task)].iter().map(|input| {
        let result = input.result.as_ref().map_or(String::new(), |result| format!(":{result}"));
        format!("{}:{}{result}", input.index, input.state)
    });
    elements.collect::<Vec<_>>().join(" ")
}

fn left_out(inputs: &Inputs) -> Vec<(String, Why)> {
    let of = |left: &quorate_types::inputs::LeftOut| match (&left.task, left.job) {
        (Some(task), None) => task.to_string(),
        (None, Some(job)) => job.to_string(),
        other => panic!("{other:?}"),
    };
    inputs.left_out.iter().map(|left| (of(left), left.why)).collect()
}

const SHAPES: &str = r#"{"on_failure":"continue","tasks":[
    {"name":"z","command":["x"]},
    {"name":"array","command":["x"],"count":3,"needs":["z"]},
    {"name":"chord","command":["x"],"needs":[{"task":"array","on":"finish"},"z"]},
    {"name":"pairs","command":["x"],"count":3,"needs":[{"task":"array","each":true,"on":"finish"},"z"]}]}"#;

#[test]
fn a_chain_an_array_and_what_comes_after_it() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(SHAPES);
    run(&mut cluster, epoch, id, 0, 0, 0, Some("seed"));
    assert_eq!((inputs(&cluster, id, 0), own(&cluster, id, 0, 0, 1)), (None, None), "it needs nothing");
    assert_eq!(said(&inputs(&cluster, id, 1).unwrap(), "z"), "0:succeeded:seed");
    assert_eq!(own(&cluster, id, 1, 0, INPUTS_BYTES_MAX), None, "its elements need no single ones");
    run(&mut cluster, epoch, id, 1, 2, 0, Some("two"));
    run(&mut cluster, epoch, id, 1, 0, 0, None);
    run(&mut cluster, epoch, id, 1, 1, 3, Some("what failed leaves none"));
    let all = inputs(&cluster, id, 2).unwrap();
    assert_eq!(said(&all, "array"), "0:succeeded 1:failed 2:succeeded:two");
    assert_eq!(said(&all, "z"), "0:succeeded:seed");
    let (all, third) = (inputs(&cluster, id, 3).unwrap(), own(&cluster, id, 3, 2, INPUTS_BYTES_MAX).unwrap());
    assert_eq!((all.needs.len(), said(&all, "z").as_str()), (1, "0:succeeded:seed"));
    assert_eq!((third.needs.len(), said(&third, "array").as_str()), (1, "2:succeeded:two"));
    assert_eq!((left_out(&all), left_out(&third)), (vec![], vec![]));
}

#[test]
fn a_later_attempt_gets_the_same() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(&SHAPES.replace(r#""name":"chord","#, r#""name":"chord","retries":1,"#));
    run(&mut cluster, epoch, id, 0, 0, 0, Some("seed"));
    (0..3).for_each(|at| run(&mut cluster, epoch, id, 1, at, 0, Some("r")));
    let first = inputs(&cluster, id, 2);
    run(&mut cluster, epoch, id, 2, 0, 1, None);
    cluster.pass(quorate_types::Span::from_secs(600));
    cluster.assign(id, 2, 0, epoch).unwrap();
    assert_eq!(inputs(&cluster, id, 2), first);
    let restored = cluster.replay();
    assert_eq!(restored.inputs_of(restored.job(id).unwrap(), 2), first, "every replica says the same");
}

#[test]
fn what_does_not_fit_is_left_out_as_a_whole() {
    let (mut cluster, epoch) = cluster();
    let long = "l".repeat(RESULT_BYTES_MAX - INPUT_BYTES);
    let fitting = INPUTS_BYTES_MAX / RESULT_BYTES_MAX;
    let id = cluster.submit(&format!(
        r#"{{"tasks":[{{"name":"much","command":["x"],"count":{fitting}}},{{"name":"short","command":["x"]}},
        {{"name":"exact","command":["x"],"needs":["much"]}},{{"name":"over","command":["x"],"needs":["much","short"]}},
        {{"name":"huge","command":["x"],"count":20000,"needs":["much"]}},
        {{"name":"after","command":["x"],"needs":["huge","short"]}}]}}"#
    ));
    (0..fitting as u32).for_each(|at| run(&mut cluster, epoch, id, 0, at, 0, Some(&long)));
    run(&mut cluster, epoch, id, 1, 0, 0, Some("s"));
    let exact = inputs(&cluster, id, 2).unwrap();
    assert_eq!((exact.weight(), left_out(&exact)), (INPUTS_BYTES_MAX, vec![]));
    let over = inputs(&cluster, id, 3).unwrap();
    assert_eq!((over.needs[&name("much")].len(), left_out(&over)), (fitting, vec![("short".into(), Why::TooLarge)]));
    let after = inputs(&cluster, id, 5).unwrap();
    assert_eq!(
        (said(&after, "short").as_str(), left_out(&after)),
        ("0:succeeded:s", vec![("huge".into(), Why::TooLarge)])
    );
}

#[test]
fn single_elements_share_the_room() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(SHAPES);
    run(&mut cluster, epoch, id, 0, 0, 0, Some("seed"));
    (0..3).for_each(|at| run(&mut cluster, epoch, id, 1, at, 0, Some("12345")));
    let fits = own(&cluster, id, 3, 1, INPUT_BYTES + 5).unwrap();
    assert_eq!((said(&fits, "array").as_str(), left_out(&fits)), ("1:succeeded:12345", vec![]));
    let over = own(&cluster, id, 3, 1, INPUT_BYTES + 4).unwrap();
    assert_eq!((over.needs.len(), left_out(&over)), (0, vec![("array".into(), Why::TooLarge)]));
}

#[test]
fn another_job_as_long_as_it_is_there() {
    let (mut cluster, epoch) = cluster();
    let needed = cluster.submit(r#"{"tasks":[{"name":"b","command":["x"]},{"name":"a","command":["x"],"count":2}]}"#);
    let waiting = format!(r#"{{"tasks":[{{"name":"main","command":["x"],"needs":[{{"job":{needed}}}]}}]}}"#);
    let id = cluster.submit(&waiting);
    run(&mut cluster, epoch, needed, 0, 0, 0, Some("of b"));
    (0..2).for_each(|at| run(&mut cluster, epoch, needed, 1, at, 0, Some("of a")));
    let found = inputs(&cluster, id, 0).unwrap();
    let job = &found.jobs[&needed];
    let lens: Vec<_> = job.tasks.iter().map(|(task, elements)| (task.as_str(), elements.len())).collect();
    assert_eq!((job.state.as_str(), lens), ("succeeded", vec![("a", 2), ("b", 1)]));
    assert_eq!((job.tasks[&name("b")][0].result.as_deref(), left_out(&found)), (Some("of b"), vec![]));

    let mut retried = Cluster { state: cluster.state.clone(), ..Cluster::default() };
    retried.apply(Command::Retry { job: needed, scope: RetryScope::All });
    assert_eq!(left_out(&inputs(&retried, id, 0).unwrap()), [(needed.to_string(), Why::Retried)]);
    cluster.pass(FINISHED_IN_MEMORY);
    assert_eq!(left_out(&inputs(&cluster, id, 0).unwrap()), [(needed.to_string(), Why::Archived)]);
    cluster.apply(Command::Forget { job: needed });
    assert_eq!(left_out(&inputs(&cluster, id, 0).unwrap()), [(needed.to_string(), Why::Forgotten)]);
}
