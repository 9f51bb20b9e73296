//! A bounded history of events by log index. Every replica makes the same events from the same log; how
//! far back each remembers may differ, and what is gone is said to be gone, never skipped.

use std::collections::VecDeque;
use std::sync::Mutex;

use quorate_state::outcome::Event;
use quorate_types::event::Cursor;
use quorate_types::{LogIndex, Timestamp};
use tokio::sync::watch;

/// Events of one entry.
#[derive(Debug)]
struct Batch {
    index: LogIndex,
    time: Timestamp,
    events: Vec<Event>,
}

/// One event with its place.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) cursor: Cursor,
    pub(crate) time: Timestamp,
    pub(crate) event: Event,
}

/// The asked-for events are no longer known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Events up to this index are gone.
    pub(crate) floor: LogIndex,
}

#[derive(Debug)]
pub(crate) struct History {
    inner: Mutex<Inner>,
    /// The newest index whose events are in.
    newest: watch::Sender<LogIndex>,
    events_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    batches: VecDeque<Batch>,
    len: usize,
    floor: LogIndex,
}

impl History {
    pub(crate) fn new(events_max: usize) -> Self {
        Self { inner: Mutex::default(), newest: watch::Sender::new(LogIndex(0)), events_max }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock, and what it guards is valid after every line.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn push(&self, index: LogIndex, time: Timestamp, events: Vec<Event>) {
        if !events.is_empty() {
            let mut inner = self.inner();
            inner.len += events.len();
            inner.batches.push_back(Batch { index, time, events });
            while inner.len > self.events_max
                && let Some(oldest) = inner.batches.pop_front()
            {
                inner.len -= oldest.events.len();
                inner.floor = oldest.index;
            }
        }
        self.newest.send_replace(index);
    }

    /// The state was replaced up to `index`; what led there is not known.
    pub(crate) fn reset(&self, index: LogIndex) {
        *self.inner() = Inner { floor: index, ..Inner::default() };
        self.newest.send_replace(index);
    }

    pub(crate) fn newest(&self) -> watch::Receiver<LogIndex> {
        self.newest.subscribe()
    }

    pub(crate) fn len(&self) -> usize {
        self.inner().len
    }

    /// Up to `max` events at or after `from`, in order. The first read of a stream must not reach below
    /// the floor; neither must a later one, of a reader that was too slow.
    pub(crate) fn read(&self, from: Cursor, max: usize) -> Result<Vec<Seen>, Gone> {
        let inner = self.inner();
        if from.index <= inner.floor && inner.floor > LogIndex(0) {
            return Err(Gone { floor: inner.floor });
        }
        let start = inner.batches.partition_point(|batch| batch.index < from.index);
        let seen = inner.batches.range(start..).flat_map(|batch| {
            let first = if batch.index == from.index { from.nth } else { 0 };
            let places = (first..).zip(batch.events.iter().skip(first as usize));
            places.map(|(nth, event)| Seen {
                cursor: Cursor { index: batch.index, nth },
                time: batch.time,
                event: event.clone(),
            })
        });
        Ok(seen.take(max).collect())
    }
}

#[cfg(test)]
mod tests {
    use quorate_types::event::EventType;

    use super::*;

    fn filled(max: usize) -> History {
        let history = History::new(max);
        for index in 1..=10 {
            let events = if index % 2 == 0 { vec![] } else { vec![Event::new(EventType::JobRunning); 2] };
            history.push(LogIndex(index), Timestamp(index), events);
        }
        history
    }

    fn cursors(history: &History, index: u64, nth: u32) -> Result<Vec<String>, Gone> {
        let seen = history.read(Cursor { index: LogIndex(index), nth }, 3)?;
        Ok(seen.iter().map(|seen| seen.cursor.to_string()).collect())
    }

    #[test]
    fn reads_in_order_from_any_cursor() {
        let history = filled(100);
        assert_eq!(cursors(&history, 0, 0).unwrap(), ["1.0", "1.1", "3.0"]);
        assert_eq!(cursors(&history, 3, 1).unwrap(), ["3.1", "5.0", "5.1"]);
        assert_eq!(cursors(&history, 4, 9).unwrap(), ["5.0", "5.1", "7.0"]);
        assert!(cursors(&history, 11, 0).unwrap().is_empty());
        assert_eq!(*history.newest().borrow(), LogIndex(10));
    }

    #[test]
    fn what_is_gone_is_said_to_be_gone() {
        let history = filled(4);
        assert_eq!(cursors(&history, 5, 0), Err(Gone { floor: LogIndex(5) }));
        assert_eq!(cursors(&history, 6, 0).unwrap(), ["7.0", "7.1", "9.0"]);
        history.reset(LogIndex(20));
        assert_eq!(cursors(&history, 9, 0), Err(Gone { floor: LogIndex(20) }));
        assert!(cursors(&history, 21, 0).unwrap().is_empty());
    }
}
