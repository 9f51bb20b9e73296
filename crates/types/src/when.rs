//! A point in time that a job names: absolute, or counted from its submission.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::time::{Span, TimeError, Timestamp};

/// JSON: an RFC 3339 time, or a duration such as `"10m"` from the submission on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    At(Timestamp),
    After(Span),
}

/// The same for encodings that are not for people.
#[derive(Serialize, Deserialize)]
enum Plain {
    At(Timestamp),
    After(Span),
}

impl When {
    /// The time that is meant in a job that was submitted at `submitted`.
    pub fn resolve(self, submitted: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::After(span) => submitted.plus(span),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => time.fmt(f),
            Self::After(span) => span.fmt(f),
        }
    }
}

impl FromStr for When {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        // Only a time has a date's dashes; the error then speaks of what was most likely meant.
        if text.contains('-') { text.parse().map(Self::At) } else { text.parse().map(Self::After) }
    }
}

impl Serialize for When {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        match self {
            Self::At(time) => Plain::At(*time).serialize(serializer),
            Self::After(span) => Plain::After(*span).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
        }
        Plain::deserialize(deserializer).map(|plain| match plain {
            Plain::At(time) => Self::At(time),
            Plain::After(span) => Self::After(span),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_or_a_duration() {
        let submitted = Timestamp(1_000);
        let cases = [(r#""10s""#, 11_000), (r#""1970-01-01T00:00:05.000Z""#, 5_000)];
        for (json, ms) in cases {
            let when: When = serde_json::from_str(json).unwrap();
            assert_eq!(when.resolve(submitted), Timestamp(ms));
            assert_eq!(serde_json::to_string(&when).unwrap(), json);
        }
        for bad in ["\"\"", "\"soon\"", "\"2026-13-01T00:00:00Z\"", "5", "\"-5s\""] {
            assert!(serde_json::from_str::<When>(bad).is_err(), "{bad}");
        }
    }
}
