//! A history in a few lines, for whoever reads why it failed.

use quorate_state::command::{Command, Entry};
use quorate_types::{JobSpec, LogIndex};

pub fn entry(index: LogIndex, entry: &Entry) -> String {
    let commands = entry.proposals.iter().map(|proposal| match &proposal.command {
        Command::Submit(spec) => format!("Submit {}", describe_job(spec)),
        Command::ChangeSchedule { schedule, spec } => format!("ChangeSchedule {schedule} {}", describe_job(spec)),
        Command::ChangeService { service, spec } => format!("ChangeService {service} {}", describe_job(spec)),
        other => format!("{other:?}"),
    });
    format!("{index} at {}: {}\n", entry.time, commands.collect::<Vec<_>>().join("\n    "))
}

fn describe_job(spec: &JobSpec) -> String {
    let tasks = spec.tasks.iter().map(|task| {
        let (retries, losses, most) = (task.retries, task.losses, task.max_parallel);
        let (name, count, gang) = (&task.name, task.count, &task.gang);
        format!("{name}[{count}] gang {gang:?}, retries {retries}, losses {losses}, at most {most:?}, {:?}", task.needs)
    });
    let tasks: Vec<String> = tasks.collect();
    let times = [spec.start_after, spec.deadline, spec.expires];
    let then = spec.then.iter().map(|then| format!("{:?} {}", then.on, describe_job(&then.job)));
    if let Some(service) = &spec.service {
        let (kind, most, health) = (service.kind, service.max_unavailable, service.versions[0].health.is_some());
        let task = &spec.tasks[0];
        let (command, cpu, cluster) = (&task.command, task.resources.cpu_millis, &task.cluster_resources);
        let (backoff, tolerations, priority) = (&task.backoff, &task.tolerations, spec.priority);
        return format!(
            "{kind} {tasks:?} {command:?} cpu {cpu} {cluster:?}, {backoff:?}, tolerates {tolerations:?}, at most {most} \
             down, health {health}, priority {priority}"
        );
    }
    let (then, key) = (then.collect::<Vec<_>>(), spec.concurrency.as_ref());
    let schedule = spec.schedule.as_ref().map(|schedule| (schedule.overlap, schedule.history, schedule.paused));
    format!("{tasks:?} {:?} {times:?} {key:?} then {then:?} schedule {schedule:?}", spec.on_failure)
}
