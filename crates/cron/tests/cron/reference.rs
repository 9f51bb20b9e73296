//! Against a reference that is slow and plain: it looks at every minute, or second, of the clock.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use quorate_cron::{Cron, Dst, Zone};

use super::generator::{Expression, expressions};

/// Zones and a local time close to one of their clock changes.
const CHANGES: &[(&str, &str, (i16, i16))] = &[
    ("Europe/Berlin", "2026-03-29T02:00", (1, 3)),
    ("Europe/Berlin", "2026-10-25T02:00", (1, 3)),
    ("America/New_York", "2025-03-09T02:00", (1, 3)),
    ("America/New_York", "2025-11-02T01:00", (0, 2)),
    ("Europe/Dublin", "2026-10-25T01:00", (0, 2)),
    ("Australia/Lord_Howe", "2026-04-05T01:30", (1, 2)),
    ("Australia/Lord_Howe", "2026-10-04T02:00", (1, 2)),
    ("America/Sao_Paulo", "2018-11-04T00:00", (0, 2)),
    ("America/Sao_Paulo", "2018-02-17T23:00", (22, 23)),
    ("America/Nuuk", "2024-03-30T23:00", (22, 23)),
    ("America/Scoresbysund", "2024-03-31T00:00", (0, 2)),
    ("Antarctica/Troll", "2026-03-29T02:00", (0, 4)),
    ("Africa/Casablanca", "2026-02-15T02:00", (1, 4)),
    ("Pacific/Apia", "2011-12-30T00:00", (0, 23)),
    ("Asia/Kolkata", "2026-03-29T02:00", (1, 3)),
    ("Europe/Berlin", "2300-03-25T02:00", (1, 3)),
];

/// The zone, straight from the library.
fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

/// The moments that the clock shows `time`; or if it never does, the first one at which it is past it.
fn moments(zone: &TimeZone, time: DateTime) -> (Vec<Timestamp>, Option<Timestamp>) {
    let at = |offset: jiff::tz::Offset| offset.to_timestamp(time).unwrap();
    match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => (vec![at(offset)], None),
        AmbiguousOffset::Fold { before, after } => (vec![at(before), at(after)], None),
        AmbiguousOffset::Gap { before, .. } => {
            // A day before, the clock had not been changed yet. (Samoa's gap is a day long.)
            // Clocks change on whole minutes.
            let into_minute = SignedDuration::from_secs(time.second().into());
            let mut moment = at(before).saturating_sub(SignedDuration::from_hours(24) + into_minute).unwrap();
            while zone.to_datetime(moment) <= time {
                moment = moment.saturating_add(SignedDuration::from_mins(1)).unwrap();
            }
            (Vec::new(), Some(moment))
        }
    }
}

/// All ticks later than `from` up to `until`, from every `step`-th moment of the clock's face.
fn reference(
    expression: &Expression,
    zone: &TimeZone,
    dst: Dst,
    (from, until): (Timestamp, Timestamp),
    step: SignedDuration,
) -> BTreeSet<Timestamp> {
    // A gap of a day may put off what was due a day before.
    let mut time = zone.to_datetime(from).saturating_sub(SignedDuration::from_hours(30));
    let end = zone.to_datetime(until).saturating_add(SignedDuration::from_hours(2));
    let mut ticks = BTreeSet::new();
    while time < end {
        if expression.matches(time) {
            let (shown, after_gap) = moments(zone, time);
            let repeats = expression.follows_clock() || dst == Dst::Both;
            let makes_up = !expression.follows_clock() && dst != Dst::Skip;
            ticks.extend(shown.into_iter().take(if repeats { 2 } else { 1 }));
            ticks.extend(after_gap.filter(|_| makes_up));
        }
        time = time.saturating_add(step);
    }
    ticks.retain(|tick| *tick > from && *tick <= until);
    ticks
}

fn check(expression: &Expression, change: usize, dst: Dst, around: SignedDuration, step: SignedDuration) {
    let (name, close_to, _) = CHANGES[change];
    let library = zone(name);
    let close_to = library.to_timestamp(close_to.parse::<DateTime>().unwrap()).unwrap();
    let (from, until) = (close_to - around, close_to + around);
    // What matches no date at all is refused; whether rightly so, other tests say.
    let Ok(cron) = Cron::parse(&expression.to_string()) else { return };
    let ours = Zone::parse(name).unwrap();
    let after = quorate_types::Timestamp(from.as_millisecond().try_into().unwrap());
    let found: Vec<Timestamp> = cron
        .ticks(&ours, dst, after)
        .map(|tick| Timestamp::from_millisecond(tick.0.try_into().unwrap()).unwrap())
        .take_while(|tick| *tick <= until)
        .collect();
    let expected: Vec<Timestamp> = reference(expression, &library, dst, (from, until), step).into_iter().collect();
    assert_eq!(found, expected, "{expression} in {name} with {dst:?}");
}

fn choices() -> impl Strategy<Value = (usize, Dst)> {
    (0..CHANGES.len(), prop_oneof![Just(Dst::Once), Just(Dst::Skip), Just(Dst::Both)])
}

fn cases(has_seconds: bool) -> impl Strategy<Value = (Expression, usize, Dst)> {
    choices().prop_flat_map(move |(change, dst)| (expressions(CHANGES[change].2, has_seconds), Just(change), Just(dst)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_500) })]

    #[test]
    fn minutes_around_a_clock_change((expression, change, dst) in cases(false)) {
        check(&expression, change, dst, SignedDuration::from_hours(60), SignedDuration::from_mins(1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn seconds_around_a_clock_change((expression, change, dst) in cases(true)) {
        check(&expression, change, dst, SignedDuration::from_hours(3), SignedDuration::from_secs(1));
    }
}
