//! The product as its users have it: real processes, real disks, real faults. One program, since linking one for each
//! file takes longer than most of them run.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod all_killed;
mod archive;
mod bad_input;
mod chaos;
mod config_file;
mod constraints;
mod demo;
mod docker;
mod endurance;
mod explain;
mod extend;
mod gangs;
mod gates;
mod house;
mod idempotency;
mod jobs;
mod leader_kill;
mod lives;
mod membership;
mod overload;
mod policy;
mod power_loss;
mod preempt;
mod quotas;
mod schedules;
mod scheduling;
mod services;
mod simulate;
mod support;
mod turns;
mod worker_death;
