//! What this machine has of what faults need.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::sys;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Namespaces and filters of packets.
    Network,
    /// Loop mounts of file systems.
    Disks,
    Fsfreeze,
    Strace,
    Faketime,
    LinkDelay,
}

impl Need {
    /// What is missing for it, if something is.
    pub(crate) fn absent(self) -> Option<&'static str> {
        let needed: &[(&'static str, bool)] = match self {
            Self::Network => &[("root", sys::is_root()), ("ip", has("ip")), ("nft", has("nft"))],
            Self::Disks => &[
                ("root", sys::is_root()),
                ("mkfs.ext4", has("mkfs.ext4")),
                ("loop devices", Path::new("/dev/loop-control").exists()),
            ],
            Self::Fsfreeze => &[("fsfreeze", has("fsfreeze"))],
            Self::Strace => &[("root", sys::is_root()), ("strace", has("strace"))],
            Self::Faketime => &[("faketime", faketime().is_some())],
            Self::LinkDelay => &[
                ("link_delay.py", link_delay().is_some()),
                ("python3", has("python3")),
                ("/dev/net/tun", Path::new("/dev/net/tun").exists()),
            ],
        };
        needed.iter().find(|(_, present)| !present).map(|(name, _)| *name)
    }
}

/// Whether a program can be started.
fn has(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

/// The library that shifts the clock of the process it is loaded into.
pub(crate) fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}

/// The relay that delays what goes between two namespaces, where the checkout has it beside it.
pub(crate) fn link_delay() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tools/link_delay.py");
    script.exists().then_some(script)
}
