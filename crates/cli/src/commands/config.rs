//! Settings from several places: flags over environment over file over defaults.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::exit::Failure;

const PREFIX: &str = "QUORATE_";

/// The places, strongest last.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) file: Table,
    pub(super) environment: Vec<(String, String)>,
    pub(super) flags: Table,
}

impl Layers {
    /// Puts the layers over the defaults of `T`.
    ///
    /// A variable `QUORATE_A_B` stands for the setting `a_b`, or `b` in the table `a`. Variables that
    /// name no setting belong to someone else and are passed over; `optional` names the settings that
    /// the defaults leave out.
    pub(super) fn resolve<T>(self, optional: &[(&str, Kind)]) -> Result<T, Failure>
    where
        T: Default + Serialize + DeserializeOwned,
    {
        let defaults =
            Table::try_from(T::default()).map_err(|e| Failure::Usage(format!("the default settings: {e}")))?;
        let mut settings = Vec::new();
        collect(&defaults, &mut Vec::new(), &mut settings);
        settings.extend(optional.iter().map(|(name, kind)| (vec![(*name).to_owned()], *kind)));
        let mut merged = defaults;
        merge(&mut merged, self.file);
        for (path, kind) in &settings {
            let variable = format!("{PREFIX}{}", path.join("_").to_uppercase());
            if let Some((_, text)) = self.environment.iter().find(|(name, _)| *name == variable) {
                let value = kind.parse(text).map_err(|e| Failure::Usage(format!("{variable}: {e}")))?;
                put(&mut merged, path, value);
            }
        }
        merge(&mut merged, self.flags);
        merged
            .try_into()
            .map_err(|e: toml::de::Error| Failure::Usage(format!("the settings: {}", e.to_string().trim_end())))
    }
}

/// What a setting's text stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Float,
    Boolean,
}

impl Kind {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(_) | Value::Datetime(_) => Some(Self::Text),
            Value::Integer(_) => Some(Self::Integer),
            Value::Float(_) => Some(Self::Float),
            Value::Boolean(_) => Some(Self::Boolean),
            Value::Array(_) | Value::Table(_) => None,
        }
    }

    fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Text => Ok(Value::String(text.to_owned())),
            Self::Integer => text.parse().map(Value::Integer).map_err(|_| format!("{text:?} is not a whole number")),
            Self::Float => text.parse().map(Value::Float).map_err(|_| format!("{text:?} is not a number")),
            Self::Boolean => match text {
                "1" | "true" | "yes" => Ok(Value::Boolean(true)),
                "" | "0" | "false" | "no" => Ok(Value::Boolean(false)),
                _ => Err(format!("{text:?} is neither true nor false")),
            },
        }
    }
}

/// Reads a settings file.
pub(super) fn read(path: &Path) -> Result<Table, Failure> {
    let wrong = |e: &dyn std::fmt::Display| Failure::Usage(format!("{}: {}", path.display(), e.to_string().trim_end()));
    std::fs::read_to_string(path).map_err(|e| wrong(&e))?.parse().map_err(|e: toml::de::Error| wrong(&e))
}

/// Reads `name=value`, where the value is TOML or else text: `heartbeat=100`, `a.b=x`.
pub(super) fn assignment(text: &str) -> Result<(Vec<String>, Value), Failure> {
    let wrong = || Failure::Usage(format!("{text:?} is not of the form NAME=VALUE"));
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
    let parsed = format!("v = {value}").parse::<Table>().ok().and_then(|mut table| table.remove("v"));
    let value = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
    Ok((name.split('.').map(str::to_owned).collect(), value))
}

/// Puts a value at a path of tables.
pub(super) fn put(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [name] => {
            table.insert(name.clone(), value);
        }
        [name, rest @ ..] => {
            let inner = table.entry(name.clone()).or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

fn merge(under: &mut Table, over: Table) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            (_, value) => {
                under.insert(name, value);
            }
        }
    }
}

fn collect(table: &Table, path: &mut Vec<String>, settings: &mut Vec<(Vec<String>, Kind)>) {
    for (name, value) in table {
        path.push(name.clone());
        match value {
            Value::Table(inner) => collect(inner, path, settings),
            other => settings.extend(Kind::of(other).map(|kind| (path.clone(), kind))),
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        http: String,
        id: u64,
        insecure: bool,
        join: Option<String>,
        raft: Raft,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Raft {
        heartbeat_ms: u64,
    }

    impl Default for Settings {
        fn default() -> Self {
            Self { http: "default".into(), id: 1, insecure: false, join: None, raft: Raft { heartbeat_ms: 100 } }
        }
    }

    fn resolve(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Settings, Failure> {
        let mut table = Table::new();
        for flag in flags {
            let (path, value) = assignment(flag)?;
            put(&mut table, &path, value);
        }
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Layers { file: file.parse().unwrap(), environment, flags: table }.resolve(&[("join", Kind::Text)])
    }

    #[test]
    fn the_stronger_layer_wins() {
        assert_eq!(resolve("", &[], &[]).unwrap(), Settings::default());
        let file = "http = 'file'\n[raft]\nheartbeat_ms = 5";
        assert_eq!(resolve(file, &[], &[]).unwrap().http, "file");
        let environment = [("QUORATE_HTTP", "env"), ("QUORATE_RAFT_HEARTBEAT_MS", "7"), ("QUORATE_JOIN", "j")];
        let settings = resolve(file, &environment, &[]).unwrap();
        assert_eq!((settings.http.as_str(), settings.raft.heartbeat_ms), ("env", 7));
        assert_eq!(settings.join.as_deref(), Some("j"));
        let settings = resolve(file, &environment, &["http=flag", "raft.heartbeat_ms=9"]).unwrap();
        assert_eq!((settings.http.as_str(), settings.raft.heartbeat_ms), ("flag", 9));
    }

    #[test]
    fn mistakes_are_usage_errors_that_name_the_place() {
        for (file, environment, flags, word) in [
            ("htpp = 'x'", &[][..], &[][..], "htpp"),
            ("", &[("QUORATE_ID", "one")], &[], "QUORATE_ID"),
            ("", &[("QUORATE_INSECURE", "maybe")], &[], "QUORATE_INSECURE"),
            ("", &[], &["id=x"], "id"),
            ("", &[], &["nonsense"], "NAME=VALUE"),
        ] {
            let failure = resolve(file, environment, flags).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            assert!(failure.to_string().contains(word), "{failure}");
        }
        assert!(resolve("", &[("QUORATE_JOB_ID", "7"), ("QUORATE_SERVER", "x")], &[]).is_ok());
    }

    #[test]
    fn text_needs_no_quotes() {
        assert_eq!(assignment("http=127.0.0.1:7070").unwrap().1, Value::String("127.0.0.1:7070".into()));
        assert_eq!(assignment("id=3").unwrap().1, Value::Integer(3));
    }
}
