//! Gangs: jobs that run all at once, or not at all. One stands in the queue for all; when one is interrupted, all begin
//! anew; and what needs one of them waits for all.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_placement::book::{Book, Bounds, Facts, Member, Tracking};
use quorate_state::queue::Queued;
use quorate_types::{Epoch, Policy, Timestamp};

use super::{Cluster, entitle, queued};
use crate::lab::engine::live::Live;
use crate::lab::job::{Gang, Record};

impl Cluster {
    /// All that comes at this instant is there. Gangs of which some were left out, or that would not fit on idle
    /// machines, are left out as a whole: they would wait for ever.
    pub(in crate::lab::engine) fn muster(&mut self) {
        for id in std::mem::take(&mut self.new_gangs) {
            let places = self.gangs.get(&id).cloned().unwrap_or_default();
            let size = places.first().and_then(|place| self.jobs.get(place)?.job.gang).map_or(0, |gang| gang.size);
            if places.len() == size as usize && self.could_start(&places) {
                self.enqueue_gang(Gang { id, size });
                continue;
            }
            self.gangs.remove(&id);
            self.totals.dropped += places.len() as u64;
            let left_out: Vec<Live> = places.iter().filter_map(|place| self.jobs.remove(place)).collect();
            left_out.into_iter().for_each(|live| self.release(live));
        }
    }

    /// Whether all of them would start if nothing else ran.
    fn could_start(&self, places: &[u64]) -> bool {
        let mut idle = Book::new(Policy::default(), Tracking::Attempts, 1);
        (0..self.machines.len() as u32)
            .for_each(|machine| idle.worker(self.worker(machine, Epoch(u64::from(machine) + 1))));
        entitle(&mut idle, &self.rules);
        let Some((first, facts)) = self.first_of(places) else { return false };
        idle.enqueue(first, facts);
        idle.plan(Timestamp(0), Bounds::default(), &|_: Queued| 1).starts.len() == places.len()
    }

    /// The first of them, and what it is to the queue: it stands there for all.
    fn first_of(&self, places: &[u64]) -> Option<(Queued, Facts)> {
        let lives = places.iter().filter_map(|place| Some((*place, self.jobs.get(place)?)));
        let members: Vec<Member> = lives
            .map(|(place, live)| Member { queued: queued(place), count: 1, facts: live.facts(self.estimates) })
            .collect();
        let Member { queued, facts, .. } = members.first().cloned()?;
        Some((queued, Facts { gang: Some(Arc::new(members)), ..facts }))
    }

    /// If none of them waits for anything else, runs or has ended.
    pub(super) fn enqueue_gang(&mut self, gang: Gang) {
        let places = self.gangs.get(&gang.id).cloned().unwrap_or_default();
        let rests = |live: &Live| live.open_needs == 0 && live.attempt.is_none() && live.ended.is_none();
        let ready = places.iter().all(|place| self.jobs.get(place).is_some_and(rests));
        if places.len() != gang.size as usize || !ready || self.new_gangs.contains(&gang.id) {
            return;
        }
        if let Some((first, facts)) = self.first_of(&places) {
            self.book.enqueue(first, facts);
        }
    }

    /// Once all have ended.
    pub(super) fn finish_gang(&mut self, gang: Gang, sink: &mut dyn FnMut(&Record)) {
        let places = self.gangs.get(&gang.id).cloned().unwrap_or_default();
        if places.iter().all(|place| self.jobs.get(place).is_some_and(|live| live.ended.is_some())) {
            self.gangs.remove(&gang.id);
            places.into_iter().for_each(|place| self.complete(place, sink));
        }
    }

    /// What is of a gang with one of them ends as well.
    pub(super) fn with_their_gangs(&mut self, mut hit: Vec<u64>) -> Vec<u64> {
        let gangs: BTreeSet<u64> = hit.iter().filter_map(|place| Some(self.jobs.get(place)?.job.gang?.id)).collect();
        hit.extend(gangs.iter().filter_map(|id| self.gangs.get(id)).flatten());
        hit.sort_unstable();
        hit.dedup();
        hit
    }
}
