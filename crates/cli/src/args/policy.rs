//! `policy`.

use clap::{Args, Subcommand};
use quorate_types::policy::{BackfillRequest, PlacementOrder, PolicyRequest, QueueOrder};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Shows what the scheduler goes by
    Show,
    /// Changes it, for what waits and what comes; docs/policies.md says when to use which
    Set(SetArgs),
}

/// What is left out stays as it is.
#[derive(Args, Clone, Copy, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct SetArgs {
    /// The order of the queue, such as priority.
    #[arg(long)]
    queue: Option<QueueOrder>,
    /// What may start before a task that has to wait, such as easy; on for what is recommended, with the queue that goes
    /// with it if none is named.
    #[arg(long)]
    backfill: Option<BackfillRequest>,
    /// How a worker is chosen, such as best-fit.
    #[arg(long)]
    placement: Option<PlacementOrder>,
}

impl From<SetArgs> for PolicyRequest {
    fn from(SetArgs { queue, backfill, placement }: SetArgs) -> Self {
        Self { queue, backfill, placement }
    }
}
