//! The settings of a replica: flags over environment over file over these defaults.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use quorate_consensus::{Addresses, Start, Timing};
use quorate_types::limits::{OUTPUT_TAIL_BYTES_DEFAULT, OUTPUT_TAIL_BYTES_MAX};
use quorate_types::{ReplicaId, Span};
use serde::{Deserialize, Serialize};

use crate::memory::Budget;

/// Every setting of `quorate serve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The replica's number, 1 or more; never used again after the replica was removed.
    pub id: u64,
    /// The data folder; created if it is missing.
    pub data: PathBuf,
    /// Where HTTP and the workers' connections are served, `host:port`.
    pub http: String,
    /// Where the other replicas connect, `host:port`.
    pub peer: String,
    /// What clients and replicas are told instead of `http`, when that is no address they could use.
    pub advertise_http: Option<String>,
    /// What the other replicas are told instead of `peer`.
    pub advertise_peer: Option<String>,
    /// The first members, `1=host:peer,2=host:peer,3=host:peer`: the same on each of them.
    pub cluster: Option<String>,
    /// The URL of a replica of the cluster to join.
    pub join: Option<String>,
    /// What clients and workers must present as a bearer token.
    #[serde(skip_serializing)]
    pub token: Option<String>,
    /// A file with that token; its first line counts.
    pub token_file: Option<PathBuf>,
    /// What the other replicas must present.
    #[serde(skip_serializing)]
    pub peer_token: Option<String>,
    /// A file with that token.
    pub peer_token_file: Option<PathBuf>,
    /// Listen on addresses that are not loopback without tokens.
    pub insecure: bool,
    /// How long a worker that is not heard of keeps the right to run its tasks.
    pub lease_ttl: Span,
    /// How much of the end of each output stream the cluster keeps, in bytes: 0 to 1 MiB.
    pub output_tail_bytes: u32,
    /// What the process may take of the machine's memory, `4GiB`; near it, new jobs are refused.
    pub memory_budget: Option<String>,
    /// The leader's heartbeat to the other replicas.
    pub heartbeat: Span,
    /// A follower that hears nothing for between `election_min` and `election_max` asks for an election.
    pub election_min: Span,
    pub election_max: Span,
    /// A snapshot is taken after so many log entries.
    pub snapshot_entries: u64,
}

impl Default for Config {
    fn default() -> Self {
        let timing = Timing::default();
        Self {
            id: 0,
            data: PathBuf::from("quorate-data"),
            http: "127.0.0.1:7070".into(),
            peer: "127.0.0.1:7170".into(),
            advertise_http: None,
            advertise_peer: None,
            cluster: None,
            join: None,
            token: None,
            token_file: None,
            peer_token: None,
            peer_token_file: None,
            insecure: false,
            lease_ttl: Span::from_secs(10),
            output_tail_bytes: OUTPUT_TAIL_BYTES_DEFAULT as u32,
            memory_budget: None,
            heartbeat: timing.heartbeat.into(),
            election_min: timing.election_min.into(),
            election_max: timing.election_max.into(),
            snapshot_entries: quorate_consensus::Limits::default().snapshot_entries,
        }
    }
}

impl Config {
    /// Refuses what can't work or isn't safe, and reads the token files.
    pub fn checked(mut self) -> anyhow::Result<Self> {
        ensure!(self.id > 0, "a replica needs --id, a number from 1");
        ensure!(self.cluster.is_none() || self.join.is_none(), "give --cluster or --join, not both");
        ensure!(self.output_tail_bytes as usize <= OUTPUT_TAIL_BYTES_MAX, "output_tail_bytes is above 1 MiB");
        ensure!((10..=10_000).contains(&self.heartbeat.0), "heartbeat must be from 10 ms to 10 s");
        ensure!(self.election_max.0 <= 120_000, "election_max is above 2 min");
        ensure!(self.lease_ttl.0 <= 3_600_000, "lease_ttl is above 1 h");
        ensure!(self.snapshot_entries > 0, "snapshot_entries must be 1 or more");
        // A worker stops a fifth of the TTL early. That must cover how long a leader that was just deposed may
        // believe in its quorum's lease, which is half of election_max.
        ensure!(
            self.lease_ttl.0 * 2 >= self.election_max.0 * 5,
            "lease_ttl must be at least two and a half times election_max"
        );
        ensure!(self.election_min.0 >= 3 * self.heartbeat.0, "election_min must be at least three heartbeats");
        ensure!(self.election_max > self.election_min, "election_max must be above election_min");
        self.memory_budget()?;
        self.token = token("token", self.token.take(), self.token_file.as_deref())?;
        self.peer_token = token("peer token", self.peer_token.take(), self.peer_token_file.as_deref())?;
        if !self.insecure {
            refuse_open("http", &self.http, self.token.is_some())?;
            refuse_open("peer", &self.peer, self.peer_token.is_some())?;
        }
        Ok(self)
    }

