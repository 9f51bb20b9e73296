//! A trace of a parallel machine that is made up as it is read, so that nothing of it is in memory before.

use quorate_sim::lab::Job;
use quorate_types::{Resources, Span, Timestamp};

/// Processors of the machine.
pub(crate) const PROCESSORS: u64 = 1_024;
/// So the machine is used to three quarters: queues come and go.
const MEAN_GAP_MS: u64 = 146_000;

/// `jobs` of 1 to 512 processors (powers of two) and of ten seconds to eleven hours, each with a request of up to ten
/// times its run time.
pub(crate) fn trace(jobs: u64) -> impl Iterator<Item = Job> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut submitted = 0;
    (1..=jobs).map(move |id| {
        let mut draw = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        submitted += draw(2 * MEAN_GAP_MS);
        let run = 10_000 << draw(13) >> draw(3);
        let limit = run * (1 + draw(10));
        let request = Resources::new(1_000 << draw(10).min(draw(10)), 0);
        Job {
            limit: Some(Span(limit)),
            owner: format!("u{}", draw(100)).parse().expect("a name"),
            name: format!("e{}", draw(10)).parse().expect("a name"),
            ..Job::new(id, Timestamp(submitted), Span(run), request)
        }
    })
}
