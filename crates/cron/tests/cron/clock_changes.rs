//! What happens around clock changes: stories with known answers.

use quorate_cron::Dst;

const BERLIN: &str = "Europe/Berlin";
const NEW_YORK: &str = "America/New_York";

/// Expression, zone, choice, from when on, and the ticks that follow.
type Row = (&'static str, &'static str, Dst, &'static str, &'static [&'static str]);

fn check(rows: &[Row]) {
    for (expression, zone, dst, from, expected) in rows {
        let found = super::next(expression, zone, *dst, from, expected.len());
        assert_eq!(found, *expected, "{expression} in {zone} from {from} with {dst:?}");
    }
}

/// Berlin: 2026-03-29 02:00+01:00 is 03:00+02:00.
#[test]
fn a_gap() {
    check(&[
        (
            "30 2 * * *",
            BERLIN,
            Dst::Once,
            "2026-03-28T12:00:00",
            &["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
        (
            "30 2 * * *",
            BERLIN,
            Dst::Both,
            "2026-03-28T12:00:00",
            &["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
        (
            "30 2 * * *",
            BERLIN,
            Dst::Skip,
            "2026-03-28T12:00:00",
            &["2026-03-30T02:30:00+02:00", "2026-03-31T02:30:00+02:00"],
        ),
        // Its first and last second; what is beside the gap is not moved.
        (
            "0 2 * * *",
            BERLIN,
            Dst::Once,
            "2026-03-29T00:00:00",
            &["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"],
        ),
        (
            "59 59 2 * * *",
            BERLIN,
            Dst::Once,
            "2026-03-29T00:00:00",
            &["2026-03-29T03:00:00+02:00", "2026-03-30T02:59:59+02:00"],
        ),
        (
            "59 59 1 * * *",
            BERLIN,
            Dst::Once,
            "2026-03-29T00:00:00",
            &["2026-03-29T01:59:59+01:00", "2026-03-30T01:59:59+02:00"],
        ),
        (
            "1 3 * * *",
            BERLIN,
            Dst::Once,
            "2026-03-29T00:00:00",
            &["2026-03-29T03:01:00+02:00", "2026-03-30T03:01:00+02:00"],
        ),
        // Several in the gap, or one there and one right after it, are one tick.
        (
            "0,30 2 * * *",
            BERLIN,
            Dst::Once,
            "2026-03-29T00:00:00",
            &["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"],
        ),
        (
            "0 1-4 * * *",
            BERLIN,
            Dst::Once,
            "2026-03-29T00:00:00",
            &["2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"],
        ),
        // The tick after the gap is not found again from itself.
        ("30 2 * * *", BERLIN, Dst::Once, "2026-03-29T03:00:00", &["2026-03-30T02:30:00+02:00"]),
        (
            "30 2 29 3 *",
            BERLIN,
            Dst::Once,
            "2026-01-01T00:00:00",
            &["2026-03-29T03:00:00+02:00", "2027-03-29T02:30:00+02:00"],
        ),
        ("30 2 11 Mar ?", NEW_YORK, Dst::Skip, "2012-03-11T00:00:00-05:00", &["2013-03-11T02:30:00-04:00"]),
        ("0 30 1 * * *", "Europe/London", Dst::Once, "2025-03-29T12:00:00", &["2025-03-30T02:00:00+01:00"]),
        (
            "0 0 * * *",
            "Europe/London",
            Dst::Once,
            "2025-03-29T12:00:00",
            &["2025-03-30T00:00:00+00:00", "2025-03-31T00:00:00+01:00"],
        ),
    ]);
}

/// What is open follows the clock: what it does not show does not come.
#[test]
fn a_gap_in_an_open_schedule() {
    for dst in [Dst::Once, Dst::Skip, Dst::Both] {
        check(&[
            ("*/30 2 * * *", BERLIN, dst, "2026-03-29T00:00:00", &["2026-03-30T02:00:00+02:00"]),
            ("0/30 2 * * *", BERLIN, dst, "2026-03-29T00:00:00", &["2026-03-30T02:00:00+02:00"]),
            (
                "30 * * * *",
                BERLIN,
                dst,
                "2026-03-29T01:00:00",
                &["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"],
            ),
            ("0 */2 * * *", BERLIN, dst, "2026-03-29T00:00:00", &["2026-03-29T04:00:00+02:00"]),
            (
                "*/20 * * * *",
                BERLIN,
                dst,
                "2026-03-29T01:30:00",
                &["2026-03-29T01:40:00+01:00", "2026-03-29T03:00:00+02:00"],
            ),
        ]);
    }
}

/// Berlin: 2026-10-25 03:00+02:00 is 02:00+01:00.
#[test]
fn an_overlap() {
    check(&[
        (
            "30 2 * * *",
            BERLIN,
            Dst::Once,
            "2026-10-24T12:00:00",
            &["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
        ),
        (
            "30 2 * * *",
            BERLIN,
            Dst::Skip,
            "2026-10-24T12:00:00",
            &["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
        ),
        (
            "30 2 * * *",
            BERLIN,
            Dst::Both,
            "2026-10-24T12:00:00",
            &["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-26T02:30:00+01:00"],
        ),
        // From within the second pass.
        ("30 2 * * *", BERLIN, Dst::Once, "2026-10-25T02:10:00+01:00", &["2026-10-26T02:30:00+01:00"]),
        ("30 2 * * *", BERLIN, Dst::Both, "2026-10-25T02:10:00+01:00", &["2026-10-25T02:30:00+01:00"]),
        (
            "0 2,3 * * *",
            BERLIN,
            Dst::Once,
            "2026-10-25T01:00:00",
            &["2026-10-25T02:00:00+02:00", "2026-10-25T03:00:00+01:00"],
        ),
        (
            "0,30 2 * * *",
            BERLIN,
            Dst::Both,
            "2026-10-25T01:00:00",
            &[
                "2026-10-25T02:00:00+02:00",
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:00:00+01:00",
                "2026-10-25T02:30:00+01:00",
                "2026-10-26T02:00:00+01:00",
            ],
        ),
        ("0 30 1 04 Nov ?", NEW_YORK, Dst::Both, "2012-11-04T01:45:00-04:00", &["2012-11-04T01:30:00-05:00"]),
        ("0 30 2 04 Nov ?", NEW_YORK, Dst::Once, "2012-11-04T00:00:00-04:00", &["2012-11-04T02:30:00-05:00"]),
    ]);
    for dst in [Dst::Once, Dst::Skip, Dst::Both] {
        check(&[
            (
                "30 * * * *",
                BERLIN,
                dst,
                "2026-10-25T01:00:00",
                &[
                    "2026-10-25T01:30:00+02:00",
                    "2026-10-25T02:30:00+02:00",
                    "2026-10-25T02:30:00+01:00",
                    "2026-10-25T03:30:00+01:00",
                ],
            ),
            (
                "*/30 2 * * *",
                BERLIN,
                dst,
                "2026-10-25T02:10:00+02:00",
                &["2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00"],
            ),
        ]);
    }
}

#[test]
fn changes_that_are_unlike_those_of_europe() {
    check(&[
        // Lord Howe changes by half an hour.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            Dst::Once,
            "2026-10-03T12:00:00",
            &["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"],
        ),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            Dst::Both,
            "2026-04-04T12:00:00",
            &["2026-04-05T01:45:00+11:00", "2026-04-05T01:45:00+10:30"],
        ),
        // São Paulo had no midnight on such days.
        (
            "@daily",
            "America/Sao_Paulo",
            Dst::Once,
            "2018-11-03T12:00:00",
            &["2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"],
        ),
        ("@daily", "America/Sao_Paulo", Dst::Skip, "2018-11-03T12:00:00", &["2018-11-05T00:00:00-02:00"]),
        // Samoa left out a whole day, and Greenland's clocks skip the hour before midnight: the tick falls on the next
        // day.
        (
            "0 12 30 12 *",
            "Pacific/Apia",
            Dst::Once,
            "2011-12-01T00:00:00",
            &["2011-12-31T00:00:00+14:00", "2012-12-30T12:00:00+14:00"],
        ),
        ("0 12 30 12 *", "Pacific/Apia", Dst::Skip, "2011-12-01T00:00:00", &["2012-12-30T12:00:00+14:00"]),
        (
            "30 23 30 3 *",
            "America/Nuuk",
            Dst::Once,
            "2024-03-01T00:00:00",
            &["2024-03-31T00:00:00-01:00", "2025-03-30T23:30:00-01:00"],
        ),
        // Far ahead, by the rule.
        ("30 2 * 3 +7L", BERLIN, Dst::Once, "2500-01-01T00:00:00", &["2500-03-28T03:00:00+02:00"]),
    ]);
}

/// It matches dates, but the clock never shows the time.
#[test]
fn a_time_that_is_always_skipped_ends_the_search() {
    assert!(super::next("0/45 2 25-31 3 +7", BERLIN, Dst::Once, "1997-01-01T00:00:00", 1).is_empty());
    assert!(super::next("30 2 25-31 3 +7", BERLIN, Dst::Skip, "1997-01-01T00:00:00", 1).is_empty());
}
