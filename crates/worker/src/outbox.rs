//! Reports on their way to the cluster: kept in order, in numbered batches, until they are committed.

use quorate_types::{Bug, is_planted};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_types::limits::REPORTS_PER_FRAME_MAX;
use quorate_types::session::{AttemptKey, Happening, Report};
use quorate_types::status::Ending;

/// Batches on their way at once: enough to keep a leader busy that commits one while the next arrive,
/// few enough that under load reports gather in large batches.
const BATCHES_IN_FLIGHT_MAX: usize = 8;
/// Bytes of results and output tails in one batch: a frame may have 16 MiB, and smaller ones let
/// heartbeats pass.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Bytes of output tails that wait. While no replica can be reached, what ends beyond that reports without
/// its output, which stays in the spool.
const TAIL_BYTES_MAX: usize = 256 << 20;
/// What a report without texts takes.
const REPORT_BYTES: usize = 64;

/// Reports that were given a number, which they keep when they are sent again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Batch {
    pub(crate) seq: u64,
    pub(crate) reports: Vec<Report>,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    seq: u64,
    pending: VecDeque<Report>,
    /// Only the newest of each attempt counts.
    progress: BTreeMap<AttemptKey, (u16, String)>,
    batches: VecDeque<Batch>,
    /// How many of the first batches this session has sent.
    sent: usize,
    bytes: usize,
}

impl Outbox {
    pub(crate) fn push(&mut self, mut report: Report) {
        match &mut report.what {
            Happening::Progress { millis, message } => {
                self.progress.insert(report.key, (*millis, std::mem::take(message)));
                return;
            }
            Happening::Finished(finished) => {
                self.progress.remove(&report.key);
                if self.bytes > TAIL_BYTES_MAX {
                    finished.stdout_tail = Vec::new();
                    finished.stderr_tail = Vec::new();
                    // It can't be left out of a success.
                    if finished.extension.take().is_some() {
                        finished.ending = Ending::NotExtended("its worker holds too many reports".to_owned());
                    }
                }
            }
            Happening::Started | Happening::Healthy => {}
        }
        self.bytes += size(&report);
        self.pending.push_back(report);
    }

    /// The next batch that this session has to send, if there may be one more on its way.
    pub(crate) fn next_batch(&mut self) -> Option<&Batch> {
        if self.sent == self.batches.len() {
            if self.is_drained() || self.batches.len() >= BATCHES_IN_FLIGHT_MAX {
                return None;
            }
            self.seq += 1;
            let batch = Batch { seq: self.seq, reports: self.gather() };
            self.batches.push_back(batch);
        }
        self.sent += 1;
        self.batches.get(self.sent - 1)
    }

    fn gather(&mut self) -> Vec<Report> {
        let (mut reports, mut bytes) = (Vec::new(), 0);
        while let Some(report) = self.pending.front() {
            bytes += size(report);
            if reports.len() == REPORTS_PER_FRAME_MAX || (bytes > BATCH_BYTES_MAX && !reports.is_empty()) {
                return reports;
            }
            reports.extend(self.pending.pop_front());
        }
        // Only now, so that an attempt's progress never goes before its start.
        while reports.len() < REPORTS_PER_FRAME_MAX
            && let Some((key, (millis, message))) = self.progress.pop_first()
        {
            reports.push(Report { key, what: Happening::Progress { millis, message } });
        }
        reports
    }

    /// All batches up to `seq` are committed; returns the attempts whose end is.
    pub(crate) fn on_committed(&mut self, seq: u64) -> Vec<AttemptKey> {
        let mut ended = Vec::new();
        while self.batches.front().is_some_and(|batch| batch.seq <= seq) {
            self.sent = self.sent.saturating_sub(1);
            for report in self.batches.pop_front().into_iter().flat_map(|batch| batch.reports) {
                self.bytes = self.bytes.saturating_sub(size(&report));
                if matches!(report.what, Happening::Finished(_)) {
                    ended.push(report.key);
                }
            }
        }
        ended
    }

    /// A new session has sent nothing yet.
    pub(crate) fn on_new_session(&mut self) {
        if is_planted(Bug::ReportsLostAtReconnect) {
            self.batches.clear();
        }
        self.sent = 0;
        self.batches.retain(|batch| !batch.reports.is_empty());
    }

    /// Drops what there is about attempts that the cluster no longer counts as this worker's.
    pub(crate) fn forget(&mut self, keys: &BTreeSet<AttemptKey>) {
        let mut freed = 0;
        let mut keep = |report: &Report| {
            let forgotten = keys.contains(&report.key);
            freed += if forgotten { size(report) } else { 0 };
            !forgotten
        };
        self.pending.retain(&mut keep);
        for batch in &mut self.batches {
            batch.reports.retain(&mut keep);
        }
        self.progress.retain(|key, _| !keys.contains(key));
        self.bytes = self.bytes.saturating_sub(freed);
    }

    /// Forgets everything but the numbering.
    pub(crate) fn clear(&mut self) {
        *self = Self { seq: self.seq, ..Self::default() };
    }

    /// Whether every report is committed.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_drained() && self.batches.is_empty()
    }

    fn is_drained(&self) -> bool {
        self.pending.is_empty() && self.progress.is_empty()
    }
}

