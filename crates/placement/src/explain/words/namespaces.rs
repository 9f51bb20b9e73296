//! What is said of limits and quotas of namespaces.

use quorate_types::explain::{QueuePlace, QuotaPlace, QuotaUse, Wait};

use super::{list, workers};

/// `Namespace web holds 2 cores and may hold 2.` A gang asks as one.
pub(super) fn at_limit(wait: &Wait, in_gang: bool) -> Option<String> {
    let Wait::NamespaceLimit { namespace, resource, asked, held, limit, ahead } = wait else { return None };
    let of = |n: f64| workers::amount(resource, n);
    Some(if asked > limit {
        format!(
            "{} asks for {}, and namespace {namespace} may hold {} in all: it never starts.",
            if in_gang { "Its gang" } else { "It" },
            of(*asked),
            of(*limit)
        )
    } else if *ahead > 0 {
        format!(
            "Namespace {namespace} holds {} and may hold {}, which {ahead} more of its elements come to first.",
            of(*held),
            of(*limit)
        )
    } else {
        format!(
            "Namespace {namespace} holds {} and may hold {}; {} asks for {}.",
            of(*held),
            of(*limit),
            if in_gang { "its gang" } else { "it" },
            of(*asked)
        )
    })
}

/// How it stands to the quota of its namespace.
pub(super) fn quota(place: &QueuePlace) -> Option<String> {
    let QuotaPlace { covered, amounts } = place.quota.as_ref()?;
    let of = |part: &QuotaUse| {
        format!("{} of {}", workers::bare(&part.resource, part.held), workers::amount(&part.resource, part.quota))
    };
    let amounts = list(&amounts.iter().map(of).collect::<Vec<_>>());
    let namespace = &place.namespace;
    Some(match (covered, amounts.as_str()) {
        (true, amounts) => format!(
            "Namespace {namespace} holds {amounts} of its quota: with this it is within that, and comes before what \
             would be borrowed."
        ),
        (false, "none") => {
            format!("Namespace {namespace} has no quota of it: it would borrow, after what is within a quota.")
        }
        (false, amounts) => format!(
            "Namespace {namespace} holds {amounts} of its quota: it would borrow, after what is within a quota."
        ),
    })
}
