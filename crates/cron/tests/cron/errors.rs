//! What is said about texts that are no expressions, zones or times.

use std::time::{Duration, Instant};

use quorate_cron::{Cron, Zone};
use quorate_types::limits::CRON_BYTES_MAX;

#[test]
fn the_message_names_the_field_and_the_fault() {
    for (expression, message) in [
        ("", "the expression is empty"),
        ("  ", "the expression is empty"),
        ("* * * *", "4 fields: five are needed"),
        ("* * * * * * * *", "8 fields: five are needed"),
        ("60 * * * *", "minute field, \"60\": 60 is not within 0 to 59"),
        ("0-60 * * * * *", "second field, \"0-60\": 60 is not within 0 to 59"),
        ("0 24 * * *", "hour field, \"24\": 24 is not within 0 to 23"),
        ("* * 10-15,40 * *", "day of month field, \"40\": 40 is not within 1 to 31"),
        ("0 0 0 * *", "day of month field, \"0\": 0 is not within 1 to 31"),
        ("* * * 12-13 *", "month field, \"12-13\": 13 is not within 1 to 12"),
        ("* * * * 9", "day of week field, \"9\": 9 is not within 0 to 7"),
        ("0 0 0 1 1 * 0", "year field, \"0\": 0 is not within 1 to 9999"),
        ("0 0 0 1 1 * 10000", "year field, \"10000\": 10000 is not within 1 to 9999"),
        ("99999999999 * * * *", "minute field, \"99999999999\": \"99999999999\" is neither a number nor a name"),
        ("10 x 12 8 0", "hour field, \"x\": \"x\" is neither a number nor a name"),
        ("10 ! 12 8 0", "hour field, \"!\": \"!\" is neither"),
        ("*a * * * *", "minute field, \"*a\": \"*a\" is neither"),
        ("*1 * * * *", "minute field, \"*1\": \"*1\" is neither"),
        ("+5 * * * *", "minute field, \"+5\": \"+5\" is neither"),
        ("15 10 * * MON-TUR", "day of week field, \"MON-TUR\": \"TUR\" is neither"),
        ("0 0 * MON *", "month field, \"MON\": \"MON\" is neither"),
        ("0,,1 * * * *", "minute field, \"\": nothing between two commas"),
        ("*/10 * * * ,2", "day of week field, \"\": nothing between two commas"),
        ("-9 * * * *", "minute field, \"-9\": a range has one beginning and one end"),
        ("0- * * * *", "minute field, \"0-\": a range has one beginning and one end"),
        ("0-0-0 * * * *", "minute field, \"0-0-0\": a range has one beginning and one end"),
        ("30-20 * * * *", "minute field, \"30-20\": the range ends before it begins"),
        ("0 0 28-3 * *", "day of month field, \"28-3\": the range ends before it begins"),
        ("*/0 * * * *", "minute field, \"*/0\": the step must be a whole number from 1 to 60"),
        ("*/61 * * * *", "minute field, \"*/61\": the step must be a whole number from 1 to 60"),
        ("0 */-5 * * *", "hour field, \"*/-5\": the step must be a whole number from 1 to 24"),
        ("* */* * * *", "hour field, \"*/*\": the step must be"),
        ("0 5/5/5 * * *", "hour field, \"5/5/5\": a step follows"),
        ("/3 * * * *", "minute field, \"/3\": a step follows"),
        ("15W * * * *", "minute field, \"15W\": \"15W\" is neither"),
        ("0 0 * * 2W", "day of week field, \"2W\": \"2W\" is neither"),
        ("0 0 15W-20 * *", "day of month field, \"15W-20\": \"15W\" is neither"),
        ("0 0 10-15W * *", "day of month field, \"10-15W\": W follows one day"),
        ("0 0 W * *", "day of month field, \"W\": W follows one day"),
        ("0 0 32W * *", "day of month field, \"32W\": 32 is not within"),
        ("0 0 L-31 * *", "day of month field, \"L-31\": L- takes 1 to 30"),
        ("0 0 L3 * *", "day of month field, \"L3\": L- takes 1 to 30"),
        ("0 0 * * L", "day of week field, \"L\": L alone says no weekday"),
        ("0 0 * * 1#", "day of week field, \"1#\": the occurrence after #"),
        ("0 0 * * 1#0", "day of week field, \"1#0\": the occurrence after #"),
        ("0 0 * * 4#6", "day of week field, \"4#6\": the occurrence after #"),
        ("0 0 * * 0##4", "day of week field, \"0##4\": the occurrence after #"),
        ("0 0 * * 1/2#3", "day of week field, \"1/2#3\": \"1/2\" is neither"),
        ("0 0 * * *#3", "day of week field, \"*#3\": \"*\" is neither"),
        ("0 0 * * #3", "day of week field, \"#3\": nothing between"),
        ("0 0 1#2 * *", "day of month field, \"1#2\": \"1#2\" is neither"),
        ("0 12 1 * +", "day of week field, \"+\": + (both fields"),
        ("@reboot", "@reboot is unknown: there are @yearly"),
        ("@every 5m", "@every 5m is unknown: there are @yearly"),
        ("TZ=UTC 0 0 * * *", "the time zone is not part of the expression"),
        ("CRON_TZ=UTC 0 0 * * *", "the time zone is not part of the expression"),
        ("0 0 30 2 *", "it never matches"),
        ("0 0 31 4,6,9,11 *", "it never matches"),
        ("0 0 31W 2 *", "it never matches"),
        ("0 0 29 2 +MON#2", "it never matches"),
        ("0 0 0 29 2 ? 2027", "it never matches"),
        ("0 0 0 1 1 * 1969", "it never matches"),
        ("0 0 ä * *", "day of month field, \"ä\": \"ä\" is neither"),
    ] {
        let error = Cron::parse(expression).expect_err(expression).to_string();
        assert!(error.starts_with(message), "{expression}: {error}");
    }
    assert!(Cron::parse(&" ".repeat(CRON_BYTES_MAX + 1)).unwrap_err().to_string().contains("longer"));
}

#[test]
fn what_never_matches_is_found_out_soon() {
    let begin = Instant::now();
    for _ in 0..10 {
        assert!(Cron::parse("0 0 29,30 2 +MON#2").is_err());
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn zones_and_times_are_read_as_people_write_them() {
    for (name, shown) in [("Europe/Berlin", "Europe/Berlin"), ("europe/berlin", "Europe/Berlin"), ("UTC", "UTC")] {
        assert_eq!(Zone::parse(name).unwrap().to_string(), shown);
    }
    for name in ["", "Mars/Olympus", "CEST", "+02:00", "../etc/passwd"] {
        assert!(Zone::parse(name).unwrap_err().to_string().contains("is no IANA time zone"), "{name}");
    }
    let berlin = Zone::parse("Europe/Berlin").unwrap();
    for text in [
        "2026-07-01T12:00:00+02:00",
        "2026-07-01T10:00:00Z",
        "2026-07-01T12:00:00",
        "2026-07-01 12:00",
        "2026-07-01T06:00:00-04:00",
    ] {
        assert_eq!(berlin.show(berlin.read(text).unwrap()), "2026-07-01T12:00:00+02:00", "{text}");
    }
    assert_eq!(berlin.show(berlin.read("2026-01-01").unwrap()), "2026-01-01T00:00:00+01:00");
    for (text, message) in [
        ("yesterday", "is no time"),
        ("", "is no time"),
        ("2026-13-01", "is no time"),
        ("1969-12-31T23:59:59Z", "is before 1970"),
    ] {
        assert!(berlin.read(text).unwrap_err().to_string().contains(message), "{text}");
    }
}
