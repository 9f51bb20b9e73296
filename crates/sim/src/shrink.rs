//! A shorter story: fewer kinds of faults, fewer clients, less time, and still a violation.

use std::time::Duration;

use crate::run::{Failure, Options, run};

/// Runs that look for a shorter story.
const TRIES_MAX: u32 = 60;
const TROUBLE_MIN: Duration = Duration::from_secs(5);

/// Looks for the shortest run that still fails. Leaving something out changes every later choice, so what
/// is found may be another violation than the first one; it is one all the same.
pub fn shrink(options: &Options, failure: Failure) -> Failure {
    let mut best = (options.clone(), failure);
    // What came after the violation played no part in it.
    let until = best.1.report.simulated;
    best.0.trouble = best.0.trouble.min(until);
    let mut tries = 0;
    loop {
        let found = simpler(&best.0).into_iter().find_map(|options| {
            tries += 1;
            if tries > TRIES_MAX {
                return None;
            }
            let failure = run(&options).err()?;
            // A run that shows nothing is no find, and one that is merely late none of a violation.
            (failure.kind == best.1.kind).then_some((options, *failure))
        });
        match found {
            Some(found) => best = found,
            None => return best.1,
        }
    }
}

/// Everything that is a little less than this.
fn simpler(options: &Options) -> Vec<Options> {
    let mut all = Vec::new();
    let half = options.trouble / 2;
    if half >= TROUBLE_MIN {
        all.push(Options { trouble: half, ..options.clone() });
    }
    // Halves first, then single kinds.
    let kinds = options.faults.len();
    if kinds > 3 {
        all.push(Options { faults: options.faults[..kinds / 2].to_vec(), ..options.clone() });
        all.push(Options { faults: options.faults[kinds / 2..].to_vec(), ..options.clone() });
    }
    for at in 0..kinds {
        let mut faults = options.faults.clone();
        faults.remove(at);
        all.push(Options { faults, ..options.clone() });
    }
    if options.replicas != Some(3) {
        all.push(Options { replicas: Some(3), ..options.clone() });
    }
    if options.clients > 1 {
        all.push(Options { clients: options.clients / 2, ..options.clone() });
    }
    if options.workers > 1 {
        all.push(Options { workers: options.workers - 1, ..options.clone() });
    }
    all
}
