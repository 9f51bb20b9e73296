//! Chaos: real processes under real faults, each alone and some mixed, while clients and tasks go on.
//!
//! Every run plays a bounded share. `QUORATE_CHAOS_MINUTES=N` (`just chaos N`) plays the whole matrix in random order
//! until the time is over, and writes `target/chaos-report.md`. `QUORATE_CHAOS_SEED` repeats an order,
//! and `QUORATE_CHAOS_FAULTS="leader killed;disk full"` plays just these.
//!
//! `fault` lists what can go wrong, `faults/` makes and mends it, `scene` is a cluster under `load` with what must hold
//! after each fault, `streams` follows the events of every replica, `means` knows what this machine lacks.

mod chance;
mod disks;
mod fault;
mod faults;
mod load;
mod matrix;
mod means;
mod report;
mod scene;
mod streams;

/// A number from the environment.
fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number")))
}

#[test]
fn the_cluster_survives_every_fault() {
    let _turn = crate::support::blocking_turn();
    let clock = crate::support::attempts::now().as_nanos() as u64;
    let seed = setting("QUORATE_CHAOS_SEED").unwrap_or(clock);
    match (std::env::var("QUORATE_CHAOS_FAULTS"), setting("QUORATE_CHAOS_MINUTES")) {
        (Ok(names), _) => matrix::named(seed, &names.split(';').collect::<Vec<_>>()),
        (Err(_), Some(minutes)) => matrix::whole(seed, minutes),
        (Err(_), None) => matrix::share(seed),
    }
}