fn size(report: &Report) -> usize {
    let texts = match &report.what {
        Happening::Started | Happening::Healthy => 0,
        Happening::Progress { message, .. } => message.len(),
        Happening::Finished(finished) => {
            let result = finished.result.as_ref().map_or(0, String::len);
            let extension = finished.extension.as_ref().map_or(0, |addition| addition.weight());
            result + extension + finished.stdout_tail.len() + finished.stderr_tail.len()
        }
    };
    REPORT_BYTES + texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::{finished, key};
    use quorate_types::extension::Addition;

    fn started(n: u32) -> Report {
        Report { key: key(n), what: Happening::Started }
    }

    fn progress(n: u32, millis: u16) -> Report {
        Report { key: key(n), what: Happening::Progress { millis, message: String::new() } }
    }

    fn ended(n: u32) -> Report {
        finished(n, Ending::Exited(0), 0)
    }

    fn send_all(outbox: &mut Outbox) -> Vec<Batch> {
        std::iter::from_fn(|| outbox.next_batch().cloned()).collect()
    }

    #[test]
    fn batches_keep_their_numbers_when_sent_again() {
        let mut outbox = Outbox::default();
        outbox.push(started(1));
        let first = send_all(&mut outbox);
        outbox.push(ended(1));
        let second = send_all(&mut outbox);
        assert_eq!((first.len(), first[0].seq, second.len(), second[0].seq), (1, 1, 1, 2));
        outbox.on_new_session();
        assert_eq!(send_all(&mut outbox), [first, second].concat());
        assert_eq!(outbox.on_committed(1), []);
        outbox.on_new_session();
        assert_eq!(send_all(&mut outbox)[0].seq, 2);
        assert_eq!(outbox.on_committed(2), [key(1)]);
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes, 0);
    }

    #[test]
    fn few_batches_are_on_their_way_and_the_rest_gathers() {
        let mut outbox = Outbox::default();
        for n in 0..100 {
            outbox.push(ended(n));
            outbox.next_batch();
        }
        assert_eq!(outbox.batches.len(), BATCHES_IN_FLIGHT_MAX);
        assert_eq!(outbox.on_committed(1), [key(0)]);
        assert_eq!(send_all(&mut outbox)[0].reports.len(), 100 - BATCHES_IN_FLIGHT_MAX);
    }

    #[test]
    fn a_batch_is_bounded_by_count_and_bytes() {
        let mut outbox = Outbox::default();
        for n in 0..5000 {
            outbox.push(ended(n));
        }
        let sizes: Vec<_> = send_all(&mut outbox).iter().map(|batch| batch.reports.len()).collect();
        assert_eq!(sizes, [REPORTS_PER_FRAME_MAX, 5000 - REPORTS_PER_FRAME_MAX]);
        let mut outbox = Outbox::default();
        for n in 0..5 {
            let mut report = ended(n);
            if let Happening::Finished(finished) = &mut report.what {
                finished.stdout_tail = vec![0; BATCH_BYTES_MAX / 2 - 100];
            }
            outbox.push(report);
        }
        let sizes: Vec<_> = send_all(&mut outbox).iter().map(|batch| batch.reports.len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
    }

    #[test]
    fn only_the_newest_progress_counts_and_none_after_the_end() {
        let mut outbox = Outbox::default();
        for report in [progress(1, 10), progress(2, 10), started(1), progress(1, 20), progress(2, 30), ended(2)] {
            outbox.push(report);
        }
        let batches = send_all(&mut outbox);
        assert_eq!(batches[0].reports, [started(1), ended(2), progress(1, 20)]);
    }

    #[test]
    fn forgotten_attempts_leave_no_reports_and_no_empty_batches() {
        let mut outbox = Outbox::default();
        outbox.push(started(1));
        outbox.next_batch();
        for report in [ended(1), started(2), progress(1, 1)] {
            outbox.push(report);
        }
        outbox.forget(&BTreeSet::from([key(1)]));
        outbox.on_new_session();
        let batches = send_all(&mut outbox);
        assert_eq!(batches, [Batch { seq: 2, reports: vec![started(2)] }]);
        outbox.on_committed(2);
        assert_eq!(outbox.bytes, 0);
    }

    #[test]
    fn a_success_that_adds_to_its_job_is_none_without_what_it_adds() {
        let extended = |n: u32, bytes: usize| {
            let mut report = ended(n);
            if let Happening::Finished(finished) = &mut report.what {
                finished.extension = Some(Box::new(Addition::Text("[]".into())));
                finished.stdout_tail = vec![0; bytes];
            }
            report
        };
        let mut outbox = Outbox::default();
        outbox.push(extended(1, TAIL_BYTES_MAX + 1));
        outbox.push(extended(2, 0));
        let ends: Vec<Report> = send_all(&mut outbox).into_iter().flat_map(|batch| batch.reports).collect();
        let is_success = |report: &Report| {
            let Happening::Finished(finished) = &report.what else { return false };
            finished.ending.is_success() && finished.extension.is_some()
        };
        assert_eq!(ends.iter().map(is_success).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn clearing_keeps_the_numbering() {
        let mut outbox = Outbox::default();
        outbox.push(started(1));
        outbox.next_batch();
        outbox.clear();
        assert!(outbox.is_empty());
        outbox.push(started(2));
        assert_eq!(outbox.next_batch().map(|batch| batch.seq), Some(2));
    }
}
