//! Hosts of their own on one machine: network namespaces with a cable between them, and threads that live there.

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use super::sys;

/// Two namespaces, `a` and `b`, with the addresses 10.77.0.1 and 10.77.0.2 at the ends of one cable.
#[derive(Debug)]
pub(crate) struct TwoHosts {
    pub(crate) a: String,
    pub(crate) b: String,
}

pub(crate) const ADDRESS_A: &str = "10.77.0.1";
/// Of a [`Network`]: each lives in namespaces of its own, so that all of them may have the same.
const SUBNET: &str = "10.78.0";

impl TwoHosts {
    /// Or why that can't be had here.
    pub(crate) fn new() -> Result<Self, String> {
        if !sys::is_root() {
            return Err("needs root".into());
        }
        // Of each process as many as it likes.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
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

    pub(crate) fn path_b(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.b)
    }

    /// What goes before a command that is to run on host b.
    pub(crate) fn on_b(&self) -> Vec<OsString> {
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
    run("ip", &line.split(' ').collect::<Vec<_>>()).map(drop)
}

/// Runs a tool to its end; what it printed, or why it could not do it.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|e| format!("needs {program} ({e})"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{program} {}: {said}", args.join(" "))),
    }
}

/// A host of a [`Network`].
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) address: String,
    /// What goes before a command that is to run there.
    pub(crate) wrapper: Vec<OsString>,
}

/// Any number of hosts on one switch. The switch is a host too: whoever enters it reaches all of them.
///
/// Made by a thread with mounts of its own, so that the names of the namespaces end with it.
#[derive(Debug)]
pub(crate) struct Network {
    prefix: String,
    names: Vec<String>,
}

/// The chain of every host that drops what is to be lost on its way in.
const CHAIN: &str = "add table inet chaos; add chain inet chaos in { type filter hook input priority 0 ; }";

impl Network {
    /// Or why that can't be had here.
    pub(crate) fn new(names: &[&str]) -> Result<Self, String> {
        static NETWORKS: AtomicU16 = AtomicU16::new(0);
        if !sys::is_root() {
            return Err("needs root".into());
        }
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("qc{}x{number}", std::process::id());
        // What has been made is undone should a step fail.
        let mut network = Self { prefix, names: vec!["switch".into()] };
        let switch = network.namespace("switch");
        for line in [
            format!("netns add {switch}"),
            format!("-n {switch} link set lo up"),
            format!("-n {switch} link add switch type bridge"),
            format!("-n {switch} addr add {SUBNET}.254/24 dev switch"),
            format!("-n {switch} link set switch up"),
        ] {
            ip(&line)?;
        }
        names.iter().try_for_each(|name| network.add(name))?;
        Ok(network)
    }

    fn add(&mut self, name: &str) -> Result<(), String> {
        self.names.push(name.to_owned());
        let (host, switch, address) = (self.namespace(name), self.namespace("switch"), self.address(name));
        for line in [
            format!("netns add {host}"),
            format!("-n {host} link set lo up"),
            format!("link add cable netns {host} type veth peer name {name} netns {switch}"),
            format!("-n {host} addr add {address}/24 dev cable"),
            format!("-n {host} link set cable up"),
            format!("-n {switch} link set {name} master switch up"),
        ] {
            ip(&line)?;
        }
        Ok(())
    }

    pub(crate) fn namespace(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/run/netns").join(self.namespace(name))
    }

    fn address(&self, name: &str) -> String {
        let place = self.names.iter().position(|known| known == name).unwrap_or_else(|| panic!("no host {name}"));
        format!("{SUBNET}.{place}")
    }

    pub(crate) fn host(&self, name: &str) -> Host {
        let enter = format!("--net={}", self.path(name).display());
        Host { address: self.address(name), wrapper: ["nsenter".into(), enter.into()].to_vec() }
    }

    /// Takes the calling thread to the switch.
    pub(crate) fn enter(&self) -> std::io::Result<()> {
        sys::enter_network(&self.path("switch"))
    }

    /// From now on what comes from `from` is lost on its way into `to`.
    pub(crate) fn drop_packets(&self, from: &str, to: &str) {
        self.rule(from, to, "counter drop");
    }

    /// The same for so many of a hundred packets.
    pub(crate) fn lose_packets(&self, from: &str, to: &str, percent: u8) {
        self.rule(from, to, &format!("numgen random mod 100 < {percent} counter drop"));
    }

    fn rule(&self, from: &str, to: &str, what: &str) {
        let rule = format!("{CHAIN}; add rule inet chaos in ip saddr {} {what}", self.address(from));
        self.inside(to, "nft", &[&rule]).unwrap();
    }

    /// Ends all losses, and says how many packets were lost.
    pub(crate) fn heal(&self) -> u64 {
        self.names.iter().map(|name| self.heal_host(name)).sum()
    }

    fn heal_host(&self, name: &str) -> u64 {
        // Where nothing was to be lost there is no chain.
        let Ok(rules) = self.inside(name, "nft", &["list chain inet chaos in"]) else { return 0 };
        self.inside(name, "nft", &["flush chain inet chaos in"]).unwrap();
        let counts = rules.split("counter packets ").skip(1).filter_map(|rest| rest.split(' ').next());
        counts.map(|count| count.parse::<u64>().unwrap()).sum()
    }

    /// Runs a tool on a host.
    pub(crate) fn inside(&self, name: &str, program: &str, args: &[&str]) -> Result<String, String> {
        let enter = format!("--net={}", self.path(name).display());
        run("nsenter", &[&[&*enter, program], args].concat())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&format!("netns del {}", self.namespace(name)));
        }
    }
}

/// Runs a test on a thread of its own, which first goes where `enter` takes it: its sockets, its mounts and its
/// children are there then, while the rest of this process stays where it is.
pub(crate) fn on_thread<F: Future<Output = ()>>(
    enter: impl FnOnce() -> std::io::Result<()> + Send + 'static,
    test: impl FnOnce() -> F + Send + 'static,
) {
    let thread = std::thread::Builder::new().name("apart".into()).spawn(move || {
        enter().unwrap();
        // Its threads are children of this one, and so they live where it lives.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}
