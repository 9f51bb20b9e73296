//! deploy/config.toml is what it says: every setting, explained, at its default.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_quorate");

fn path(from_top: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(from_top)
}

fn read(from_top: &str) -> String {
    std::fs::read_to_string(path(from_top)).unwrap_or_else(|e| panic!("read {from_top}: {e}"))
}

/// The settings that result, one a line, without anything from this environment.
fn print_config(arguments: &[&str]) -> Result<BTreeSet<String>, String> {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUORATE_") {
            command.env_remove(name);
        }
    }
    let output = command.arg("serve").args(arguments).arg("--print-config").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    match output.status.success() {
        true => Ok(printed.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// `name = value` of a commented-out setting: `#name = value`, while prose has a space after the sign.
fn optional_settings(file: &str) -> Vec<&str> {
    let commented = file.lines().filter_map(|line| line.strip_prefix('#'));
    commented.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(" = ")).collect()
}

fn name_of(line: &str) -> &str {
    line.split_once(" = ").map_or(line, |(name, _)| name)
}

#[test]
fn the_file_gives_every_default_and_nothing_else() {
    let file = read("deploy/config.toml");
    let defaults = print_config(&["--id", "1"]).unwrap();
    assert!(defaults.len() > 5, "too few to be the settings: {defaults:?}");
    let given: BTreeSet<String> =
        file.lines().filter(|line| !line.starts_with('#') && line.contains('=')).map(str::to_owned).collect();
    assert_eq!(given, defaults, "deploy/config.toml (left) must hold the defaults (right), each on a line");
    let with_file = print_config(&["--config", path("deploy/config.toml").to_str().unwrap()]).unwrap();
    assert_eq!(with_file, defaults);
}

#[test]
fn every_setting_is_explained() {
    let file = read("deploy/config.toml");
    let source = read("crates/replica/src/config.rs");
    let fields = source.split_once("pub struct Config {").unwrap().1.split_once("\n}").unwrap().0;
    let fields: BTreeSet<&str> = fields
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    let given = file.lines().filter(|line| !line.starts_with('#') && line.contains('=')).map(name_of);
    let explained: BTreeSet<&str> = given.chain(optional_settings(&file).into_iter().map(name_of)).collect();
    assert_eq!(explained, fields, "deploy/config.toml (left) must name the fields of Config (right)");
}

#[test]
fn optional_settings_are_read_when_they_are_uncommented() {
    let file = read("deploy/config.toml");
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("config.toml");
    let optional = optional_settings(&file);
    assert!(optional.len() >= 8, "{optional:?}");
    for setting in optional {
        std::fs::write(&copy, file.replace(&format!("\n#{setting}"), &format!("\n{setting}"))).unwrap();
        let printed = print_config(&["--config", copy.to_str().unwrap()]).unwrap_or_else(|e| panic!("{setting}: {e}"));
        // Tokens are never printed.
        let is_secret = ["token", "peer_token"].contains(&name_of(setting));
        assert_eq!(printed.contains(setting), !is_secret, "{setting}: {printed:?}");
    }
}

#[test]
fn an_unknown_setting_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("config.toml");
    std::fs::write(&copy, "id = 1\nleas_ttl = \"10s\"\n").unwrap();
    let refused = print_config(&["--config", copy.to_str().unwrap()]).unwrap_err();
    assert!(refused.contains("leas_ttl"), "{refused}");
}
