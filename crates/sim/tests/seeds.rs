//! A bounded share of seeds for every change. `quorate sim` runs more.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says what it did")]

use std::time::{Duration, Instant};

use quorate_sim::{Options, is_reproducible, run};

/// Seconds of trouble in each run.
fn options(seed: u64, seconds: u64) -> Options {
    Options { seed, trouble: Duration::from_secs(seconds), ..Options::default() }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn some_seeds_hold_every_promise() {
    let (from, seeds) = (number("QUORATE_SIM_SEED", 1), number("QUORATE_SIM_SEEDS", 6));
    let seconds = number("QUORATE_SIM_SECONDS", 60);
    for seed in from..from + seeds {
        let started = Instant::now();
        match run(&options(seed, seconds)) {
            Ok(report) => println!("{report} ({:.1?})", started.elapsed()),
            Err(failure) => panic!("{}\n{failure}\n{}", failure.story.join("\n"), failure.report),
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    if !is_reproducible() {
        println!("skipped: needs --cfg tokio_unstable");
        return;
    }
    for seed in [11, 12] {
        let [one, two] = [(); 2].map(|()| run(&options(seed, 40)).unwrap());
        assert_eq!((one.trace, one.lines, one.messages), (two.trace, two.lines, two.messages));
    }
    let [one, two] = [13, 14].map(|seed| run(&options(seed, 40)).unwrap());
    assert_ne!(one.trace, two.trace, "the seed makes no difference");
}
