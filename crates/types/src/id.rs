//! Identifiers. Each is a newtype, so that a job's number can't be handed over as a log index.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

number_id!(
    /// A job, numbered in the order of submission, from 1.
    JobId(u64)
);
number_id!(
    /// A replica of the cluster; never used again after it was removed.
    ReplicaId(u64)
);
number_id!(
    /// A worker's registration, counted over all workers: no two share one, and a later one is larger.
    Epoch(u64)
);
number_id!(
    /// The fencing token of an attempt: the log index of its assignment. For one task, a later
    /// attempt has a larger one.
    Fence(u64)
);
number_id!(
    /// The index of an entry in the replicated log, from 1; 0 stands for "before all".
    LogIndex(u64)
);
number_id!(
    /// The number of an attempt of one task, from 1.
    AttemptNumber(u32)
);
number_id!(
    /// The element of an array task, from 0.
    TaskIndex(u32)
);
