//! Least jobs: the worker that runs the fewest attempts, however large they are.

use crate::book::member::Member;

pub(super) fn rank(member: &Member) -> u64 {
    u64::from(member.attempts)
}
