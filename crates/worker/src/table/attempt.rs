//! What the table knows of one attempt.

use std::sync::Arc;
use std::time::Duration;

use quorate_types::inputs::Inputs;
use quorate_types::session::Definition;
use quorate_types::status::Ending;
use quorate_types::{Span, TaskIndex};

use crate::clock::Boottime;

#[derive(Debug)]
pub(super) struct Attempt {
    /// `None` for one that was only ever asked to stop.
    pub(super) definition: Option<Arc<Definition>>,
    pub(super) phase: Phase,
    /// The element behind whose attempt it was assigned.
    pub(super) behind: Option<TaskIndex>,
    /// Why we end it, if we do.
    pub(super) cause: Option<Ending>,
    /// Its timer, while it is armed.
    pub(super) timer: Option<Boottime>,
    /// What was left of its time when it was frozen.
    pub(super) left: Option<Duration>,
}

impl Attempt {
    pub(super) fn new(definition: Option<Arc<Definition>>) -> Self {
        Self { definition, phase: Phase::Preparing, behind: None, cause: None, timer: None, left: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Others that it was assigned behind have not ended.
    InLine {
        inputs: Vec<Arc<Inputs>>,
    },
    Preparing,
    /// The watchdog has been told to start it.
    Spawning,
    Running,
    /// It has ended; what it left is being read.
    Collecting {
        ending: Ending,
        ran: Span,
    },
    /// Its end is in the outbox.
    Reported,
}
