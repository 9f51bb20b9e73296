//! Names, checked when they are made.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits::NAME_LEN_MAX;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("must be 1 to {NAME_LEN_MAX} characters long, has {0}")]
    Length(usize),
    #[error("may hold only letters, digits, '_', '.' and '-'{extra}, found {found:?}")]
    Character { found: char, extra: &'static str },
    #[error("must not be '.' or '..'")]
    Dots,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $allowed:expr, $extra:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self)
            }
        }

        // A job may hold a million names: they are read without a copy in between.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a string")
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::new(text).map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }

        impl $name {
            /// Checks `text` and makes it a name.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text, $allowed, $extra)?;
                Ok(Self(Arc::from(text)))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// The name of a task, worker, namespace, resource or label: 1 to 128 of letters, digits, `_`,
    /// `.` and `-`. `.` and `..` are refused because names become folder names.
    Name,
    &[],
    ""
);
name_type!(
    /// A job's name: like [`Name`], and it may hold spaces and `/`.
    JobName,
    &[' ', '/'],
    ", spaces and '/'"
);

fn check(text: &str, allowed: &[char], extra: &'static str) -> Result<(), NameError> {
    let len = text.chars().count();
    if !(1..=NAME_LEN_MAX).contains(&len) {
        return Err(NameError::Length(len));
    }
    if text == "." || text == ".." {
        return Err(NameError::Dots);
    }
    let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') || allowed.contains(c);
    match text.chars().find(|c| !legal(c)) {
        Some(found) => Err(NameError::Character { found, extra }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(Name::new("gpu-node_1.eu").is_ok());
        assert_eq!(Name::new(""), Err(NameError::Length(0)));
        assert_eq!(Name::new(&"x".repeat(129)), Err(NameError::Length(129)));
        assert_eq!(Name::new(".."), Err(NameError::Dots));
        assert!(Name::new("a b").is_err());
        assert!(Name::new("a/b").is_err());
        assert!(JobName::new("nightly build/eu").is_ok());
        assert!(serde_json::from_str::<Name>("\"a\\u0000\"").is_err());
    }
}
