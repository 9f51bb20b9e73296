//! Query strings and path segments.

use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;
use quorate_types::{JobId, Span};

use super::error::{ApiError, ApiResult};
use crate::limits::{PAGE_DEFAULT, PAGE_MAX, WAIT_MAX};

/// The parameters of a request. Unknown ones are refused: a misspelt filter must not match everything.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

/// Parameters that every read takes.
const OF_READS: [&str; 2] = ["consistency", "min_index"];

impl Query {
    /// Reads the query; `known` are the parameters of this route besides those of every read.
    pub(crate) fn of(uri: &Uri, known: &[&str]) -> ApiResult<Self> {
        let pairs: axum::extract::Query<Vec<(String, String)>> =
            axum::extract::Query::try_from_uri(uri).map_err(|error| ApiError::bad_parameter("query", error))?;
        for (at, (name, value)) in pairs.0.iter().enumerate() {
            if !known.contains(&name.as_str()) && !OF_READS.contains(&name.as_str()) {
                return Err(ApiError::bad_parameter(name, "there is no such parameter here"));
            }
            if value.contains(char::REPLACEMENT_CHARACTER) {
                return Err(ApiError::bad_parameter(name, "is not UTF-8"));
            }
            let repeatable = name == "label" || name == "type";
            if !repeatable && pairs.0[..at].iter().any(|(other, _)| other == name) {
                return Err(ApiError::bad_parameter(name, "given twice"));
            }
        }
        Ok(Self(pairs.0))
    }

    /// That of a read that is asked for with a body.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether it says anything that only reads take.
    pub(crate) fn is_of_a_read(&self) -> bool {
        self.0.iter().any(|(name, _)| OF_READS.contains(&name.as_str()))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn get<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> ApiResult<Option<T>> {
        self.text(name).map(|text| text.parse().map_err(|e| ApiError::bad_parameter(name, e))).transpose()
    }

    pub(crate) fn limit(&self) -> ApiResult<usize> {
        match self.get::<usize>("limit")?.unwrap_or(PAGE_DEFAULT) {
            limit @ 1..=PAGE_MAX => Ok(limit),
            limit => Err(ApiError::bad_parameter("limit", format!("{limit} is not from 1 to {PAGE_MAX}"))),
        }
    }

    pub(crate) fn wait(&self) -> ApiResult<Duration> {
        let wait: Option<Span> = self.get("wait")?;
        Ok(wait.map_or(Duration::ZERO, |span| span.as_duration().min(WAIT_MAX)))
    }
}

/// A job's number in a path. Anything else names no job.
pub(crate) fn job_id(text: &str) -> ApiResult<JobId> {
    text.parse().map_err(|_| ApiError::not_found(format!("{text:?} is no job's number")))
}
