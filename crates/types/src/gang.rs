//! Gangs: elements that run at once, or not at all.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::name::Name;

/// A task's gang as a user writes it: `true` for one of its own, or a name that other tasks of the job give as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GangRequest {
    None,
    Own,
    Named(Name),
}

impl GangRequest {
    /// The gang of the task called `task`: one of its own has its name.
    pub(crate) fn name_for(self, task: &Name) -> Option<Name> {
        match self {
            Self::None => None,
            Self::Own => Some(task.clone()),
            Self::Named(name) => Some(name),
        }
    }
}

impl<'de> Deserialize<'de> for GangRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoolOrName;

        impl de::Visitor<'_> for BoolOrName {
            type Value = GangRequest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or the name of a gang")
            }

            fn visit_bool<E: de::Error>(self, gang: bool) -> Result<GangRequest, E> {
                Ok(if gang { GangRequest::Own } else { GangRequest::None })
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<GangRequest, E> {
                Name::new(name).map(GangRequest::Named).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(BoolOrName)
    }
}

/// What the members of a gang know of each other, as it was placed together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Muster {
    /// The position of its first task.
    pub first_task: u32,
    /// The rank of the task's element 0; the others follow.
    pub rank: u32,
    /// Of each rank, the host of its worker.
    pub hosts: Vec<String>,
}

impl Muster {
    /// About how many bytes it takes when encoded.
    pub fn weight(&self) -> usize {
        self.hosts.iter().map(|host| host.len() + 1).sum()
    }
}
