//! A worker that runs nothing: it keeps its registration with heartbeats, as an idle one does. For measuring what
//! many of them cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_types::session::{FromWorker, Hello, ToWorker};
use quorate_types::{Name, Resources};
use tokio::time::{MissedTickBehavior, interval};

use crate::host;
use crate::session::dial;

/// Registers at `server` and stays until the future is dropped.
///
/// # Errors
/// In words, if the server refuses it or the session ends. `registered` is called once it is taken.
pub async fn stand_in(server: String, name: Name, registered: impl FnOnce()) -> Result<(), String> {
    let hello = Hello {
        name,
        labels: BTreeMap::new(),
        taints: Vec::new(),
        host: "nowhere".to_owned(),
        // Nothing fits, so nothing comes.
        capacity: Resources::new(0, 0),
        instance: host::random().map_err(|e| e.to_string())?,
        replaces: None,
        resume: None,
    };
    let (mut session, welcome) = dial(&server, None, Arc::new(hello)).await.map_err(|e| e.to_string())?;
    registered();
    let mut heartbeats = interval(welcome.heartbeat_every.as_duration());
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seq = 0;
    loop {
        tokio::select! {
            _ = heartbeats.tick() => {
                seq += 1;
                let sent = session.outgoing.send(FromWorker::Heartbeat { seq }).await;
                sent.map_err(|_| "the session broke".to_owned())?;
            }
            message = session.incoming.recv() => match message {
                Some(ToWorker::Fenced) => return Err("the registration is over".into()),
                Some(_) => {}
                None => return Err("the replica closed the session".into()),
            },
        }
    }
}
