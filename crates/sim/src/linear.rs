//! Whether a history of concurrent operations is linearizable: the search of Wing and Gong ("Testing and
//! verifying concurrent objects", JPDC 17, 1993), which remembers the configurations that it has seen, as
//! Lowe proposes ("Testing for linearizability", Concurrency and Computation 29(4), 2017, section 3).

use std::collections::BTreeSet;

/// What one object is supposed to do.
pub(crate) trait Model {
    type State: Clone + Ord;
    type Call;

    /// The state after a call that was answered as it was; `None` if it can't have been answered so.
    fn step(state: &Self::State, call: &Self::Call) -> Option<Self::State>;
}

/// A call, and between which moments of one common count it took effect.
#[derive(Clone, Debug)]
pub(crate) struct Operation<C> {
    pub(crate) call: C,
    pub(crate) begun: u64,
    /// `None`: nobody knows whether it took effect, or when.
    pub(crate) ended: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearizable,
    /// No order of the operations explains the answers. Up to so many of those that have ended were explained.
    Violated {
        explained: usize,
    },
    /// There are too many orders to look at.
    Undecided,
}

/// More than any history of one job has needed, by far.
const CONFIGURATIONS_MAX: usize = 200_000;

/// A set of operations, by position.
type Done = Vec<u64>;

fn has(done: &Done, at: usize) -> bool {
    done[at / 64] & (1 << (at % 64)) != 0
}

/// Looks for an order of the operations that the model allows: every operation that has ended takes effect
/// between its beginning and its end; the others at any time after their beginning, or never.
pub(crate) fn check<M: Model>(initial: &M::State, history: &[Operation<M::Call>]) -> Verdict {
    let wanted = history.iter().filter(|operation| operation.ended.is_some()).count();
    let mut seen = BTreeSet::new();
    let mut open = vec![(vec![0; history.len().div_ceil(64)], initial.clone(), 0)];
    let mut explained = 0;
    while let Some((done, state, ended)) = open.pop() {
        explained = explained.max(ended);
        if ended == wanted {
            return Verdict::Linearizable;
        }
        let left = || history.iter().enumerate().filter(|(at, _)| !has(&done, *at));
        // What begins after another one has ended can't come before it.
        let first_end = left().filter_map(|(_, operation)| operation.ended).min().unwrap_or(u64::MAX);
        let next = left().filter(|(_, operation)| operation.begun < first_end);
        // The search goes on with what was pushed last: what ended first is the most likely.
        let mut next: Vec<_> = next.collect();
        next.sort_by_key(|(_, operation)| std::cmp::Reverse(operation.ended.unwrap_or(u64::MAX)));
        for (at, operation) in next {
            let Some(after) = M::step(&state, &operation.call) else { continue };
            let mut with = done.clone();
            with[at / 64] |= 1 << (at % 64);
            let ended = ended + usize::from(operation.ended.is_some());
            if seen.insert((with.clone(), after.clone())) {
                open.push((with, after, ended));
            }
        }
        if seen.len() > CONFIGURATIONS_MAX {
            return Verdict::Undecided;
        }
    }
    Verdict::Violated { explained }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register that holds 0 at first.
    struct Register;

    #[derive(Clone, Copy, Debug)]
    enum Call {
        Write(u8),
        Read(u8),
        /// From the first to the second; true if it did so.
        Swap(u8, u8, bool),
    }

    impl Model for Register {
        type State = u8;
        type Call = Call;

        fn step(state: &u8, call: &Call) -> Option<u8> {
            match *call {
                Call::Write(value) => Some(value),
                Call::Read(value) => (value == *state).then_some(*state),
                Call::Swap(from, to, done) => (done == (from == *state)).then_some(if done { to } else { *state }),
            }
        }
    }

    fn verdict(history: &[(Call, u64, Option<u64>)]) -> Verdict {
        let operations =
            history.iter().map(|(call, begun, ended)| Operation { call: *call, begun: *begun, ended: *ended });
        check::<Register>(&0, &operations.collect::<Vec<_>>())
    }

    #[test]
    fn what_follows_the_order_of_time_is_linearizable() {
        assert_eq!(verdict(&[]), Verdict::Linearizable);
        assert_eq!(verdict(&[(Call::Write(1), 1, Some(2)), (Call::Read(1), 3, Some(4))]), Verdict::Linearizable);
        // Concurrent ones may take effect in either order.
        let both = [(Call::Write(1), 1, Some(10)), (Call::Write(2), 2, Some(9)), (Call::Read(1), 11, Some(12))];
        assert_eq!(verdict(&both), Verdict::Linearizable);
        let [one, two, _] = both;
        assert_eq!(verdict(&[one, two, (Call::Read(2), 11, Some(12))]), Verdict::Linearizable);
    }

    #[test]
    fn a_stale_read_is_not() {
        let stale = [(Call::Write(1), 1, Some(2)), (Call::Read(0), 3, Some(4))];
        assert_eq!(verdict(&stale), Verdict::Violated { explained: 1 });
    }

    #[test]
    fn two_reads_that_saw_a_write_in_opposite_orders_are_not() {
        let write = (Call::Write(1), 1, Some(20));
        let reads = [(Call::Read(1), 2, Some(3)), (Call::Read(0), 4, Some(5))];
        assert_eq!(verdict(&[write, reads[0], reads[1]]), Verdict::Violated { explained: 2 });
        let reads = [(Call::Read(0), 2, Some(3)), (Call::Read(1), 4, Some(5))];
        assert_eq!(verdict(&[write, reads[0], reads[1]]), Verdict::Linearizable);
    }

    #[test]
    fn only_one_of_two_may_win() {
        let swap = |to, done| (Call::Swap(0, to, done), 1, Some(9));
        assert_eq!(verdict(&[swap(1, true), swap(2, false)]), Verdict::Linearizable);
        assert!(matches!(verdict(&[swap(1, true), swap(2, true)]), Verdict::Violated { .. }));
    }

    #[test]
    fn an_unknown_outcome_explains_what_is_seen_and_need_not() {
        let unknown = (Call::Write(7), 1, None);
        assert_eq!(verdict(&[unknown, (Call::Read(0), 2, Some(3))]), Verdict::Linearizable);
        assert_eq!(
            verdict(&[unknown, (Call::Read(0), 2, Some(3)), (Call::Read(7), 40, Some(50))]),
            Verdict::Linearizable
        );
        // Not twice, and not before it began.
        let back = [(Call::Read(7), 2, Some(3)), (Call::Write(1), 4, Some(5)), (Call::Read(7), 6, Some(7))];
        assert!(matches!(verdict(&[unknown, back[0], back[1], back[2]]), Verdict::Violated { .. }));
        let late = (Call::Write(7), 4, None);
        assert!(matches!(verdict(&[(Call::Read(7), 2, Some(3)), late]), Verdict::Violated { .. }));
    }

    #[test]
    fn many_open_operations_of_one_kind_do_not_explode() {
        let mut history: Vec<_> = (0..40).map(|n| (Call::Write(1), n, None)).collect();
        history.extend((0..40).map(|n| (Call::Read(if n % 2 == 0 { 1 } else { 0 }), 100 + 2 * n, Some(101 + 2 * n))));
        assert!(matches!(verdict(&history), Verdict::Violated { .. } | Verdict::Undecided));
    }
}
