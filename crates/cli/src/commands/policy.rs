//! `quorate policy`.

use quorate_types::Policy;
use quorate_types::policy::PlacementOrder;

use super::Context;
use crate::args::{Format, PolicyCommand};
use crate::exit::Failure;
use crate::output::table::details;
use crate::output::{self, json};

pub(super) async fn run(context: &Context, command: PolicyCommand) -> Result<(), Failure> {
    let policy = match command {
        PolicyCommand::Show => context.client.policy().await?,
        PolicyCommand::Set(change) => context.client.change_policy(change.into()).await?,
    };
    match context.format {
        Format::Json => json::print(&policy),
        Format::Table => output::raw(table(&policy).as_bytes()),
    }
}

fn table(policy: &Policy) -> String {
    // The label says nothing of the others.
    let over = match policy.placement == PlacementOrder::Spread {
        true => format!(" over {}", policy.spread_label),
        false => String::new(),
    };
    details(&[
        ("queue", policy.queue.to_string()),
        ("backfill", policy.backfill.to_string()),
        ("placement", format!("{}{over}", policy.placement)),
        ("quantum", policy.quantum.to_string()),
        ("rebalance", policy.rebalance.to_string()),
        ("rebalance share", format!("{} ‰", policy.rebalance_share)),
    ])
}
