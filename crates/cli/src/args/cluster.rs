//! `worker` and `cluster`.

use clap::{Args, Subcommand};
use quorate_types::scheduling::Window;
use quorate_types::{Name, ReplicaId, Span, Taint};

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// Lists workers
    List,
    /// Shows one worker
    Show { name: Name },
    /// Gives a worker no new tasks, and moves services away from it
    Drain {
        name: Name,
        /// What still runs after so long is ended and placed elsewhere.
        #[arg(long, value_name = "DURATION")]
        deadline: Option<Span>,
    },
    /// Ends a drain
    Undrain { name: Name },
    /// Gives a worker these taints besides its own: tasks that don't tolerate them stay off. Without any, takes all
    /// away that it was given
    Taint {
        name: Name,
        #[arg(value_name = "KEY[=VALUE]")]
        taints: Vec<Taint>,
    },
    /// Forgets a worker that is gone
    Remove { name: Name },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Shows the leader and the replicas
    Status,
    /// Shows how well the cluster schedules; docs/scheduling.md has the formulas
    Scheduling(SchedulingArgs),
    /// Adds a replica that runs already
    Add {
        #[arg(long)]
        id: ReplicaId,
        /// The replica's HTTP address.
        #[arg(long, value_name = "ADDR")]
        http: String,
        /// The replica's peer address.
        #[arg(long, value_name = "ADDR")]
        peer: String,
    },
    /// Removes a replica; its id is never used again
    Remove { id: ReplicaId },
    /// Hands leadership to a replica, or to the most caught-up one
    TransferLeader { id: Option<ReplicaId> },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct SchedulingArgs {
    /// Only what is in this namespace.
    #[arg(long)]
    pub(crate) namespace: Option<Name>,
    /// Only this window: 1m, 5m, 1h or 24h.
    #[arg(long)]
    pub(crate) window: Option<Window>,
}
