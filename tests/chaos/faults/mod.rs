//! The faults, by what they hit.

pub(crate) mod clock;
pub(crate) mod damage;
pub(crate) mod disks;
pub(crate) mod links;
pub(crate) mod membership;
pub(crate) mod processes;
pub(crate) mod restarts;
