//! The rules of the house that the compiler does not know: who may depend on whom, where things lie,
//! and what does not appear in the code. Each failure says where, and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Which crates of the workspace a crate may depend on, at most. docs/ARCHITECTURE.md draws it.
const EDGES: &[(&str, &[&str])] = &[
    ("quorate", &["cli"]),
    ("quorate-cli", &["replica", "worker", "client", "sim", "cron", "types"]),
    ("quorate-replica", &["consensus", "placement", "state", "cron", "types"]),
    ("quorate-consensus", &["state", "types"]),
    ("quorate-placement", &["state", "types"]),
    ("quorate-state", &["types"]),
    ("quorate-worker", &["client", "types"]),
    ("quorate-client", &["types"]),
    ("quorate-cron", &["types"]),
    ("quorate-types", &[]),
    ("quorate-sim", &["replica", "consensus", "placement", "state", "worker", "client", "types"]),
];

/// What may lie at the top of the repository.
const TOP: &[&str] = &[
    ".cargo",
    ".ci",
    ".editorconfig",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "crates",
    "deny.toml",
    "deploy",
    "docs",
    "justfile",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "src",
    "tests",
];

/// What tools and runs leave at the top, and nobody commits.
const LEFT_BEHIND: &[&str] = &[".git", ".idea", ".vscode", "quorate-data", "target"];

const LINES_MAX: usize = 400;

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// Files that may hold `unsafe`, and why.
const UNSAFE_FILES: &[(&str, &str)] =
    &[("crates/worker/src/sys.rs", "clone, process groups and inherited descriptors have no safe interface")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn metadata() -> Metadata {
    // Without dependencies nothing is resolved: no network, and no lock is waited for.
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().expect("run cargo metadata")
}

/// Fails with all complaints at once.
fn report(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}\n  {}\n", complaints.join("\n  "));
}

/// A source file of ours.
struct Source {
    /// From the top of the repository.
    path: String,
    text: String,
}

impl Source {
    /// The lines that are neither comments nor tests, with their numbers.
    fn code(&self) -> Vec<(usize, &str)> {
        self.product().into_iter().filter(|(_, line)| !line.trim_start().starts_with("//")).collect()
    }

    /// The lines outside of items that only exist in tests. rustfmt makes this simple: such an item ends at
    /// the first line that closes it at its own depth.
    fn product(&self) -> Vec<(usize, &str)> {
        let mut lines = Vec::new();
        let mut rest = (1..).zip(self.text.lines());
        while let Some((number, line)) = rest.next() {
            if line.trim() != "#[cfg(test)]" {
                lines.push((number, line));
                continue;
            }
            let depth = line.len() - line.trim_start().len();
            let closes = |line: &str| {
                let own = line.len() - line.trim_start().len() == depth && !line.trim().starts_with("#[");
                own && (line.ends_with('}') || line.ends_with(';') || line.ends_with(','))
            };
            rest.find(|(_, line)| closes(line));
        }
        lines
    }

    /// A file of tests beside the code it tests.
    fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.contains("/tests/")
    }
}

fn rust_files(below: &Path, found: &mut Vec<Source>) {
    let entries = fs::read_dir(below).unwrap_or_else(|e| panic!("read {}: {e}", below.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
            found.push(Source { path: path.strip_prefix(root()).unwrap().display().to_string(), text });
        }
    }
}

/// Everything that we wrote in Rust.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["crates", "src", "tests"] {
        rust_files(&root().join(folder), &mut found);
    }
    assert!(found.len() > 100, "only {} source files found: the checks would check nothing", found.len());
    found
}

/// The crates' own code without tests.
fn product_sources() -> Vec<Source> {
    sources()
        .into_iter()
        .filter(|s| s.path.starts_with("crates/") && s.path.contains("/src/") && !s.is_test())
        .collect()
}

