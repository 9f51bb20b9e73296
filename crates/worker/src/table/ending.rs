//! How an attempt's end is reported.

use quorate_types::Span;
use quorate_types::extension::Addition;
use quorate_types::limits::REASON_BYTES_MAX;
use quorate_types::session::{AttemptKey, Finished, Happening, Report};
use quorate_types::status::Ending;

use super::{Leftover, Phase, Table};

impl Table {
    pub(super) fn report_end(&mut self, key: AttemptKey, ending: Ending, ran: Span, leftover: Leftover) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        attempt.phase = Phase::Reported;
        attempt.definition = None;
        let (behind, timer) = (attempt.behind, attempt.timer.take());
        self.disarm(key, timer);
        self.note_end(key, behind);
        let Leftover { result, extension, stdout_tail, stderr_tail } = leftover;
        let extension = extension.filter(|_| ending.is_success()).map(|text| Box::new(Addition::Text(text)));
        let finished = Finished { ending: bounded(ending), ran, result, extension, stdout_tail, stderr_tail };
        self.outbox.push(Report { key, what: Happening::Finished(Box::new(finished)) });
    }
}

/// Cuts the text of an ending to what the cluster keeps.
fn bounded(ending: Ending) -> Ending {
    let cut = |mut why: String| {
        why.truncate(why.floor_char_boundary(REASON_BYTES_MAX));
        why
    };
    match ending {
        Ending::NotStarted(why) => Ending::NotStarted(cut(why)),
        Ending::Unable(why) => Ending::Unable(cut(why)),
        other => other,
    }
}
