//! Why a task is where it is: each reason as text, and what is said against what a round does.

mod ends;
mod gangs;
mod gates;
mod queue;
mod room;
mod rounds;
mod waits;
mod workers;
mod world;
