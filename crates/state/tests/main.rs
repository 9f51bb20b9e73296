//! Transitions, one after the other and at random. One program, since linking one for each file takes longer than most
//! of them run.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod commands;
mod constraints;
mod extend;
mod flow;
mod gang;
mod gates;
mod inputs;
mod lines;
mod preempt;
mod properties;
mod recall;
mod service;
mod spaces;
mod support;
