//! Power failures of all replicas, of a majority and of one, on file systems that lose everything that was not fsynced.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::load::{Accepted, Load, lost};
use crate::support::namespaces::on_thread;
use crate::support::{Cluster, Setup, note, skip, sys, turn};

const ROUNDS: usize = 3;
const CLIENTS: usize = 6;
const JOBS_PER_ROUND: usize = 60;
/// What a replica's disk holds: a test needs a few MiB of it.
const DISK_BYTES: u64 = 192 << 20;

/// One ext4 for each replica, in an image file on a loop mount.
#[derive(Debug)]
struct Disks {
    folder: PathBuf,
}

impl Disks {
    fn new(dir: &Path, count: u64) -> Result<Self, String> {
        let disks = Self { folder: dir.to_owned() };
        for id in 1..=count {
            let image = disks.image(id);
            std::fs::File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).map_err(|e| e.to_string())?;
            run("mkfs.ext4", &["-qF", image.to_str().unwrap()])?;
            std::fs::create_dir_all(disks.mount_point(id)).map_err(|e| e.to_string())?;
        }
        (1..=count).try_for_each(|id| disks.mount(id))?;
        Ok(disks)
    }

    fn image(&self, id: u64) -> PathBuf {
        self.folder.join(format!("r{id}.img"))
    }

    fn mount_point(&self, id: u64) -> PathBuf {
        self.folder.join(format!("r{id}"))
    }

    fn mount(&self, id: u64) -> Result<(), String> {
        let (image, at) = (self.image(id), self.mount_point(id));
        run("mount", &["-o", "loop", image.to_str().unwrap(), at.to_str().unwrap()])
    }

    /// Everything that was not fsynced is gone; until it is mounted again, every write fails.
    fn cut_power(&self, id: u64) {
        sys::cut_power(&self.mount_point(id)).unwrap_or_else(|e| panic!("cut the power of disk {id}: {e}"));
    }

    fn mount_again(&self, ids: &[u64]) {
        for id in ids {
            run("umount", &[self.mount_point(*id).to_str().unwrap()]).unwrap();
            self.mount(*id).unwrap();
        }
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for id in 1..=3 {
            let _ = run("umount", &["-l", self.mount_point(id).to_str().unwrap()]);
        }
    }
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|e| format!("needs {program} ({e})"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{program} {}: {said}", args.join(" "))) }
}

/// Runs `test` with three disks that can lose their power, or says why that can't be here.
fn with_disks<F: Future<Output = ()>>(name: &'static str, test: impl FnOnce(Disks, PathBuf) -> F + Send + 'static) {
    if !sys::is_root() {
        return skip(name, "needs root");
    }
    // A mount namespace of its own: whatever happens, no mount is left.
    on_thread(sys::own_mounts, move || async move {
        let _turn = turn().await;
        let dir = tempfile::Builder::new().prefix("quorate-disks-").tempdir().unwrap();
        match Disks::new(dir.path(), 3) {
            Ok(disks) => test(disks, dir.path().to_owned()).await,
            Err(why) => skip(name, &why),
        }
    });
}

fn setup(dir: PathBuf) -> Setup {
    Setup { data: Some(dir), ..Setup::default() }
}

const ALL: [u64; 3] = [1, 2, 3];

/// Load, and in the middle of it the power of these disks and processes goes. Returns what had been accepted.
async fn power_failure(cluster: &mut Cluster, disks: &Disks, prefix: &str, victims: &[u64]) -> Vec<Accepted> {
    let load = Load::start(&cluster.apis(), CLIENTS, prefix);
    load.reaches(JOBS_PER_ROUND).await;
    for id in victims {
        disks.cut_power(*id);
    }
    // Whoever still says yes now lies, and is found out.
    let cut = Instant::now();
    while cut.elapsed() < Duration::from_millis(300) {
        tokio::time::sleep(crate::support::LOOK_EVERY).await;
    }
    match victims.len() {
        3 => cluster.kill_all_at_once(),
        _ => victims.iter().for_each(|id| cluster.kill(*id)),
    }
    let accepted = load.stop().await;
    disks.mount_again(victims);
    accepted
}

/// Rounds of power failures of as many replicas, the leader among them.
fn accepted_jobs_survive(name: &'static str, victims: usize) {
    with_disks(name, move |disks, dir| async move {
        let mut cluster = Cluster::start(setup(dir)).await;
        // A replica whose disk fails says so and ends; that is what it should do.
        cluster.expected_errors = vec!["nput/output error", "os error 5", "can't go on"];
        let mut accepted = Vec::new();
        for round in 0..ROUNDS {
            let leader = cluster.leader().await;
            let mut hit = ALL.to_vec();
            hit.sort_by_key(|id| *id != leader);
            hit.truncate(victims);
            accepted.extend(power_failure(&mut cluster, &disks, &format!("round-{round}"), &hit).await);
            cluster.start_all();
            cluster.leader().await;
            let lost = lost(&cluster.any(), &accepted).await;
            assert!(lost.is_empty(), "round {round}: {} of {} are lost: {lost:?}", lost.len(), accepted.len());
        }
        for id in cluster.ids() {
            cluster.ready(id).await;
        }
        cluster.digests_agree().await;
        note(&format!("{} accepted jobs survived {ROUNDS} power failures of {victims}", accepted.len()));
        cluster.finish();
        drop(disks);
    });
}

#[test]
fn accepted_jobs_survive_a_power_failure_of_every_replica() {
    accepted_jobs_survive("accepted_jobs_survive_a_power_failure_of_every_replica", 3);
}

#[test]
fn accepted_jobs_survive_a_power_failure_of_a_majority() {
    accepted_jobs_survive("accepted_jobs_survive_a_power_failure_of_a_majority", 2);
}

#[test]
fn accepted_jobs_survive_a_power_failure_of_the_leader() {
    accepted_jobs_survive("accepted_jobs_survive_a_power_failure_of_the_leader", 1);
}

/// The test above could also pass because the disks lose nothing. So here the same happens to replicas whose fsync and
/// fdatasync do nothing (the kernel is told to skip them), and something must be lost.
#[test]
fn without_fsync_the_same_power_failure_loses_jobs() {
    const NAME: &str = "without_fsync_the_same_power_failure_loses_jobs";
    let strace = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"];
    let inject = ["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:retval=0"];
    if let Err(why) = run("strace", &[&strace[1..], &inject[..], &["true"]].concat()) {
        return skip(NAME, &why);
    }
    with_disks(NAME, move |disks, dir| async move {
        let wrapper = strace.iter().chain(&inject).map(Into::into).collect();
        let mut cluster = Cluster::start(Setup { wrapper, ..setup(dir) }).await;
        cluster.expected_errors = vec![""];
        let accepted = power_failure(&mut cluster, &disks, "unsafe", &ALL).await;
        cluster.start_all();
        // They may lose jobs, or all they knew, or refuse to start; only to have everything would be wrong.
        let patience = Duration::from_secs(8);
        let missing = match tokio::time::timeout(patience, cluster.leader()).await {
            Ok(_) => lost(&cluster.any(), &accepted).await.len(),
            Err(_) => accepted.len(),
        };
        assert!(missing > 0, "nothing of {} jobs was lost: the power failure is none", accepted.len());
        note(&format!("without fsync {missing} of {} accepted jobs are lost", accepted.len()));
        cluster.finish();
        drop(disks);
    });
}
