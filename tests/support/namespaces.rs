//! Hosts of their own on one machine: network namespaces with a cable between them, and threads that live there.

use std::future::Future;
use std::path::PathBuf;
use std::process::Command;

use super::sys;

/// Two namespaces, `a` and `b`, with the addresses 10.77.0.1 and 10.77.0.2 at the ends of one cable.
#[derive(Debug)]
pub(crate) struct TwoHosts {
    pub(crate) a: String,
    pub(crate) b: String,
}

pub(crate) const ADDRESS_A: &str = "10.77.0.1";

impl TwoHosts {
    /// Or why that can't be had here.
    pub(crate) fn new() -> Result<Self, String> {
        if !sys::is_root() {
            return Err("needs root".into());
        }
        let id = std::process::id();
        let hosts = Self { a: format!("qt{id}a"), b: format!("qt{id}b") };
        let (a, b) = (&hosts.a, &hosts.b);
        for line in [
            format!("netns add {a}"),
            format!("netns add {b}"),
            format!("-n {a} link set lo up"),
            format!("-n {b} link set lo up"),
            format!("link add ends netns {a} type veth peer name ends netns {b}"),
            format!("-n {a} addr add {ADDRESS_A}/24 dev ends"),
            format!("-n {b} addr add 10.77.0.2/24 dev ends"),
            format!("-n {a} link set ends up"),
            format!("-n {b} link set ends up"),
        ] {
            ip(&line)?;
        }
        Ok(hosts)
    }

    pub(crate) fn path_a(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.a)
    }

    /// What goes before a command that is to run on host b.
    pub(crate) fn on_b(&self) -> Vec<std::ffi::OsString> {
        ["ip", "netns", "exec", &self.b].map(Into::into).to_vec()
    }

    /// Pulls the cable at the far end: packets are lost in silence.
    pub(crate) fn cut(&self) {
        ip(&format!("-n {} link set ends down", self.a)).unwrap();
    }

    pub(crate) fn heal(&self) {
        ip(&format!("-n {} link set ends up", self.a)).unwrap();
    }
}

impl Drop for TwoHosts {
    fn drop(&mut self) {
        // The cable goes with its ends.
        for name in [&self.a, &self.b] {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn ip(line: &str) -> Result<(), String> {
    let output = Command::new("ip").args(line.split(' ')).output().map_err(|e| format!("needs ip ({e})"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("ip {line}: {said}")) }
}

/// Runs a test on a thread of its own, which first goes where `enter` takes it: its sockets, its mounts and its
/// children are there then, while the rest of this process stays where it is.
pub(crate) fn on_thread<F: Future<Output = ()>>(
    enter: impl FnOnce() -> std::io::Result<()> + Send + 'static,
    test: impl FnOnce() -> F + Send + 'static,
) {
    let thread = std::thread::Builder::new().name("apart".into()).spawn(move || {
        enter().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}
