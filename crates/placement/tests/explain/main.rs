//! Why a task is where it is: each reason as text, and what is said against what a round does.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod ends;
mod gangs;
mod gates;
mod queue;
mod rounds;
#[path = "../view/mod.rs"]
mod view;
mod waits;
mod workers;
mod world;
