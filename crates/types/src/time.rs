//! Points and spans of time: integers of milliseconds inside, RFC 3339 and `"1h30m"` outside.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since the Unix epoch, UTC. JSON: RFC 3339 with milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// A length of time in milliseconds. JSON: `"90s"`, `"5m"`, `"1h30m"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

/// Why a text is no point or span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    #[error("not an RFC 3339 time: {0}")]
    Timestamp(String),
    #[error("not a duration such as \"90s\", \"5m\" or \"1h30m\": {0}")]
    Span(String),
}

/// The last second that RFC 3339 can write: 9999-12-31T23:59:59Z.
const LAST_TIMESTAMP_MS: u64 = 253_402_300_799_999;

impl Timestamp {
    /// The wall clock's time. Not for anything that decides in the replicated state.
    pub fn from_wall_clock() -> Self {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(elapsed.as_millis()).unwrap_or(LAST_TIMESTAMP_MS))
    }

    pub fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// How much later this is than `earlier`; zero if it is not later.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1000)
    }

    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_millis(self.0.min(LAST_TIMESTAMP_MS));
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let bad = |detail: String| TimeError::Timestamp(detail);
        let time = humantime::parse_rfc3339(text).map_err(|e| bad(e.to_string()))?;
        let since = time.duration_since(UNIX_EPOCH).map_err(|_| bad("before 1970".into()))?;
        Ok(Self(u64::try_from(since.as_millis()).map_err(|e| bad(e.to_string()))?))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_duration(self.as_duration()).to_string();
        f.write_str(&text.replace(' ', ""))
    }
}

impl FromStr for Span {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let duration = humantime::parse_duration(text).map_err(|e| TimeError::Span(e.to_string()))?;
        Ok(Self(u64::try_from(duration.as_millis()).map_err(|e| TimeError::Span(e.to_string()))?))
    }
}

macro_rules! text_outside_number_inside {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_u64(self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
                } else {
                    u64::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

text_outside_number_inside!(Timestamp);
text_outside_number_inside!(Span);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_write_as_people_do() {
        for (text, ms) in [("90s", 90_000), ("5m", 300_000), ("1h30m", 5_400_000), ("250ms", 250)] {
            assert_eq!(text.parse(), Ok(Span(ms)));
        }
        assert_eq!(Span(5_400_000).to_string(), "1h30m");
        assert!("".parse::<Span>().is_err());
        assert!("90".parse::<Span>().is_err());
        assert!("-5s".parse::<Span>().is_err());
    }

    #[test]
    fn timestamps_are_rfc3339_with_milliseconds() {
        let time = Timestamp(1_700_000_000_123);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(time.to_string().parse(), Ok(time));
        assert_eq!(Timestamp(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}
