//! What is asked for, and what comes of it.

use super::*;
use crate::args::Cli;
use crate::args::Command;

fn args(line: &str) -> SimulateArgs {
    match Cli::of(format!("quorate simulate {line}").split_whitespace()).unwrap().command {
        Command::Simulate(args) => *args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_combination_is_one_run() {
    let policies = |line: &str| variants(&args(line).policy, &Policy::default()).unwrap().len();
    assert_eq!(policies("--trace a.swf"), 1);
    assert_eq!(policies("--trace a.swf --queue fifo,sjf --queue fifo --backfill none,easy --estimates user,exact"), 8);
}

#[test]
fn an_order_that_preempts_is_not_replayed() {
    for queue in ["srtf", "round-robin"] {
        let line = format!("--trace a.swf --queue fifo,{queue}");
        let failure = variants(&args(&line).policy, &Policy::default()).unwrap_err();
        assert!(failure.exit_code() == 2 && failure.to_string().contains(queue), "{failure}");
    }
}

#[test]
fn machines_are_those_that_were_given_and_changed() {
    let names = |line: &str| {
        let args = args(line).machines;
        let machines = machines::changed(machines::given(&args).unwrap(), &args);
        machines.map(|machines| machines.iter().map(|m| m.name.to_string()).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(names("--trace a.swf --workers 4cpu*2 --add 8cpu --lose worker-1").unwrap(), "worker-2 added-1");
    assert_eq!(names("--trace a.swf --procs 8").unwrap(), "pool-1");
    for (line, reason) in [
        ("--trace a.swf --procs 8 --drain w", "--drain w: there is no such worker"),
        ("--trace a.swf --procs 8 --lose label=zone=a", "--lose label=zone=a: there is no such worker"),
        ("--trace a.swf --procs 8 --lose pool-1", "no worker is left"),
    ] {
        let failure = names(line).unwrap_err();
        assert!(failure.exit_code() == 2 && failure.to_string().contains(reason), "{line}: {failure}");
    }
}

#[test]
fn what_a_trace_does_not_say_must_be_given() {
    let folder = tempfile::tempdir().unwrap();
    for (name, flag) in [("a.swf", "--procs"), ("a.ndjson", "--workers"), ("a.json", "--workers")] {
        let path = folder.path().join(name);
        std::fs::write(&path, "1 0 0 5 1 -1 -1 1 9\n").unwrap();
        let format = TraceFormat::of(&path).unwrap();
        let failure = machines::for_trace(&path, format, &args("--trace x").machines).unwrap_err();
        assert!(failure.exit_code() == 2 && failure.to_string().contains(flag), "{failure}");
    }
}

#[test]
fn starts_are_for_one_run() {
    let args = args("--trace a.swf --queue fifo,sjf --starts s.csv");
    let failure = run(&args, &Cli::of(["quorate", "demo"]).unwrap().client).unwrap_err();
    assert!(failure.exit_code() == 2 && failure.to_string().contains("--starts"), "{failure}");
}
