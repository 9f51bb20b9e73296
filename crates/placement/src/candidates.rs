//! The workers that take new tasks, with what they have left while a plan is made.

use quorate_state::State;
use quorate_state::limits::ATTEMPTS_PER_WORKER_MAX;
use quorate_types::status::WorkerState;
use quorate_types::{Bug, Epoch, Resources, is_planted};

#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) epoch: Epoch,
    pub(crate) capacity: Resources,
    pub(crate) free: Resources,
    pub(crate) attempts: usize,
    /// Kept free for a task further ahead in the queue that does not fit yet.
    pub(crate) held: bool,
}

#[derive(Debug)]
pub(crate) struct Candidates(pub(crate) Vec<Candidate>);

impl Candidates {
    /// The ready workers, by name.
    pub(crate) fn of(state: &State) -> Self {
        let ready = state.workers().filter(|worker| worker.state() == WorkerState::Ready);
        Self(
            ready
                .map(|worker| Candidate {
                    epoch: worker.epoch,
                    capacity: worker.capacity.clone(),
                    free: worker.free(),
                    attempts: worker.attempts.len(),
                    held: false,
                })
                .collect(),
        )
    }

    /// The positions of those with room for `request`.
    pub(crate) fn with_room(&self, request: &Resources) -> impl Iterator<Item = (usize, &Candidate)> {
        self.0.iter().enumerate().filter(|(_, candidate)| candidate.has_room(request))
    }

    pub(crate) fn take(&mut self, at: usize, request: &Resources) -> Epoch {
        let candidate = &mut self.0[at];
        candidate.free.subtract(request);
        candidate.attempts += 1;
        candidate.epoch
    }

    /// Keeps the worker that will most likely have room first for a task that fits none now.
    /// `false`: the request is larger than every worker.
    pub(crate) fn hold_for(&mut self, request: &Resources) -> bool {
        let best = self
            .0
            .iter_mut()
            .filter(|candidate| !candidate.held && request.fits(&candidate.capacity))
            .max_by_key(|candidate| candidate.free_share());
        match best {
            Some(candidate) => {
                candidate.held = true;
                true
            }
            None => false,
        }
    }
}

impl Candidate {
    fn has_room(&self, request: &Resources) -> bool {
        !self.held
            && self.attempts < ATTEMPTS_PER_WORKER_MAX
            && (request.fits(&self.free) || is_planted(Bug::CapacityIgnored))
    }

    /// The scarcest resource's free share, in 1/65536.
    pub(crate) fn free_share(&self) -> u64 {
        let share = |free: u64, capacity: u64| match capacity {
            0 => 65_536,
            _ => (u128::from(free) * 65_536 / u128::from(capacity)) as u64,
        };
        let others = self.capacity.other_millis.iter().map(|(kind, n)| share(self.free.other(kind), *n));
        let cpu = share(self.free.cpu_millis, self.capacity.cpu_millis);
        let memory = share(self.free.memory_bytes, self.capacity.memory_bytes);
        others.fold(cpu.min(memory), u64::min)
    }

    /// What would be left after `request`, as the sum of the shares of each kind in 1/65536.
    pub(crate) fn leftover(&self, request: &Resources) -> u64 {
        let share = |free: u64, less: u64, capacity: u64| match capacity {
            0 => 0,
            _ => (u128::from(free - less) * 65_536 / u128::from(capacity)) as u64,
        };
        let kinds = self.capacity.other_millis.iter();
        let others: u64 = kinds.map(|(kind, n)| share(self.free.other(kind), request.other(kind), *n)).sum();
        share(self.free.cpu_millis, request.cpu_millis, self.capacity.cpu_millis)
            + share(self.free.memory_bytes, request.memory_bytes, self.capacity.memory_bytes)
            + others
    }
}
