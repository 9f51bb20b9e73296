//! Times as people say them.

use quorate_types::{Span, Timestamp};

/// `850ms`, `12.3s`, `5m 02s`, `3h 07m`, `4d 11h`.
pub(crate) fn span(span: Span) -> String {
    let (ms, s) = (span.0, span.0 / 1000);
    match s {
        0 => format!("{ms}ms"),
        1..=59 => format!("{}.{}s", s, ms % 1000 / 100),
        60..=3599 => format!("{}m {:02}s", s / 60, s % 60),
        3600..=86_399 => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// `now`, `3s ago`, `5m ago`, `2h ago`, `4d ago`. A time that is yet to come by this machine's clock
/// is `now`: clocks differ a little.
pub(crate) fn ago(time: Timestamp, now: Timestamp) -> String {
    let s = now.since(time).0 / 1000;
    match s {
        0 => "now".to_owned(),
        1..=59 => format!("{s}s ago"),
        60..=3599 => format!("{}m ago", s / 60),
        3600..=86_399 => format!("{}h ago", s / 3600),
        _ => format!("{}d ago", s / 86_400),
    }
}

/// How long something took, or takes so far.
pub(crate) fn took(started: Option<Timestamp>, finished: Option<Timestamp>, now: Timestamp) -> String {
    match (started, finished) {
        (None, _) => "-".to_owned(),
        (Some(started), finished) => span(finished.unwrap_or(now).since(started)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_ages_are_short() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_050, "1.0s"),
            (59_999, "59.9s"),
            (302_000, "5m 02s"),
            (11_220_000, "3h 07m"),
            (385_200_000, "4d 11h"),
        ] {
            assert_eq!(span(Span(ms)), text);
        }
        let now = Timestamp(100_000_000_000);
        for (before_ms, text) in
            [(0, "now"), (3_999, "3s ago"), (600_000, "10m ago"), (7_200_000, "2h ago"), (172_800_000, "2d ago")]
        {
            assert_eq!(ago(Timestamp(now.0 - before_ms), now), text);
        }
        assert_eq!(ago(Timestamp(now.0 + 5_000), now), "now");
        assert_eq!(took(None, None, now), "-");
        assert_eq!(took(Some(Timestamp(now.0 - 2_500)), None, now), "2.5s");
    }
}
