//! The image and the compose file of deploy/: a cluster in containers whose leader is killed in the middle
//! of a job. Needs a Docker engine and a compose tool; no image is pulled, the base is made here.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_quorate");
/// What tasks of the job run.
const PROGRAMS: [&str; 2] = ["/bin/sh", "/bin/sleep"];
/// For the whole story; each command has a bound of its own too.
const PATIENCE: Duration = Duration::from_secs(100);
const PAUSE: Duration = Duration::from_millis(200);

/// Straight to the terminal: libtest swallows what a passing test prints.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A command that is killed when it takes too long.
fn bounded(seconds: u32, program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", &seconds.to_string(), program]);
    command
}

fn checked(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("run {command:?}: {e}"));
    let Output { status, stdout, stderr } = output;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?} ended with {status}\n{stdout}\n{stderr}");
    stdout
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The compose tool: a plugin of the client, or a program of its own.
fn compose_tool() -> Option<Vec<&'static str>> {
    let plugin = works(bounded(10, "docker").args(["compose", "version"]));
    let program = || works(bounded(10, "docker-compose").arg("version"));
    if plugin { Some(vec!["docker", "compose"]) } else { program().then(|| vec!["docker-compose"]) }
}

/// Copies a program and the libraries that it is linked with.
fn install(program: &Path, rootfs: &Path) {
    let listed = checked(bounded(10, "ldd").arg(program));
    let libraries =
        listed.split_whitespace().filter(|word| word.starts_with('/')).map(|word| word.trim_end_matches(':'));
    let wanted: BTreeSet<PathBuf> = libraries.map(PathBuf::from).collect();
    for file in wanted {
        copy(&file, rootfs);
    }
}

/// Copies a file to where it is here.
fn copy(file: &Path, rootfs: &Path) {
    let target = rootfs.join(file.strip_prefix("/").unwrap());
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::copy(file, &target).unwrap_or_else(|e| panic!("copy {}: {e}", file.display()));
}

/// Everything that this test makes in the engine, removed when it is dropped.
struct Stage {
    compose: Vec<&'static str>,
    folder: tempfile::TempDir,
    name: String,
    ports: Vec<u16>,
}

impl Stage {
    fn new(compose: Vec<&'static str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("quorate-test-{}", std::process::id());
        // All at once, so that they differ.
        let taken: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = taken.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        Self { compose, folder, name, ports }
    }

    fn base(&self) -> String {
        format!("{}-base", self.name)
    }

    fn docker(&self, seconds: u32, arguments: &[&str]) -> String {
        checked(bounded(seconds, "docker").args(arguments))
    }

    fn compose(&self, seconds: u32) -> Command {
        let mut command = bounded(seconds, self.compose[0]);
        command.args(&self.compose[1..]);
        command.args(["-p", &self.name, "-f"]).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/compose.yaml"));
        command.env("QUORATE_IMAGE", &self.name).env("QUORATE_SECRETS", self.folder.path());
        for (nth, port) in (1..).zip(&self.ports) {
            command.env(format!("QUORATE_PORT_{nth}"), port.to_string());
        }
        command
    }

    /// A base of a few programs and libraries, and the image on top of it.
    fn build(&self) {
        let rootfs = self.folder.path().join("rootfs");
        for folder in ["tmp", "etc", "proc", "var/lib/quorate"] {
            fs::create_dir_all(rootfs.join(folder)).unwrap();
        }
        install(Path::new(BINARY), &rootfs);
        for program in PROGRAMS {
            install(Path::new(program), &rootfs);
            copy(Path::new(program), &rootfs);
        }
        let archive = self.folder.path().join("base.tar");
        checked(bounded(20, "tar").arg("-C").arg(&rootfs).arg("-cf").arg(&archive).arg("."));
        self.docker(30, &["import", archive.to_str().unwrap(), &self.base()]);

        let context = self.folder.path().join("image");
        fs::create_dir(&context).unwrap();
        fs::copy(BINARY, context.join("quorate")).unwrap();
        let dockerfile = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/Dockerfile");
        let base = format!("BASE={}", self.base());
        let context = context.to_str().unwrap();
        self.docker(
            60,
            &["build", "-f", dockerfile, "--target", "prebuilt", "--build-arg", &base, "-t", &self.name, context],
        );
    }

    fn up(&self) {
        for secret in ["token", "peer-token"] {
            fs::write(self.folder.path().join(secret), format!("{}-{secret}\n", self.name)).unwrap();
        }
        checked(self.compose(60).args(["up", "-d"]));
    }

