//! Multifactor: a weighted sum of age, size, priority and fair share, as Slurm's `priority/multifactor` has it
//! ("Multifactor priority plugin", slurm.schedmd.com/priority_multifactor.html). Weights are in time: a factor at its
//! largest is worth so much waiting. As all age alike, what belongs to the task itself is a point in time that does not
//! change while it waits; the rest belongs to its namespace, and is added when a decision begins. Unlike Slurm's, age
//! has no limit, since without one nothing starves.
//!
//! The fair-share factor is Slurm's classic one, `2^(-use / fair)`: one half for a namespace that uses just its part,
//! which goes by its weight.
//!
//! Bound: a task is overtaken only by what was submitted less than the sum of the weights (32 hours 40 minutes) after
//! it.

use quorate_state::decay::{EXPONENT_BITS, FACTOR_BITS, ONE, half_to};
use quorate_types::{Name, Span};

use crate::book::share::WHOLE;
use crate::book::{Book, Facts};

/// What priority 100 is worth over priority 0: as much as the order `priority` gives it.
const PRIORITY_WEIGHT: Span = Span::from_secs(60_000);
/// What a request of a whole worker, the largest there is, is worth over one of nothing: large tasks find room less
/// often.
const SIZE_WEIGHT: Span = Span::from_secs(4 * 3_600);
/// What having used nothing is worth over having used everything.
const SHARE_WEIGHT: Span = Span::from_secs(12 * 3_600);

/// Within a namespace: when it was submitted, later by what it lacks. `size` is in 1/2²⁰.
pub(super) fn rank(facts: &Facts, size: u64) -> u64 {
    let priority = u64::from(100_u8.saturating_sub(facts.priority)) * PRIORITY_WEIGHT.0 / 100;
    let small = ((WHOLE - size) * SIZE_WEIGHT.0) >> 20;
    facts.submitted.0.saturating_add(priority).saturating_add(small)
}

/// How much later the tasks of the namespace count as submitted, for what it has used. `all` is the sum of the shares
/// of the namespaces that have tasks waiting, and `weights` that of their weights.
pub(crate) fn penalty(book: &Book, namespace: &Name, all: u128, weights: u64) -> u64 {
    let share = u128::from(book.usage.share(namespace, &book.fleet.capacity()));
    let over_fair = (share * u128::from(weights)) << EXPONENT_BITS;
    let factor = half_to(over_fair.checked_div(all * u128::from(book.spaces.weight(namespace))).unwrap_or(0));
    ((u128::from(ONE - factor) * u128::from(SHARE_WEIGHT.0)) >> FACTOR_BITS) as u64
}
