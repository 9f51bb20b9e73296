//! An ordered set whose subtrees carry a summary, so that "the first in this order that fits" and "how much until
//! here" are found without a scan. A treap (Seidel and Aragon, "Randomized search trees", 1996) whose priorities
//! are a hash of the insertions' count: its shape is a function of its history.

use std::cmp::Ordering;

/// What is known of a subtree as a whole.
pub(crate) trait Summary: Clone + PartialEq {
    /// Takes up another part of the same subtree.
    fn join(&mut self, other: &Self);
}

const NIL: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Node<K, S> {
    key: K,
    own: S,
    /// Of the node and all below it.
    whole: S,
    priority: u32,
    above: u32,
    left: u32,
    right: u32,
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

/// Keys in order, each with its own summary.
#[derive(Clone, Debug)]
pub(crate) struct Treap<K, S> {
    nodes: Vec<Node<K, S>>,
    unused: Vec<u32>,
    root: u32,
    inserted: u64,
}

impl<K, S> Default for Treap<K, S> {
    fn default() -> Self {
        Self { nodes: Vec::new(), unused: Vec::new(), root: NIL, inserted: 0 }
    }
}

impl<K: Ord + Copy, S: Summary> Treap<K, S> {
    pub(crate) fn len(&self) -> usize {
        self.nodes.len() - self.unused.len()
    }

    /// The summary of everything; none if there is nothing.
    pub(crate) fn whole(&self) -> Option<&S> {
        self.node(self.root).map(|node| &node.whole)
    }

    /// `key` is not in yet. Says where it stands until it is taken out, for [`update`](Self::update).
    pub(crate) fn insert(&mut self, key: K, own: S) -> Place {
        self.inserted += 1;
        let priority = (scatter(self.inserted) >> 32) as u32;
        let (mut at, mut above) = (self.root, None);
        while let Some(node) = self.nodes.get_mut(at as usize).filter(|node| node.priority >= priority) {
            node.whole.join(&own);
            above = Some((at, key.cmp(&node.key)));
            at = if key < node.key { node.left } else { node.right };
        }
        let (left, right) = self.split(at, &key);
        let node = Node { key, whole: own.clone(), own, priority, above: NIL, left, right };
        let new = match self.unused.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        self.sum_up(new);
        let Some((above, side)) = above else {
            self.root = new;
            return Place(new);
        };
        self.nodes[new as usize].above = above;
        match side {
            Ordering::Less => self.nodes[above as usize].left = new,
            Ordering::Equal | Ordering::Greater => self.nodes[above as usize].right = new,
        }
        Place(new)
    }

    /// Whether it was in.
    pub(crate) fn remove(&mut self, key: &K) -> bool {
        let before = self.unused.len();
        (self.root, _) = self.remove_below(self.root, key);
        if let Some(root) = self.nodes.get_mut(self.root as usize) {
            root.above = NIL;
        }
        self.unused.len() > before
    }

    /// Gives what stands there another summary. Most often little changes above it.
    pub(crate) fn update(&mut self, place: Place, own: S) {
        self.nodes[place.0 as usize].own = own;
        let mut at = place.0;
        while at != NIL && self.sum_up(at) {
            at = self.nodes[at as usize].above;
        }
    }

    /// The first key behind `after` (of all, without one) of which `wanted` holds. Subtrees for whose summary
    /// `wanted` does not hold are passed over: it must hold for a whole if it holds for a part.
    pub(crate) fn first(&self, after: Option<&K>, mut wanted: impl FnMut(&S) -> bool) -> Option<(&K, &S)> {
        self.first_below(self.root, after, &mut wanted)
    }

    /// The first key in order at which the joined summary of all up to it is `enough`, with that summary. It must be
    /// enough from there on.
    pub(crate) fn first_prefix(&self, start: S, mut enough: impl FnMut(&S) -> bool) -> Option<(&K, S)> {
        let (mut at, mut sum, mut found) = (self.root, start, None);
        while let Some(node) = self.node(at) {
            let mut until = sum.clone();
            if let Some(left) = self.node(node.left) {
                until.join(&left.whole);
            }
            until.join(&node.own);
            if enough(&until) {
                found = Some((&node.key, until));
                at = node.left;
            } else {
                sum = until;
                at = node.right;
            }
        }
        found
    }

    /// The joined summary of `start` and all keys up to and including `last`.
    pub(crate) fn prefix(&self, start: S, last: &K) -> S {
        let (mut at, mut sum) = (self.root, start);
        while let Some(node) = self.node(at) {
            if node.key > *last {
                at = node.left;
                continue;
            }
            if let Some(left) = self.node(node.left) {
                sum.join(&left.whole);
            }
            sum.join(&node.own);
            at = node.right;
        }
        sum
    }

    /// All keys in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &S)> {
        let mut path = Vec::new();
        self.push_left(self.root, &mut path);
        std::iter::from_fn(move || {
            let node = &self.nodes[path.pop()? as usize];
            self.push_left(node.right, &mut path);
            Some((&node.key, &node.own))
        })
    }

    fn push_left(&self, mut at: u32, path: &mut Vec<u32>) {
        while let Some(node) = self.node(at) {
            path.push(at);
            at = node.left;
        }
    }

    fn node(&self, at: u32) -> Option<&Node<K, S>> {
        self.nodes.get(at as usize)
    }

    fn first_below(&self, at: u32, after: Option<&K>, wanted: &mut impl FnMut(&S) -> bool) -> Option<(&K, &S)> {
        let node = self.node(at).filter(|node| wanted(&node.whole))?;
        let behind = after.is_none_or(|after| node.key > *after);
        if !behind {
            return self.first_below(node.right, after, wanted);
        }
        if let Some(found) = self.first_below(node.left, after, wanted) {
            return Some(found);
        }
        if wanted(&node.own) {
            return Some((&node.key, &node.own));
        }
        self.first_below(node.right, None, wanted)
    }

    /// Those before `key` and those behind it.
    fn split(&mut self, at: u32, key: &K) -> (u32, u32) {
        let Some(node) = self.node(at) else { return (NIL, NIL) };
        let (left, right) = (node.left, node.right);
        let halves = if node.key < *key {
            let (inner, outer) = self.split(right, key);
            self.nodes[at as usize].right = inner;
            (at, outer)
        } else {
            let (outer, inner) = self.split(left, key);
            self.nodes[at as usize].left = inner;
            (outer, at)
        };
        self.sum_up(at);
        halves
    }

    /// The subtree without the key, and whether its summary is another one now.
    fn remove_below(&mut self, at: u32, key: &K) -> (u32, bool) {
        let Some(node) = self.node(at) else { return (NIL, false) };
        let (left, right) = (node.left, node.right);
        let changed = match key.cmp(&node.key) {
            Ordering::Less => {
                let (left, changed) = self.remove_below(left, key);
                self.nodes[at as usize].left = left;
                changed
            }
            Ordering::Greater => {
                let (right, changed) = self.remove_below(right, key);
                self.nodes[at as usize].right = right;
                changed
            }
            Ordering::Equal => {
                self.unused.push(at);
                return (self.merge(left, right), true);
            }
        };
        (at, changed && self.sum_up(at))
    }

    /// All of `left` stand before all of `right`.
    fn merge(&mut self, left: u32, right: u32) -> u32 {
        let (Some(l), Some(r)) = (self.node(left), self.node(right)) else {
            return if left == NIL { right } else { left };
        };
        if l.priority > r.priority {
            let inner = l.right;
            self.nodes[left as usize].right = self.merge(inner, right);
            self.sum_up(left);
            left
        } else {
            let inner = r.left;
            self.nodes[right as usize].left = self.merge(left, inner);
            self.sum_up(right);
            right
        }
    }

    /// Looks at the node's children again. Whether they are news for what is above it.
    fn sum_up(&mut self, at: u32) -> bool {
        let node = &self.nodes[at as usize];
        let mut whole = node.own.clone();
        for child in [node.left, node.right] {
            if let Some(child) = self.nodes.get_mut(child as usize) {
                child.above = at;
                whole.join(&child.whole);
            }
        }
        let node = &mut self.nodes[at as usize];
        let changed = node.whole != whole;
        node.whole = whole;
        changed
    }
}

