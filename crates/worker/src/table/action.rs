//! What the table wants done.

use std::sync::Arc;
use std::time::Duration;

use quorate_types::inputs::Inputs;
use quorate_types::session::{AttemptKey, Definition, Motion};

#[cfg(doc)]
use super::Table;

/// What is to be done; in this order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Make the folder and what belongs into it; answered by [`Table::on_prepared`].
    Prepare {
        key: AttemptKey,
        definition: Arc<Definition>,
        /// What it gets to read, in parts; none if its task needs nothing.
        inputs: Vec<Arc<Inputs>>,
    },
    /// Start the process; answered by [`Table::on_spawned`] or [`Table::on_not_started`].
    Spawn {
        key: AttemptKey,
    },
    /// TERM, and KILL after the grace.
    Terminate {
        key: AttemptKey,
        grace: Duration,
    },
    Kill {
        key: AttemptKey,
    },
    /// Stop all of its processes where they are, or let them go on.
    Move {
        key: AttemptKey,
        motion: Motion,
    },
    /// Run its health command; answered by [`Table::on_probed`].
    Probe {
        key: AttemptKey,
        definition: Arc<Definition>,
    },
    /// Read what it has left; answered by [`Table::on_collected`].
    Collect {
        key: AttemptKey,
    },
    /// Nobody will ask for what it left.
    Discard {
        key: AttemptKey,
    },
}
