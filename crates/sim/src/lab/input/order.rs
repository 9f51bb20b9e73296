//! Jobs in the order of their submission, from files that are nearly so.
//!
//! Schedules that simulators publish are in the order of completion. How late a job may come in such a file was
//! found by the survey; no more is held back than that demands.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use quorate_types::{Span, Timestamp};

use super::error::InputError;
use crate::lab::job::Job;

/// Sorts by (submission, number) what comes at most `lateness` out of order.
#[derive(Debug)]
pub(super) struct Ordered<I> {
    jobs: I,
    lateness: Span,
    newest: Timestamp,
    held: BinaryHeap<Held>,
    /// The input has ended; what is held goes out.
    ended: bool,
}

impl<I: Iterator<Item = Result<Job, InputError>>> Ordered<I> {
    pub(super) fn new(jobs: I, lateness: Span) -> Self {
        Self { jobs, lateness, newest: Timestamp(0), held: BinaryHeap::new(), ended: false }
    }

    /// Whether nothing that is still to come can stand before the first of the held.
    fn is_settled(&self) -> bool {
        let first = self.held.peek();
        first.is_some_and(|Held(job)| self.ended || job.submitted.0 < self.newest.0.saturating_sub(self.lateness.0))
    }
}

impl<I: Iterator<Item = Result<Job, InputError>>> Iterator for Ordered<I> {
    type Item = Result<Job, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_settled() {
            match self.jobs.next() {
                Some(Ok(job)) => {
                    self.newest = self.newest.max(job.submitted);
                    self.held.push(Held(job));
                }
                Some(Err(error)) => return Some(Err(error)),
                None if self.held.is_empty() => return None,
                None => self.ended = true,
            }
        }
        self.held.pop().map(|Held(job)| Ok(job))
    }
}

/// The heap's largest is the earliest.
#[derive(Debug)]
struct Held(Job);

impl Held {
    fn key(&self) -> (Timestamp, u64) {
        (self.0.submitted, self.0.id)
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}
