//! Decisions over versions of a state and over books, as text and as properties. One program, since linking one for
//! each file takes longer than most of them run.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod choices;
mod constraints;
mod explain;
mod gangs;
mod gates;
mod golden;
mod lines;
mod past_use;
mod planner;
mod preempt;
mod properties;
mod rebalance;
mod spaces;
mod turns;
mod use_orders;
mod view;