#[test]
fn crates_depend_only_downwards() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut complaints = Vec::new();
    for package in &metadata().packages {
        let Some(may) = allowed.get(package.name.as_str()) else {
            complaints.push(format!("{}: not in EDGES; add it there and to docs/ARCHITECTURE.md", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(short) = dependency.name.strip_prefix("quorate-") else { continue };
            // The root's tests drive the whole system and look at it from all sides.
            let is_tests = package.name.as_str() == "quorate" && dependency.kind == DependencyKind::Development;
            if !is_tests && !may.contains(&short) {
                let manifest = package.manifest_path.strip_prefix(root()).unwrap_or(&package.manifest_path);
                complaints.push(format!("{manifest}: {} must not depend on {}", package.name, dependency.name));
            }
        }
    }
    report("the edges between crates (EDGES in tests/house.rs); move the code to where it may live:", &complaints);
}

#[test]
fn the_top_of_the_repository_is_tidy() {
    let (allowed, left): (BTreeSet<_>, BTreeSet<_>) =
        (TOP.iter().copied().collect(), LEFT_BEHIND.iter().copied().collect());
    let names = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: BTreeSet<String> =
        names.filter(|name| !left.contains(name.as_str()) && !name.ends_with(".profraw")).collect();
    let strange = found
        .iter()
        .filter(|name| !allowed.contains(name.as_str()))
        .map(|name| format!("{name}: does not belong here"));
    let missing = allowed.iter().filter(|name| !found.contains(**name)).map(|name| format!("{name}: is missing"));
    let complaints: Vec<String> = strange.chain(missing).collect();
    report("the top of the repository (TOP in tests/house.rs); find each a folder, or list it:", &complaints);
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    let mut complaints = Vec::new();
    for source in product_sources() {
        for (number, line) in source.code() {
            if line.contains(".unwrap()") {
                complaints.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    report("unwrap() outside of tests; return an error, or say with unreachable! why it can't happen:", &complaints);
}

#[test]
fn files_stay_short() {
    let mut complaints = Vec::new();
    let mut long: BTreeMap<&str, &str> = LONG_FILES.iter().copied().collect();
    for source in product_sources() {
        let lines = source.product().len();
        let excused = long.remove(source.path.as_str()).is_some();
        match (lines > LINES_MAX, excused) {
            (true, false) => complaints.push(format!("{}: {lines} lines without tests", source.path)),
            (false, true) => complaints.push(format!("{}: {lines} lines; take it off LONG_FILES", source.path)),
            (true, true) | (false, false) => {}
        }
    }
    complaints.extend(long.keys().map(|path| format!("{path}: gone; take it off LONG_FILES")));
    report(&format!("files of more than {LINES_MAX} lines; split them by concept:"), &complaints);
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    // Put together here, so that this file does not complain about itself.
    let words = [
        concat!("#[", "ignore"),
        concat!("to", "do!("),
        concat!("un", "implemented!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
    ];
    let mut complaints = Vec::new();
    for source in sources() {
        for (number, line) in (1..).zip(source.text.lines()) {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                complaints.push(format!("{}:{number}: {word}", source.path));
            }
        }
    }
    report("left for later; do it now, or write an issue and take it out of the code:", &complaints);
}

#[test]
fn each_crate_says_what_it_is() {
    let mut complaints = Vec::new();
    for package in metadata().packages {
        let manifest = package.manifest_path.as_std_path();
        let lib = manifest.with_file_name("src").join("lib.rs");
        let main = manifest.with_file_name("src").join("main.rs");
        let file = if lib.exists() { lib } else { main };
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("read {}: {e}", file.display()));
        if !text.starts_with("//!") {
            complaints.push(format!("{}: must begin with //! and the crate's purpose", file.display()));
        }
    }
    report("crates without a description of purpose, layout and invariants:", &complaints);
}

#[test]
fn unsafe_code_stays_where_it_is() {
    let mut allowed: BTreeMap<&str, &str> = UNSAFE_FILES.iter().copied().collect();
    let mut complaints = Vec::new();
    for source in
        sources().iter().filter(|source| source.path.starts_with("crates/") || source.path.starts_with("src/"))
    {
        let is_word = |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        let first = source.code().into_iter().find(|(_, line)| is_word(line) && !line.contains('"'));
        match (first, allowed.remove(source.path.as_str()).is_some()) {
            (Some((number, _)), false) => {
                complaints.push(format!("{}:{number}: unsafe code outside of UNSAFE_FILES", source.path))
            }
            (None, true) => complaints.push(format!("{}: holds none any more; take it off UNSAFE_FILES", source.path)),
            (Some(_), true) | (None, false) => {}
        }
    }
    complaints.extend(allowed.keys().map(|path| format!("{path}: gone; take it off UNSAFE_FILES")));
    report("unsafe code; put it behind a safe function of a listed file, with a SAFETY comment:", &complaints);
}
