//! The crate from outside: what expressions mean, what is wrong with those that mean nothing, and what clock
//! changes do; against tables, against a slow reference, and against another implementation.

mod clock_changes;
mod dates;
mod due;
mod errors;
mod generator;
mod other_implementation;
mod reference;

use quorate_cron::{Cron, Dst, Zone};

/// The next ticks as `quorate cron next` shows them. `from` is read by the clock of the zone.
fn next(expression: &str, zone: &str, dst: Dst, from: &str, count: usize) -> Vec<String> {
    let cron = Cron::parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    let zone = Zone::parse(zone).unwrap();
    let from = zone.read(from).unwrap();
    cron.ticks(&zone, dst, from).take(count).map(|tick| zone.show(tick)).collect()
}
