//! Reads: which version of the state a request sees.

use std::str::FromStr;
use std::sync::Arc;

use quorate_consensus::Version;
use quorate_types::{Bug, LogIndex, is_planted};

use super::App;
use super::error::{ApiError, ApiResult};
use super::query::Query;
use crate::limits::READ_WAIT;

/// What a read may miss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// Nothing that was answered before the request came.
    #[default]
    Linearizable,
    /// What this replica has not applied yet.
    Stale,
}

impl FromStr for Consistency {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "linearizable" => Ok(Self::Linearizable),
            "stale" => Ok(Self::Stale),
            _ => Err("must be linearizable or stale"),
        }
    }
}

/// A version, and how it may be out of date.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) version: Arc<Version>,
    /// For stale reads: how long ago this replica certainly was up to date.
    pub(crate) staleness_ms: Option<u64>,
}

impl App {
    /// The version that this request asks for.
    pub(crate) async fn view(&self, query: &Query) -> ApiResult<View> {
        let consistency = query.get::<Consistency>("consistency")?.unwrap_or_default();
        let min_index = LogIndex(query.get("min_index")?.unwrap_or(0));
        let version = match consistency {
            Consistency::Linearizable if is_planted(Bug::ReadWithoutBarrier) => self.handle.version(),
            Consistency::Linearizable if is_planted(Bug::ReadBeforeBarrier) => {
                let (state, now) = (self.handle.version().state.clone(), self.handle.read_barrier().await?);
                Arc::new(Version { index: now.index, state })
            }
            Consistency::Linearizable => self.handle.read_barrier().await?,
            Consistency::Stale => self.handle.version(),
        };
        let version = if version.index < min_index {
            self.handle.wait_applied(min_index, READ_WAIT).await.map_err(|_| {
                let detail = format!("this replica has not reached index {min_index}, it is at {}", version.index);
                ApiError::new(quorate_types::Code::NoLeader, detail)
            })?
        } else {
            version
        };
        let staleness_ms = match consistency {
            Consistency::Linearizable => None,
            Consistency::Stale => Some(self.staleness_ms().await),
        };
        Ok(View { version, staleness_ms })
    }

    /// How long ago this replica certainly was up to date; as long as can be if it can't tell.
    pub(crate) async fn staleness_ms(&self) -> u64 {
        self.handle.staleness().await.map_or(u64::MAX, |age| age.as_millis() as u64)
    }
}
