//! The route `/v1/scheduling`.

use quorate_types::Name;
use quorate_types::scheduling::{SchedulingView, Window};

use crate::error::Error;
use crate::transport::{Client, Request};

impl Client {
    /// How well the cluster schedules, as one replica measured it: all windows or one, of all namespaces or of one.
    ///
    /// # Errors
    /// When no replica could be asked.
    pub async fn scheduling(&self, namespace: Option<&Name>, window: Option<Window>) -> Result<SchedulingView, Error> {
        let request = Request::get("/v1/scheduling").query("namespace", namespace).query("window", window);
        self.call(&request).await?.json()
    }
}
