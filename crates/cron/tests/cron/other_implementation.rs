//! Against croner, another implementation, where no clock is changed. Where it is, we differ on purpose; see
//! docs/adr/0018-cron.md.

use chrono::{DateTime, NaiveDateTime};
use croner::parser::CronParser;
use proptest::prelude::*;
use quorate_cron::{Cron, CronError, Dst, Zone};
use quorate_types::Timestamp;

use super::generator::{Element, Expression, expressions};

/// What croner reads in the same way: it has no `L-3`, `L` and `LW` exclude each other, and steps of
/// weekdays count to 7.
fn is_common(expression: &Expression) -> bool {
    let has = |is: fn(&Element) -> bool| expression.days.iter().any(is);
    let nearest_last = has(|day| matches!(day, Element::NearestLast));
    !has(|day| matches!(day, Element::BeforeLast(1..)))
        && !(nearest_last && has(|day| matches!(day, Element::BeforeLast(_))))
        && !expression.weekdays.iter().any(|day| matches!(day, Element::From(..)))
        // It takes `*/1` for a restriction; no other cron does.
        && !expression.days.iter().chain(&expression.weekdays).any(|day| matches!(day, Element::StarStep(1)))
}

fn seconds(time: NaiveDateTime) -> i64 {
    time.and_utc().timestamp()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_global_rejects: 20_000, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn agrees(expression in expressions((0, 23), true), from in 0..4_000_000_000i64) {
        prop_assume!(is_common(&expression));
        let text = expression.to_string();
        let theirs = CronParser::builder().sloppy_ranges(true).build().parse(&text).unwrap();
        let ours = match Cron::parse(&text) {
            Ok(cron) => cron,
            Err(CronError::NeverMatches) => {
                let begin = DateTime::from_timestamp(0, 0).unwrap().naive_utc();
                prop_assert!(theirs.find_next_occurrence(&begin, true).is_err(), "{}", text);
                return Ok(());
            }
            Err(error) => panic!("{text}: {error}"),
        };
        let mut time = DateTime::from_timestamp(from, 0).unwrap().naive_utc();
        for tick in ours.ticks(&Zone::UTC, Dst::Once, Timestamp(from as u64 * 1000)).take(20) {
            time = theirs.find_next_occurrence(&time, false).unwrap();
            prop_assert_eq!(tick.0 as i64, seconds(time) * 1000, "{}", text);
        }
    }
}
