//! What the work runs on.

use std::path::Path;

use quorate_sim::lab::Machine;
use quorate_sim::lab::input::{Format, swf};
use quorate_sim::lab::machines::pool;
use quorate_types::api::WorkerView;

use super::unreadable;
use crate::args::{MachineArgs, Who};
use crate::exit::Failure;

/// Those of `--procs` or `--workers`, if one of them is there.
pub(super) fn given(args: &MachineArgs) -> Option<Vec<Machine>> {
    if let Some(processors) = args.procs {
        return Some(pool(processors));
    }
    let mut machines = Vec::new();
    for spec in &args.workers {
        spec.append("worker", &mut machines);
    }
    (!machines.is_empty()).then_some(machines)
}

/// Those that were given, or else what the trace itself says.
pub(super) fn for_trace(path: &Path, format: Format, args: &MachineArgs) -> Result<Vec<Machine>, Failure> {
    if let Some(machines) = given(args) {
        return Ok(machines);
    }
    match format {
        Format::Swf => match swf::Header::read(path).map_err(unreadable)?.processors {
            Some(processors) => Ok(pool(processors)),
            None => Err(Failure::Usage(format!(
                "{} does not say how many processors there are: use --procs",
                path.display()
            ))),
        },
        Format::WfFormat | Format::Ndjson => {
            Err(Failure::Usage(format!("{} does not say what it runs on: use --workers or --procs", path.display())))
        }
    }
}

/// A worker of the cluster.
pub(super) fn of_worker(worker: &WorkerView) -> Machine {
    Machine {
        labels: worker.labels.clone(),
        taints: worker.taints.clone(),
        ..Machine::new(worker.name.clone(), worker.capacity.clone())
    }
}

/// With what is added, without what is lost or drained.
pub(super) fn changed(mut machines: Vec<Machine>, args: &MachineArgs) -> Result<Vec<Machine>, Failure> {
    for name in &args.drain {
        remove(&mut machines, &format!("--drain {name}"), |machine| machine.name == *name)?;
    }
    for who in &args.lose {
        match who {
            Who::Named(name) => remove(&mut machines, &format!("--lose {name}"), |machine| machine.name == *name)?,
            Who::Labelled(key, value) => remove(&mut machines, &format!("--lose label={key}={value}"), |machine| {
                machine.labels.get(key) == Some(value)
            })?,
        }
    }
    for spec in &args.add {
        spec.append("added", &mut machines);
    }
    if machines.is_empty() {
        return Err(Failure::Usage("no worker is left to run anything: add some with --add or --workers".into()));
    }
    Ok(machines)
}

fn remove(machines: &mut Vec<Machine>, flag: &str, is_meant: impl Fn(&Machine) -> bool) -> Result<(), Failure> {
    let before = machines.len();
    machines.retain(|machine| !is_meant(machine));
    if machines.len() == before {
        return Err(Failure::Usage(format!("{flag}: there is no such worker")));
    }
    Ok(())
}
