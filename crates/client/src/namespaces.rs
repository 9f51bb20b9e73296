//! The routes below `/v1/namespaces`.

use http::Method;
use quorate_types::api::{NamespaceView, Page};
use quorate_types::{LogIndex, Name, NamespaceRules};

use crate::error::Error;
use crate::jobs::accepted_index;
use crate::transport::{Client, Request};

impl Client {
    /// One page of namespaces.
    ///
    /// # Errors
    /// When no replica could be asked.
    pub async fn namespaces(&self, cursor: Option<&str>) -> Result<Page<NamespaceView>, Error> {
        let request = Request::get("/v1/namespaces").query("limit", Some(1000)).query("cursor", cursor);
        self.call(&request).await?.json()
    }

    /// # Errors
    /// When no replica could be asked.
    pub async fn namespace(&self, name: &Name) -> Result<NamespaceView, Error> {
        self.call(&Request::get(path(name))).await?.json()
    }

    /// Says what a namespace is entitled to, as a whole.
    ///
    /// # Errors
    /// `overloaded` when too many namespaces have a record.
    pub async fn set_namespace(&self, name: &Name, rules: &NamespaceRules) -> Result<LogIndex, Error> {
        let request = Request::repeatable(Method::PUT, path(name)).json(rules)?;
        Ok(accepted_index(&self.call(&request).await?))
    }

    /// The defaults hold again.
    ///
    /// # Errors
    /// When no replica could be asked.
    pub async fn reset_namespace(&self, name: &Name) -> Result<LogIndex, Error> {
        Ok(accepted_index(&self.call(&Request::repeatable(Method::DELETE, path(name))).await?))
    }
}

fn path(name: &Name) -> String {
    format!("/v1/namespaces/{name}")
}
