//! `policy`.

use clap::{Args, Subcommand};
use quorate_types::Name;
use quorate_types::policy::{
    BackfillRequest, PlacementOrder, PolicyRequest, Quantum, QueueOrder, Rebalance, RebalanceShare,
};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Shows what the scheduler goes by
    Show,
    /// Changes it, for what waits and what comes; docs/policies.md says when to use which
    Set(SetArgs),
}

/// What is left out stays as it is.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct SetArgs {
    /// The order of the queue, such as priority.
    #[arg(long)]
    queue: Option<QueueOrder>,
    /// What may start before a task that has to wait, such as easy; on for what is recommended, with the queue that
    /// goes with it if none is named.
    #[arg(long)]
    backfill: Option<BackfillRequest>,
    /// How a worker is chosen, such as best-fit.
    #[arg(long)]
    placement: Option<PlacementOrder>,
    /// The label over whose values the placement spread goes evenly; zone unless it was changed.
    #[arg(long, value_name = "LABEL")]
    spread_label: Option<Name>,
    /// How long a task has its turn under round-robin before it makes room for others, such as 5m.
    #[arg(long)]
    quantum: Option<Quantum>,
    /// Whether movable tasks are moved to workers with less to do: on or off.
    #[arg(long)]
    rebalance: Option<Rebalance>,
    /// The part of the movable attempts that may be on their way at once, in thousandths.
    #[arg(long, value_name = "THOUSANDTHS")]
    rebalance_share: Option<RebalanceShare>,
}

impl From<SetArgs> for PolicyRequest {
    fn from(args: SetArgs) -> Self {
        let SetArgs { queue, backfill, placement, spread_label, quantum, rebalance, rebalance_share } = args;
        Self { queue, backfill, placement, spread_label, quantum, rebalance, rebalance_share }
    }
}