/// A number that looks random (Steele et al., SplitMix, 2014).
pub(crate) fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The largest of all.
    #[derive(Clone, Debug, PartialEq)]
    struct Largest(u32);

    impl Summary for Largest {
        fn join(&mut self, other: &Self) {
            self.0 = self.0.max(other.0);
        }
    }

    fn check(treap: &Treap<u8, Largest>, at: u32, above: u32) -> Option<u32> {
        let node = treap.node(at)?;
        assert_eq!(node.above, above);
        let below = [check(treap, node.left, at), check(treap, node.right, at)];
        let largest = below.into_iter().flatten().fold(node.own.0, u32::max);
        assert_eq!(node.whole, Largest(largest));
        Some(largest)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn summaries_hold_whatever_is_put_in_changed_and_taken_out(steps in prop::collection::vec((0..40_u8, 0..4_u8, 0..100_u32), 1..200)) {
            let (mut treap, mut known) = (Treap::default(), BTreeMap::new());
            for (key, what, value) in steps {
                match (known.get(&key).copied(), what) {
                    (None, _) => drop(known.insert(key, (treap.insert(key, Largest(value)), value))),
                    (Some(_), 0) => {
                        prop_assert!(treap.remove(&key));
                        known.remove(&key);
                    }
                    (Some((place, _)), _) => {
                        treap.update(place, Largest(value));
                        known.insert(key, (place, value));
                    }
                }
                check(&treap, treap.root, NIL);
                let found: Vec<(u8, u32)> = treap.iter().map(|(key, own)| (*key, own.0)).collect();
                let expected: Vec<(u8, u32)> = known.iter().map(|(key, (_, value))| (*key, *value)).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
