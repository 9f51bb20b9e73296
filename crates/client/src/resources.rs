//! The routes below `/v1/resources`.

use http::Method;
use quorate_types::api::Page;
use quorate_types::gate::{ResourceView, SetResource};
use quorate_types::{LogIndex, Name};

use crate::error::Error;
use crate::jobs::{accepted_index, gone_is_done};
use crate::transport::{Client, Request};

impl Client {
    /// One page of the cluster's counted resources.
    ///
    /// # Errors
    /// When no replica could be asked.
    pub async fn resources(&self, cursor: Option<&str>) -> Result<Page<ResourceView>, Error> {
        let request = Request::get("/v1/resources").query("limit", Some(1000)).query("cursor", cursor);
        self.call(&request).await?.json()
    }

    /// # Errors
    /// `not_found` when there is no such resource.
    pub async fn resource(&self, name: &Name) -> Result<ResourceView, Error> {
        self.call(&Request::get(resource_path(name))).await?.json()
    }

    /// Says how many there are.
    ///
    /// # Errors
    /// `conflict` when the cluster has as many kinds as it may.
    pub async fn set_resource(&self, name: &Name, total: u32) -> Result<LogIndex, Error> {
        let request = Request::repeatable(Method::PUT, resource_path(name)).json(&SetResource { total })?;
        Ok(accepted_index(&self.call(&request).await?))
    }

    /// # Errors
    /// `conflict` while something of it is held.
    pub async fn remove_resource(&self, name: &Name) -> Result<LogIndex, Error> {
        let request = Request::repeatable(Method::DELETE, resource_path(name));
        let (answer, doubt) = self.call_noting_doubt(&request).await;
        gone_is_done(answer, doubt)
    }
}

fn resource_path(name: &Name) -> String {
    format!("/v1/resources/{name}")
}
