//! Why a replay stops.

/// Why a replay stopped before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabError {
    #[error("job {id} was submitted before the one in front of it")]
    Unordered { id: u64 },
    #[error("two jobs that are not finished have the number {id}")]
    Repeated { id: u64 },
    #[error("job {id} was interrupted {interrupted} times: it takes longer than its machines last")]
    Hopeless { id: u64, interrupted: u32 },
    #[error("job {id} runs on a machine that is not there")]
    Nowhere { id: u64 },
    #[error("{waiting} jobs wait for ever")]
    Stuck { waiting: u64 },
}
