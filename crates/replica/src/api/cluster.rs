//! The cluster: who is in it, and who leads.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use quorate_consensus::{Addresses, Handle, MemberStatus};
use quorate_types::ReplicaId;
use quorate_types::api::{AddReplica, ClusterView, DigestView, ReplicaView, Role, TransferLeader};
use quorate_types::job::Object;
use quorate_types::problem::Code;

use super::error::{ApiError, ApiResult};
use super::jobs::answer;
use super::query::Query;
use super::{App, body};
use crate::calls::{Answer, Call, decode, encode};
use crate::limits::HOST_BYTES_MAX;

/// What this replica knows; the leader knows most.
pub(crate) fn view(handle: &Handle) -> ClusterView {
    let status = handle.status();
    let version = handle.version();
    let replica = |member: &MemberStatus| {
        let role = match (status.leader == Some(member.id), member.voter) {
            (true, _) => Role::Leader,
            (false, true) => Role::Follower,
            (false, false) => Role::Learner,
        };
        let http = version.state.http_of(member.id).unwrap_or(&member.addresses.http).to_owned();
        let own = member.id == status.id;
        ReplicaView {
            id: member.id,
            role,
            voter: member.voter,
            http,
            peer: member.addresses.peer.clone(),
            healthy: member.healthy || own,
            applied: if own { Some(status.applied) } else { member.matched },
        }
    };
    let replicas: Vec<ReplicaView> = status.members.iter().map(replica).collect();
    let voters = replicas.iter().filter(|replica| replica.voter).count();
    let healthy = replicas.iter().filter(|replica| replica.voter && replica.healthy).count();
    ClusterView {
        leader: status.leader,
        term: status.term,
        index: version.index,
        failure_tolerance: if status.is_changing { 0 } else { healthy.saturating_sub(voters / 2 + 1) as u64 },
        replicas,
    }
}

pub(crate) async fn show(State(app): State<App>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &[])?;
    if query.text("consistency") == Some("stale") {
        let stale = app.view(&query).await?;
        return Ok(answer(&stale, Json(view(&app.handle))));
    }
    let seen = app.view(&query).await?;
    Ok(answer(&seen, Json(known(&app).await?)))
}

/// What the leader knows, or this replica while there is none.
async fn known(app: &App) -> ApiResult<ClusterView> {
    let leader = app.handle.leadership().borrow().leader;
    let Some(leader) = leader.filter(|leader| *leader != app.handle.id()) else { return Ok(view(&app.handle)) };
    let reply = app.handle.call(leader, encode(&Call::Cluster)).await?;
    Ok(match decode(&reply) {
        Ok(Answer::Cluster(shown)) => *shown,
        // It has just stopped leading: what is known here will do.
        Ok(Answer::Heartbeats(_) | Answer::Refused) | Err(_) => view(&app.handle),
    })
}

/// After a change that is done: a leader that can't be asked is no reason to say that it failed.
async fn known_after(app: &App) -> ClusterView {
    known(app).await.unwrap_or_else(|_| view(&app.handle))
}

/// The digest of this replica's own state; with `consistency=stale` of exactly what it has applied.
pub(crate) async fn digest(State(app): State<App>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &[])?;
    let seen = app.view(&query).await?;
    let version = seen.version.clone();
    let turn = app.room.digests.clone().acquire_owned().await;
    let turn = turn.map_err(|error| ApiError::internal("wait for a digest", &error))?;
    // The thread holds the turn: who asked may be gone before it is done.
    let hashed = tokio::task::spawn_blocking(move || {
        let digest = version.state.digest();
        drop(turn);
        digest
    });
    let hashed = hashed.await;
    let digest = hashed.map_err(|error| ApiError::internal("hash the state", &error))?;
    let (replica, index) = (app.handle.id(), seen.version.index);
    Ok(answer(&seen, Json(DigestView { replica, index, digest: format!("{digest:016x}") })))
}

pub(crate) async fn add(State(app): State<App>, content: Body) -> ApiResult<Response> {
    let Object(new): Object<AddReplica> = body::parse(&body::read(&app.room, content).await?.bytes, Code::InvalidJson)?;
    if new.id.0 == 0 || ![&new.http, &new.peer].into_iter().all(|address| is_host_and_port(address)) {
        return Err(ApiError::bad_parameter("body", "id must be 1 or more, http and peer HOST:PORT"));
    }
    app.handle.add_replica(new.id, Addresses { http: new.http, peer: new.peer }).await?;
    Ok((StatusCode::CREATED, Json(known_after(&app).await)).into_response())
}

/// Whether somebody may be reached there: an address that can't be one would be a learner for good.
fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let is_host = |byte: u8| byte.is_ascii_graphic() && !b"/@?#\\".contains(&byte);
    let port_fits = port.starts_with(|first| ('1'..='9').contains(&first)) && port.parse::<u16>().is_ok();
    (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(is_host) && port_fits
}

pub(crate) async fn remove(State(app): State<App>, Path(id): Path<String>) -> ApiResult<Response> {
    let id: ReplicaId = id.parse().map_err(|_| ApiError::not_found(format!("there is no replica {id:?}")))?;
    app.handle.remove_replica(id).await?;
    Ok(Json(known_after(&app).await).into_response())
}

pub(crate) async fn transfer_leader(State(app): State<App>, content: Body) -> ApiResult<Response> {
    let wanted: TransferLeader = body::optional(&app.room, content).await?;
    let leader = app.handle.transfer_leader(wanted.to).await?;
    Ok(Json(serde_json::json!({ "leader": leader })).into_response())
}
