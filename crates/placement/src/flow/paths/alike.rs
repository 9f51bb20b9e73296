//! Which groups cost the same everywhere, but for a constant: what one of them has looked at, the others need not.

use std::collections::BTreeMap;

use crate::flow::problem::{Offer, Problem};

/// Of each group, the number of its class, and how many classes there are.
pub(super) fn classes(problem: &Problem) -> (Vec<u32>, usize) {
    let mut by_hash: BTreeMap<u64, Vec<(usize, u32)>> = BTreeMap::new();
    let mut count = 0;
    let class = |group| {
        let row = problem.offers(group);
        let same = by_hash.entry(hash(row)).or_default();
        let known = same.iter().find(|(other, _)| are_alike(row, problem.offers(*other)));
        if let Some((_, class)) = known {
            return *class;
        }
        same.push((group, count));
        count += 1;
        count - 1
    };
    let classes = (0..problem.groups().len()).map(class).collect();
    (classes, count as usize)
}

fn hash(row: &[Offer]) -> u64 {
    // The multiplier of splitmix64; equal hashes are compared in full.
    let mix = |hash: u64, part: u64| (hash ^ part).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(29);
    row.iter().fold(row.len() as u64, |hash, offer| {
        mix(hash, u64::from(offer.worker) << 32 | u64::from(offer.cost.wrapping_sub(row[0].cost)))
    })
}

fn are_alike(a: &[Offer], b: &[Offer]) -> bool {
    let same = |(one, other): (&Offer, &Offer)| {
        one.worker == other.worker && one.cost.wrapping_sub(a[0].cost) == other.cost.wrapping_sub(b[0].cost)
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}
