//! Scales, and the values at which an axis has ticks.

/// From values to a place between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    Linear {
        min: f64,
        max: f64,
    },
    /// For values from `min`, above 0, on; what is less stands at the beginning.
    Log {
        min: f64,
        max: f64,
    },
}

/// Seconds, minutes, hours, days and weeks.
const LOG_TIMES: [f64; 10] = [1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0, 31_536_000.0];

/// What the values of an axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Number,
    Seconds,
    /// From 0 to 1.
    Share,
}

impl Scale {
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { min, max } => (value - min) / (max - min),
            Self::Log { min, max } => (value.max(min) / min).ln() / (max / min).ln(),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// About `wanted` round values.
    pub(super) fn ticks(self, unit: Unit, wanted: usize) -> Vec<f64> {
        match self {
            Self::Linear { min, max } => {
                let step = round_step((max - min) / wanted as f64, unit);
                let first = (min / step).ceil() as i64;
                (first..).map(|n| n as f64 * step).take_while(|tick| *tick <= max * 1.000_001).take(50).collect()
            }
            Self::Log { min, max } if unit == Unit::Seconds => {
                LOG_TIMES.into_iter().filter(|time| (min..=max).contains(time)).collect()
            }
            Self::Log { min, max } => {
                let powers = (min.log10().ceil() as i32)..=(max.log10().floor() as i32);
                powers.map(|power| 10f64.powi(power)).collect()
            }
        }
    }
}

/// The next larger step that people count in.
fn round_step(step: f64, unit: Unit) -> f64 {
    const TIMES: [f64; 22] = [
        1.0,
        2.0,
        5.0,
        10.0,
        30.0,
        60.0,
        300.0,
        600.0,
        1800.0,
        3600.0,
        7200.0,
        21_600.0,
        43_200.0,
        86_400.0,
        172_800.0,
        604_800.0,
        2_592_000.0,
        5_184_000.0,
        7_776_000.0,
        15_552_000.0,
        31_536_000.0,
        315_360_000.0,
    ];
    if unit == Unit::Seconds
        && step > 0.5
        && let Some(time) = TIMES.iter().find(|time| **time >= step)
    {
        return *time;
    }
    let step = if step > 0.0 { step } else { 1.0 };
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= step).unwrap_or(10.0);
    factor * power
}

/// A value as it stands at a tick.
pub(super) fn words(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Share => format!("{:.0}%", value * 100.0),
        Unit::Number => number(value),
        Unit::Seconds => seconds(value),
    }
}

/// Three digits, or more if they stand before the point.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// In the largest unit of which there is one at least, and the next smaller one.
pub(super) fn seconds(value: f64) -> String {
    const UNITS: [(f64, &str, f64, &str); 3] =
        [(86_400.0, "d", 3600.0, "h"), (3600.0, "h", 60.0, "min"), (60.0, "min", 1.0, "s")];
    for (large, unit, small, smaller_unit) in UNITS {
        let rounded = (value / small).round() * small;
        if rounded >= large {
            let (whole, rest) = ((rounded / large).floor(), (rounded % large) / small);
            return if rest < 1.0 {
                format!("{whole} {unit}")
            } else {
                format!("{whole} {unit} {rest} {smaller_unit}")
            };
        }
    }
    let tenths = (value * 10.0).round() / 10.0;
    match value {
        0.0 => "0 s".to_owned(),
        1.0.. => format!("{tenths} s"),
        _ => format!("{} ms", number(value * 1000.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(Scale::Linear { min: 0.0, max: 97.0 }.ticks(Unit::Number, 5), [0.0, 20.0, 40.0, 60.0, 80.0]);
        assert_eq!(
            Scale::Linear { min: 0.0, max: 80_000.0 }.ticks(Unit::Seconds, 4),
            [0.0, 21_600.0, 43_200.0, 64_800.0]
        );
        // Of a year, every sixty days.
        let months = Scale::Linear { min: 0.0, max: 31_536_000.0 }.ticks(Unit::Seconds, 7);
        assert_eq!((months.len(), seconds(months[1])), (7, "60 d".into()));
        assert_eq!(Scale::Log { min: 1.0, max: 5000.0 }.ticks(Unit::Number, 5), [1.0, 10.0, 100.0, 1000.0]);
    }

    #[test]
    fn an_empty_range_is_no_error() {
        let scale = Scale::Linear { min: 0.0, max: 0.0 };
        assert_eq!((scale.place(0.0), scale.ticks(Unit::Number, 5).len()), (0.0, 1));
    }

    #[test]
    fn values_are_short() {
        for (value, text) in [
            (0.0, "0 s"),
            (0.25, "250 ms"),
            (2.54, "2.5 s"),
            (90.0, "1 min 30 s"),
            (7200.0, "2 h"),
            (86_399.0, "1 d"),
            (354_240.0, "4 d 2 h"),
            (3_599.6, "1 h"),
            (864_000.0, "10 d"),
        ] {
            assert_eq!(seconds(value), text);
        }
        assert_eq!((number(92.5765), number(1234.5), number(0.123)), ("92.6".into(), "1234".into(), "0.12".into()));
    }
}