    /// The budget that was set, or else most of what the machine or the process's control group has.
    pub(crate) fn memory_budget(&self) -> anyhow::Result<Budget> {
        match &self.memory_budget {
            Some(text) => Budget::parse(text).context("memory_budget"),
            None => Ok(Budget::of_host()),
        }
    }

    /// How the first start of an empty folder goes.
    pub(crate) fn start(&self, advertise: &Addresses) -> anyhow::Result<Start> {
        match &self.cluster {
            Some(members) => Ok(Start::Bootstrap(members_of(members)?)),
            None if self.join.is_some() => Ok(Start::Join),
            // Alone: a cluster of one, which others may join. It knows its own addresses.
            None => Ok(Start::Bootstrap(BTreeMap::from([(
                ReplicaId(self.id),
                Addresses { http: String::new(), peer: advertise.peer.clone() },
            )]))),
        }
    }

    pub(crate) fn timing(&self) -> Timing {
        Timing {
            heartbeat: self.heartbeat.as_duration(),
            election_min: self.election_min.as_duration(),
            election_max: self.election_max.as_duration(),
            ..Timing::default()
        }
    }
}

/// Reads `1=host:port,2=host:port`. HTTP addresses are announced by the replicas themselves later, so
/// that every member starts from the very same map.
fn members_of(text: &str) -> anyhow::Result<BTreeMap<ReplicaId, Addresses>> {
    let mut members = BTreeMap::new();
    for member in text.split(',').map(str::trim).filter(|member| !member.is_empty()) {
        let (id, peer) = member.split_once('=').with_context(|| format!("{member:?} is not ID=HOST:PORT"))?;
        let id: ReplicaId = id.trim().parse().with_context(|| format!("{id:?} is not a replica's number"))?;
        ensure!(id.0 > 0 && peer.contains(':'), "{member:?} is not ID=HOST:PORT");
        let addresses = Addresses { http: String::new(), peer: peer.trim().to_owned() };
        ensure!(members.insert(id, addresses).is_none(), "replica {id} is named twice in {text:?}");
    }
    ensure!(!members.is_empty(), "--cluster names no replica");
    Ok(members)
}

fn token(what: &str, given: Option<String>, file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let token = match (given, file) {
        (Some(token), _) => token,
        (None, Some(path)) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("read the {what} file {}", path.display()))?;
            text.lines().next().unwrap_or_default().trim().to_owned()
        }
        (None, None) => return Ok(None),
    };
    ensure!(!token.is_empty(), "the {what} is empty");
    Ok(Some(token))
}

fn refuse_open(what: &str, address: &str, has_token: bool) -> anyhow::Result<()> {
    if has_token {
        return Ok(());
    }
    let resolved: Vec<SocketAddr> =
        address.to_socket_addrs().with_context(|| format!("resolve the {what} address {address}"))?.collect();
    if let Some(open) = resolved.iter().find(|found| !found.ip().is_loopback()) {
        let setting = if what == "http" { "token_file" } else { "peer_token_file" };
        bail!("{what} listens on {open}, which others can reach: set {setting} or, on a closed network, --insecure");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config { id: 1, ..Config::default() }
    }

    #[test]
    fn open_addresses_need_a_token_or_insecure() {
        assert!(config().checked().is_ok());
        let open = Config { http: "0.0.0.0:0".into(), ..config() };
        assert!(open.clone().checked().unwrap_err().to_string().contains("--insecure"));
        assert!(Config { token: Some("t".into()), ..open.clone() }.checked().is_ok());
        assert!(Config { insecure: true, ..open }.checked().is_ok());
        let peer = Config { peer: "0.0.0.0:0".into(), token: Some("t".into()), ..config() };
        assert!(peer.checked().is_err(), "the client token does not guard the peer port");
    }

    #[test]
    fn times_that_make_no_sense_are_refused() {
        let refused = |config: Config| config.checked().unwrap_err().to_string();
        assert!(refused(Config { heartbeat: Span(0), ..config() }).starts_with("heartbeat"));
        assert!(
            refused(Config { heartbeat: Span(20_000), election_min: Span(90_000), ..config() })
                .starts_with("heartbeat")
        );
        let slow = Config { election_max: Span(200_000), lease_ttl: Span(900_000), ..config() };
        assert!(refused(slow).starts_with("election_max"));
        assert!(refused(Config { lease_ttl: Span(4_000_000), ..config() }).starts_with("lease_ttl"));
        assert!(refused(Config { snapshot_entries: 0, ..config() }).starts_with("snapshot_entries"));
    }

    #[test]
    fn members_are_read_or_refused() {
        let members = members_of("1=a:1, 2=b:2").unwrap();
        assert_eq!(members[&ReplicaId(2)].peer, "b:2");
        for bad in ["", "1", "x=a:1", "0=a:1", "1=a", "1=a:1,1=b:2"] {
            assert!(members_of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tokens_are_never_printed() {
        let printed = serde_json::to_string(&Config { token: Some("secret".into()), ..config() }).unwrap();
        assert!(!printed.contains("secret"));
    }
}
