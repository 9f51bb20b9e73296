//! How long a task waits before it is tried again.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::time::Span;

/// The wait before retry n: `initial` × `factor`ⁿ⁻¹, at most `max`, with up to a quarter of jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    pub initial: Span,
    pub factor: Factor,
    pub max: Span,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Span::from_secs(1), factor: Factor { millis: 2000 }, max: Span::from_secs(300) }
    }
}

impl Backoff {
    /// The wait before retry `retry` (from 1), without jitter.
    pub fn wait(&self, retry: u32) -> Span {
        let mut wait_ms = self.initial.0.min(self.max.0);
        for _ in 1..retry {
            let longer = u128::from(wait_ms) * u128::from(self.factor.millis) / 1000;
            wait_ms = u64::try_from(longer).unwrap_or(u64::MAX).min(self.max.0);
            if wait_ms == self.max.0 || self.factor.millis <= 1000 {
                break;
            }
        }
        Span(wait_ms)
    }
}

/// A factor in thousandths inside, a number outside; decisions use no floating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    pub millis: u32,
}

impl Serialize for Factor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_f64(f64::from(self.millis) / 1000.0)
        } else {
            serializer.serialize_u32(self.millis)
        }
    }
}

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u32::deserialize(deserializer).map(|millis| Self { millis });
        }
        let number = f64::deserialize(deserializer)?;
        if !(1.0..=1000.0).contains(&number) {
            return Err(de::Error::custom(format!("{number} is not a factor from 1 to 1000")));
        }
        Ok(Self { millis: (number * 1000.0).round() as u32 })
    }
}
