//! What a leader has to run: tables over a schedule of a tick a minute, and over long absences.

use std::time::{Duration, Instant};

use quorate_cron::{Calendar, Cron, Dst, Due, Every, LATE_AFTER, Misfire, MisfirePolicy, RUNS_MAX, Zone, due};
use quorate_types::{Span, Timestamp};

const MINUTE_MS: u64 = 60_000;

/// Minutes, and milliseconds more.
const fn at(minutes: u64, ms: u64) -> Timestamp {
    Timestamp(minutes * MINUTE_MS + ms)
}

fn every_minute() -> Calendar {
    Calendar::Cron { cron: Cron::parse("* * * * *").unwrap(), zone: Zone::UTC, dst: Dst::Once }
}

fn policy(misfire: Misfire, window_s: Option<u64>) -> MisfirePolicy {
    MisfirePolicy { misfire, window: window_s.map(Span::from_secs) }
}

#[test]
fn ticks_on_time_run_and_missed_ones_by_the_policy() {
    let late = LATE_AFTER.0;
    for (last, now, misfire, window_s, run, next) in [
        // Nothing is due.
        (at(10, 0), at(10, 59_999), Misfire::All, None, vec![], 11),
        // On time, whatever the policy, also with a window that is shorter than what counts as late.
        (at(10, 0), at(11, 0), Misfire::Once, None, vec![11], 12),
        (at(10, 0), at(11, late), Misfire::Skip, None, vec![11], 12),
        (at(10, 0), at(11, late), Misfire::All, Some(1), vec![11], 12),
        // A millisecond later it was missed.
        (at(10, 0), at(11, late + 1), Misfire::Skip, None, vec![], 12),
        (at(10, 0), at(11, late + 1), Misfire::Once, None, vec![11], 12),
        (at(10, 0), at(11, late + 1), Misfire::All, None, vec![11], 12),
        // Five missed, and none on time.
        (at(10, 0), at(15, 30_000), Misfire::Skip, None, vec![], 16),
        (at(10, 0), at(15, 30_000), Misfire::Once, None, vec![15], 16),
        (at(10, 0), at(15, 30_000), Misfire::All, None, vec![11, 12, 13, 14, 15], 16),
        // Five missed, and one on time.
        (at(10, 0), at(16, 1), Misfire::Skip, None, vec![16], 17),
        (at(10, 0), at(16, 1), Misfire::Once, None, vec![15, 16], 17),
        (at(10, 0), at(16, 1), Misfire::All, None, vec![11, 12, 13, 14, 15, 16], 17),
        // The window, its edge included.
        (at(10, 0), at(15, 30_000), Misfire::All, Some(90), vec![14, 15], 16),
        (at(10, 0), at(15, 30_001), Misfire::All, Some(90), vec![15], 16),
        (at(10, 0), at(15, 30_000), Misfire::Once, Some(30), vec![15], 16),
        (at(10, 0), at(15, 30_001), Misfire::Once, Some(30), vec![], 16),
        // A clock that went back: what ran does not run again.
        (at(20, 0), at(15, 30_000), Misfire::All, None, vec![], 21),
    ] {
        let found = due(&every_minute(), last, now, policy(misfire, window_s));
        let run: Vec<Timestamp> = run.into_iter().map(|minute| at(minute, 0)).collect();
        assert_eq!(found, Due { run, next: Some(at(next, 0)) }, "{last} {now} {misfire:?} {window_s:?}");
    }
}

#[test]
fn what_is_too_much_comes_with_the_next_calls() {
    let (calendar, all) = (every_minute(), policy(Misfire::All, None));
    let (mut last, now) = (at(0, 0), at(250, 30_000));
    let mut lengths = Vec::new();
    let mut ran = Vec::new();
    loop {
        let found = due(&calendar, last, now, all);
        lengths.push(found.run.len());
        ran.extend(found.run.iter().copied());
        last = *found.run.last().unwrap();
        if found.next.unwrap() > now {
            break;
        }
    }
    assert_eq!(lengths, [RUNS_MAX, RUNS_MAX, 50]);
    assert_eq!(ran, (1..=250).map(|minute| at(minute, 0)).collect::<Vec<_>>());
}

/// A schedule of every second, whose cluster was down for thirty years.
#[test]
fn a_long_absence_takes_no_longer() {
    let now = Zone::UTC.read("2026-01-01T00:00:30.5Z").unwrap();
    let cron = Calendar::Cron {
        cron: Cron::parse("* * * * * *").unwrap(),
        zone: Zone::parse("Europe/Berlin").unwrap(),
        dst: Dst::Once,
    };
    let every = Calendar::Every(Every::new(Timestamp(0), Span::from_secs(1)).unwrap());
    for calendar in [cron, every] {
        let begin = Instant::now();
        let found = due(&calendar, Zone::UTC.read("1996-01-01T00:00:00Z").unwrap(), now, policy(Misfire::Once, None));
        // The newest missed one, then those on time.
        let expected: Vec<Timestamp> = (0..=10).rev().map(|s| Timestamp(now.0 - 500 - s * 1000)).collect();
        assert_eq!(found.run, expected);
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    }
}

/// The newest missed tick is found also where ticks are rare.
#[test]
fn the_newest_of_rare_ticks() {
    let read = |text: &str| Zone::UTC.read(text).unwrap();
    let calendar = Calendar::Cron { cron: Cron::parse("0 0 29 2 *").unwrap(), zone: Zone::UTC, dst: Dst::Once };
    for (last, now, run) in [
        ("1990-01-01T00:00:00Z", "2026-01-01T00:00:00Z", Some("2024-02-29T00:00:00Z")),
        ("2024-02-29T00:00:00Z", "2026-01-01T00:00:00Z", None),
        ("2024-02-28T23:59:59Z", "2026-01-01T00:00:00Z", Some("2024-02-29T00:00:00Z")),
    ] {
        let found = due(&calendar, read(last), read(now), policy(Misfire::Once, None));
        assert_eq!(found.run, run.map(read).into_iter().collect::<Vec<_>>(), "{last} {now}");
        assert_eq!(found.next, Some(read("2028-02-29T00:00:00Z")));
    }
}

#[test]
fn choices_are_lower_case_in_json() {
    let json = |dst: Dst, misfire: Misfire| serde_json::to_string(&(dst, misfire)).unwrap();
    assert_eq!(json(Dst::default(), Misfire::default()), r#"["once","once"]"#);
    assert_eq!(json(Dst::Skip, Misfire::All), r#"["skip","all"]"#);
    assert_eq!(json(Dst::Both, Misfire::Skip), r#"["both","skip"]"#);
}
