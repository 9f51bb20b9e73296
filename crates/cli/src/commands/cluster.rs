//! `quorate cluster`.

use std::time::Duration;

use quorate_types::api::{Accepted, AddReplica, ClusterView};
use quorate_types::{Code, LogIndex};

use super::{Context, scheduling};
use crate::args::{ClusterCommand, Format};
use crate::exit::Failure;
use crate::output::table::{Column, Table, details, or_dash};
use crate::output::{self, json};

/// How long the leader's view is waited for, which knows best who is well: an election fits in.
const LEADER_WITHIN: Duration = Duration::from_secs(6);

pub(super) async fn run(context: &Context, command: ClusterCommand) -> Result<(), Failure> {
    let client = &context.client;
    match command {
        ClusterCommand::Status => status(context).await,
        ClusterCommand::Scheduling(args) => scheduling::run(context, args).await,
        ClusterCommand::Add { id, http, peer } => {
            let index = client.add_replica(&AddReplica { id, http, peer }).await?;
            done(context, index, &format!("replica {id} is a member"))
        }
        ClusterCommand::Remove { id } => done(
            context,
            client.remove_replica(id).await?,
            &format!("replica {id} is no member any more; its id must not be used again"),
        ),
        ClusterCommand::TransferLeader { id } => {
            let what = id.map_or_else(
                || "the leader hands over".to_owned(),
                |id| format!("the leader hands over to replica {id}"),
            );
            done(context, client.transfer_leader(id).await?, &what)
        }
    }
}

/// A cluster without a leader can't answer linearizably, and that is when its status matters most.
async fn status(context: &Context) -> Result<(), Failure> {
    let cluster = match tokio::time::timeout(LEADER_WITHIN, context.client.cluster()).await {
        Ok(Ok(cluster)) => cluster,
        Ok(Err(error)) if error.code() != Some(Code::NoLeader) => return Err(error.into()),
        Ok(Err(_)) | Err(_) => context.client.cluster_stale().await?,
    };
    if context.format == Format::Json {
        return json::print(&cluster);
    }
    output::raw(summary(&cluster).as_bytes())?;
    output::data("")?;
    replicas(&cluster).print()
}

fn summary(cluster: &ClusterView) -> String {
    let leader = cluster.leader.map_or_else(|| "none: no write is possible at present".to_owned(), |id| id.to_string());
    let tolerance = match cluster.failure_tolerance {
        0 => "0: the next failure of a voter stops the cluster".to_owned(),
        n => n.to_string(),
    };
    details(&[
        ("leader", leader),
        ("term", cluster.term.to_string()),
        ("index", cluster.index.to_string()),
        ("failure tolerance", tolerance),
    ])
}

fn replicas(cluster: &ClusterView) -> Table {
    const COLUMNS: &[Column] = &[
        Column::Right("ID"),
        Column::Left("ROLE"),
        Column::Left("VOTER"),
        Column::Left("HEALTHY"),
        Column::Right("APPLIED"),
        Column::Left("HTTP"),
        Column::Left("PEER"),
    ];
    let mut table = Table::new(COLUMNS);
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    for replica in &cluster.replicas {
        table.row([
            replica.id.to_string(),
            replica.role.as_str().to_owned(),
            yes_no(replica.voter),
            yes_no(replica.healthy),
            or_dash(replica.applied),
            replica.http.clone(),
            replica.peer.clone(),
        ]);
    }
    table
}

fn done(context: &Context, index: LogIndex, what: &str) -> Result<(), Failure> {
    output::note(what);
    match context.format {
        Format::Json => json::print(&Accepted { index }),
        Format::Table => Ok(()),
    }
}
