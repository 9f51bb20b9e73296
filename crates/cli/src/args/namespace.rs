//! `namespace`.

use clap::{Args, Subcommand};
use quorate_types::{Allowance, Name, NamespaceRules, Reclaim};

#[derive(Debug, Subcommand)]
pub(crate) enum NamespaceCommand {
    /// Lists namespaces that have jobs or a record
    List,
    /// Shows what a namespace is entitled to, and what it has
    Show { name: Name },
    /// Changes what a namespace is entitled to; docs/namespaces.md says what that means
    Set {
        name: Name,
        #[command(flatten)]
        change: RulesArgs,
    },
    /// Gives a namespace the defaults again
    Reset { name: Name },
}

/// What is left out stays as it is.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct RulesArgs {
    /// Its part of what is shared, from 1 to 1000.
    #[arg(long)]
    weight: Option<u32>,
    /// What is guaranteed to it, such as cpu=10,memory=64GiB; "" for nothing.
    #[arg(long, value_name = "KIND=AMOUNT,…")]
    quota: Option<Allowance>,
    /// The most that it may hold, such as cpu=20; "" for no bound.
    #[arg(long, value_name = "KIND=AMOUNT,…")]
    limit: Option<Allowance>,
    /// Whether attempts of others are ended when it needs its quota: borrowed or never.
    #[arg(long)]
    reclaim: Option<Reclaim>,
    /// Unfinished tasks that it may have; none for any number.
    #[arg(long, value_name = "N|none", value_parser = number_or_none)]
    max_unfinished: Option<MaxUnfinished>,
}

/// A number, or that there is none.
#[derive(Clone, Copy, Debug)]
struct MaxUnfinished(Option<u64>);

fn number_or_none(text: &str) -> Result<MaxUnfinished, String> {
    match text {
        "none" => Ok(MaxUnfinished(None)),
        number => number.parse().map(|n| MaxUnfinished(Some(n))).map_err(|_| format!("{number:?} is no number")),
    }
}

impl RulesArgs {
    /// The rules with these changes.
    pub(crate) fn applied_to(self, rules: NamespaceRules) -> NamespaceRules {
        NamespaceRules {
            weight: self.weight.unwrap_or(rules.weight),
            quota: self.quota.unwrap_or(rules.quota),
            limit: self.limit.unwrap_or(rules.limit),
            reclaim: self.reclaim.unwrap_or(rules.reclaim),
            max_unfinished: self.max_unfinished.map_or(rules.max_unfinished, |most| most.0),
        }
    }
}