    /// The command line on this host, as a user would use it from outside.
    fn quorate(&self, arguments: &[&str]) -> Command {
        let servers: Vec<String> = self.ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let mut command = bounded(40, BINARY);
        command.args(["--server", &servers.join(","), "-o", "json"]);
        command.arg("--token-file").arg(self.folder.path().join("token")).args(arguments);
        command
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = checked(&mut self.quorate(arguments));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?} printed {text}: {e}"))
    }

    /// Asks until the answer is as wanted.
    fn wait(&self, what: &str, until: Instant, arguments: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let output = self.quorate(arguments).output().unwrap();
            let answer = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
            if output.status.success() && wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < until, "{what}: still {answer}, {}", String::from_utf8_lossy(&output.stderr));
            std::thread::sleep(PAUSE);
        }
    }

    fn container(&self, service: &str) -> String {
        checked(self.compose(20).args(["ps", "-q", service])).trim().to_owned()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.compose(20).args(["logs", "--no-color", "--tail", "40"]).output();
            say(&logs.map(|logs| String::from_utf8_lossy(&logs.stdout).into_owned()).unwrap_or_default());
        }
        // Nothing to be done about failures: everything else is tried all the same.
        let _ = self.compose(60).args(["down", "-v", "--remove-orphans", "--timeout", "5"]).output();
        for image in [&self.name, &self.base()] {
            let _ = bounded(30, "docker").args(["rmi", "-f", image]).output();
        }
    }
}

#[test]
fn a_cluster_of_containers_survives_its_leader() {
    if !works(bounded(10, "docker").arg("info")) {
        return say("test a_cluster_of_containers_survives_its_leader ... skipped: needs a Docker engine");
    }
    let Some(compose) = compose_tool() else {
        return say("test a_cluster_of_containers_survives_its_leader ... skipped: needs docker compose");
    };
    let _turn = crate::support::blocking_turn();
    let until = Instant::now() + PATIENCE;
    let stage = Stage::new(compose);
    stage.build();
    stage.up();
    let all_here = |cluster: &Value| {
        let replicas = cluster["replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
        cluster["leader"].is_u64() && replicas.iter().filter(|replica| replica["healthy"] == true).count() == 3
    };
    stage.wait("three replicas and a leader", until, &["cluster", "status"], all_here);
    let two_ready = |page: &Value| page["items"].as_array().is_some_and(|items| items.len() == 2);
    stage.wait("two workers", until, &["worker", "list"], two_ready);

    let job = json!({"name": "containers", "tasks": [
        {"name": "first", "command": ["sh", "-c", "sleep 4"], "count": 6, "resources": {"cpu": 0.1}},
        {"name": "second", "command": ["sh", "-c", "echo second $QUORATE_INDEX"], "count": 6, "needs": ["first"],
         "resources": {"cpu": 0.1}}]});
    let file = stage.folder.path().join("job.json");
    fs::write(&file, job.to_string()).unwrap();
    let submitted = stage.json(&["job", "submit", file.to_str().unwrap()]);
    let id = submitted["id"].as_u64().unwrap_or_else(|| panic!("no id in {submitted}")).to_string();
    let running = |job: &Value| job["tasks"]["running"] == 6;
    stage.wait("all of the first tasks run", until, &["job", "show", &id], running);

    let leader = stage.json(&["cluster", "status"])["leader"].as_u64().unwrap();
    let container = stage.container(&format!("replica-{leader}"));
    stage.docker(20, &["kill", "--signal", "KILL", &container]);
    let job = stage.json(&["job", "show", &id]);
    assert!(job["tasks"]["succeeded"].as_u64() < Some(6), "the leader was killed too late to matter: {job}");

    let finished = |job: &Value| job["finished_at"].is_string();
    let job = stage.wait("the job ends", until, &["job", "show", &id], finished);
    assert_eq!(job["state"], "succeeded", "{job}");
    let page = stage.json(&["job", "tasks", &id]);
    let tasks = page["items"].as_array().unwrap();
    assert_eq!(tasks.len(), 12);
    for task in tasks {
        assert_eq!((&task["state"], &task["exit_code"]), (&json!("succeeded"), &json!(0)), "{task}");
        assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1), "disturbed by the leader's death: {task}");
    }

    // It comes back on its volume, and a new leader has taken over meanwhile.
    stage.docker(20, &["start", &container]);
    let cluster = stage.wait("the killed replica is back", until, &["cluster", "status"], all_here);
    assert_eq!(cluster["failure_tolerance"], 1, "{cluster}");
}
