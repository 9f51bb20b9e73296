//! What agent and watchdog say to each other: a 4-byte big-endian length, then bincode.

use std::io;

use quorate_types::session::{AttemptKey, Motion};
use quorate_types::{Epoch, Name};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::Boottime;
use crate::sys::Status;

/// The descriptor that the agent leaves to the watchdog.
pub(crate) const SOCKET_FD: i32 = 3;
/// In the environment of a watchdog that is the first process of PID and mount namespaces of its own.
pub(crate) const NAMESPACED: &str = "QUORATE_WATCHDOG_NAMESPACED";
/// The largest message: a spawn order with the arguments and environment that a specification allows,
/// 128 KiB each, and room for what the worker adds.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What decoding may claim: a number counts with its full width, at most eight times what it takes in a message.
/// Without a limit, room would be made for whatever a length says.
const CLAIM_BYTES_MAX: usize = 8 * MESSAGE_BYTES_MAX;

/// From the agent to the watchdog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    Spawn(Box<Spawn>),
    /// TERM to the group of the attempt, and KILL after the grace.
    Terminate {
        key: AttemptKey,
        grace_ms: u64,
    },
    Kill {
        key: AttemptKey,
    },
    /// Everything must end; [`Event::AllEnded`] confirms it.
    KillAll {
        round: u64,
    },
    /// Attempts may run until then.
    Deadline(Boottime),
    /// Whom to tell when the agent is gone; `None`: nobody.
    Registration(Option<Registration>),
    Ping {
        seq: u64,
    },
    /// End everything and go without a word to the cluster.
    Shutdown,
    /// Stop all processes of the attempt where they are, or let them go on.
    Move {
        key: AttemptKey,
        motion: Motion,
    },
    /// Run a command beside the attempt, for so long at the most; [`Event::Probed`] says what came of it.
    Probe {
        spawn: Box<Spawn>,
        timeout_ms: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    pub key: AttemptKey,
    pub argv: Vec<String>,
    /// Comes on top of what the watchdog passes on of its own environment.
    pub env: Vec<(String, String)>,
    pub working_dir: String,
    pub stdin: Option<String>,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    pub epoch: Epoch,
    pub name: Name,
    pub servers: Vec<String>,
    pub token: Option<String>,
}

/// From the watchdog to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The first message.
    Ready,
    Spawned {
        key: AttemptKey,
        pid: i32,
    },
    NotStarted {
        key: AttemptKey,
        detail: String,
    },
    /// The attempt has ended with all of its processes. `ordered`: the watchdog had signalled it before.
    Exited {
        key: AttemptKey,
        status: Status,
        ordered: bool,
        ran_ms: u64,
    },
    AllEnded {
        round: u64,
    },
    /// This deadline passed and everything is being killed.
    Lapsed {
        deadline: Boottime,
    },
    Pong {
        seq: u64,
    },
    /// It was not started for want of something that the worker owes it.
    Unable {
        key: AttemptKey,
        detail: String,
    },
    /// The command beside the attempt has ended. `well`: with 0, and in time.
    Probed {
        key: AttemptKey,
        well: bool,
    },
}

/// Appends one message to `buffer`.
pub(crate) fn encode<T: Serialize>(message: &T, buffer: &mut Vec<u8>) -> io::Result<()> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    bincode::serde::encode_into_std_write(message, buffer, bincode::config::standard()).map_err(io::Error::other)?;
    let len = buffer.len() - start - 4;
    match u32::try_from(len) {
        Ok(prefix) if len <= MESSAGE_BYTES_MAX => {
            buffer[start..start + 4].copy_from_slice(&prefix.to_be_bytes());
            Ok(())
        }
        _ => {
            buffer.truncate(start);
            Err(io::Error::new(io::ErrorKind::InvalidInput, "message too long"))
        }
    }
}

/// Bytes that have arrived and not been decoded.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    consumed: usize,
}

impl Inbox {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // Moved only once for all messages of a read, so that decoding stays linear.
        self.bytes.drain(..self.consumed);
        self.consumed = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    pub(crate) fn pop<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let rest = &self.bytes[self.consumed..];
        let Some((prefix, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*prefix) as usize;
        if len > MESSAGE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
        }
        let Some(message) = rest.get(..len) else { return Ok(None) };
        let config = bincode::config::standard().with_limit::<CLAIM_BYTES_MAX>();
        let (message, _) = bincode::serde::decode_from_slice(message, config)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        self.consumed += 4 + len;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cut() {
        let sent: Vec<_> = (0..20).map(|seq| Order::Ping { seq }).collect();
        let mut bytes = Vec::new();
        for order in &sent {
            encode(order, &mut bytes).unwrap();
        }
        for cut in 1..bytes.len() {
            let (mut inbox, mut got) = (Inbox::default(), Vec::new());
            for piece in bytes.chunks(cut) {
                inbox.push(piece);
                while let Some(order) = inbox.pop::<Order>().unwrap() {
                    got.push(order);
                }
            }
            assert_eq!(got, sent);
        }
    }

    #[test]
    fn what_is_too_long_is_refused_on_both_ends() {
        let long = Event::NotStarted { key: crate::table::tests::key(1), detail: "x".repeat(MESSAGE_BYTES_MAX) };
        let mut bytes = vec![7];
        assert!(encode(&long, &mut bytes).is_err());
        assert_eq!(bytes, [7]);
        let mut inbox = Inbox::default();
        inbox.push(&u32::MAX.to_be_bytes());
        assert!(inbox.pop::<Event>().is_err());
    }
}
