//! docs/limits.md names every bound of the code with its value, and no others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How the names of bounds end.
const ENDS: &[&str] = &["_MAX", "_TIMEOUT", "_WAIT", "_RETENTION", "_IN_FLIGHT", "_SOFT", "_LONGEST", "_PER_FRAME"];
/// Crates whose bounds users meet.
const CRATES: &[&str] = &["types", "state", "placement", "consensus", "replica", "worker", "client"];
/// Which of them need no row, and why.
const EXCUSED: &[(&str, &str)] = &[
    ("GAP_MAX", "how far apart two numbers may lie that share a record"),
    ("QUOTE_CHARS_MAX", "how much of a strange answer an error quotes"),
    ("REFUSAL_BYTES_MAX", "how much of a refusal is read"),
    ("ANSWER_BYTES_MAX", "what the watchdog and the client read of an answer; both only protect themselves"),
    ("BACKOFF_MAX", "a pause between two tries"),
    ("PAUSE_MAX", "a pause between two tries"),
    ("DIAL_PAUSE_LONGEST", "a pause between two tries"),
    ("DIAL_PAUSE_MAX", "a pause between two tries"),
    ("SLEEP_MAX", "how long the leader's clockwork sleeps at most"),
    ("KILL_PATIENCE_MAX", "a share of the lease"),
    ("RAFT_WAIT", "how long a question about freshness waits before it gives what is known"),
    ("pid_namespace", "a switch"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(below: &Path, found: &mut Vec<(PathBuf, String)>) {
    let mut paths: Vec<PathBuf> = fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            files(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// A bound as the code has it.
#[derive(Debug)]
struct Bound {
    place: String,
    name: String,
    expression: String,
}

fn bounds() -> Vec<Bound> {
    let mut found = Vec::new();
    for name in CRATES {
        let mut sources = Vec::new();
        files(&root().join("crates").join(name).join("src"), &mut sources);
        for (path, text) in sources {
            let place = path.strip_prefix(root()).unwrap().display().to_string();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let all = place.ends_with("/limits.rs");
            found.extend(constants(text).filter(|(name, _)| all || is_bound(name)).map(|(name, expression)| Bound {
                place: place.clone(),
                name,
                expression,
            }));
            found.extend(fields(text).into_iter().map(|(name, expression)| Bound {
                place: place.clone(),
                name,
                expression,
            }));
        }
    }
    found
}

fn is_bound(name: &str) -> bool {
    ENDS.iter().any(|end| name.ends_with(end))
}

/// `const NAME: type = expression;` of numbers and times.
fn constants(text: &str) -> impl Iterator<Item = (String, String)> {
    text.lines().filter_map(|line| {
        let rest =
            line.trim_start().trim_start_matches("pub").trim_start_matches("(crate)").trim_start_matches("(super)");
        let (name, rest) = rest.trim_start().strip_prefix("const ")?.split_once(": ")?;
        let (kind, expression) = rest.strip_suffix(';')?.split_once(" = ")?;
        let counts = ["usize", "u64", "u32", "u16", "u8", "Duration", "Span"].contains(&kind);
        counts.then(|| (name.to_owned(), expression.to_owned()))
    })
}

/// The defaults of a struct called `Limits` or `Bounds`.
fn fields(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for start in ["impl Default for Limits {", "impl Default for Bounds {"] {
        let Some((_, rest)) = text.split_once(start) else { continue };
        let body = rest.split_once("\n}").map_or(rest, |(body, _)| body);
        let pairs =
            body.split(['{', '}', '\n']).flat_map(|line| line.split(", ")).filter_map(|pair| pair.split_once(": "));
        found.extend(pairs.map(|(name, it)| (name.trim().to_owned(), it.trim_end_matches([' ', ',']).to_owned())));
    }
    found
}

/// A number, or a time in milliseconds.
fn value(expression: &str, known: &BTreeMap<String, String>) -> Option<u128> {
    for (call, unit) in [("from_secs(", 1000), ("from_millis(", 1), ("from_mins(", 60_000), ("from_hours(", 3_600_000)]
    {
        if let Some((_, inner)) = expression.split_once(call) {
            return Some(value(inner.strip_suffix(')')?, known)? * unit);
        }
    }
    if let Some((left, right)) = expression.split_once(" << ") {
        return Some(value(left, known)? << value(right, known)?);
    }
    if let Some((left, right)) = expression.split_once(" * ") {
        return Some(value(left, known)? * value(right, known)?);
    }
    let digits: String = expression.chars().filter(|c| *c != '_').collect();
    match digits.parse() {
        Ok(number) => Some(number),
        Err(_) => value(known.get(expression).filter(|other| *other != expression)?, known),
    }
}

/// A name in the table, with all quantities and crates that stand beside it.
struct Row {
    name: String,
    quantities: Vec<u128>,
    place: String,
}

impl Row {
    fn is_about(&self, bound: &Bound) -> bool {
        let home = |name: &&&str| self.place.split([' ', ',']).any(|word| word == **name);
        // A setting, say, is of no crate.
        self.name == bound.name
            && (bound.place.split('/').nth(1).is_some_and(|own| home(&&own)) || !CRATES.iter().any(|name| home(&name)))
    }
}

fn table() -> Vec<Row> {
    let text = fs::read_to_string(root().join("docs/limits.md")).unwrap();
    let mut rows: Vec<Row> = Vec::new();
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [names, values, place, ..] = cells[..] else { continue };
        // Headings name the struct whose fields follow.
        if names.starts_with("| **") {
            continue;
        }
        for name in names.split('`').skip(1).step_by(2) {
            // `OUTPUT_TAIL_BYTES_DEFAULT`, `_MAX`
            let name = match (name.strip_prefix('_'), rows.last()) {
                (Some(end), Some(last)) => format!("{}_{end}", last.name.rsplit_once('_').unwrap().0),
                _ => name.to_owned(),
            };
            rows.push(Row { name, quantities: quantities(values), place: place.to_owned() });
        }
    }
    rows
}

/// `16,384`, `64 MiB`, `10 s`, `2⁵³`: numbers, bytes and milliseconds.
fn quantities(text: &str) -> Vec<u128> {
    let text = text.replace("2⁵³", &(1_u64 << 53).to_string()).replace("ten years", &format!("{} days", 10 * 366));
    let words: Vec<&str> = text.split([' ', ';']).filter(|word| !word.is_empty()).collect();
    let number = |word: &str| word.trim_end_matches(',').replace(',', "").parse::<u128>().ok();
    let quantity = |(nth, word): (usize, &&str)| {
        let unit = match words.get(nth + 1).map_or("", |next| next.trim_end_matches(',')) {
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "s" => 1000,
            "minute" | "minutes" => 60_000,
            "hour" | "hours" => 3_600_000,
            "day" | "days" => 24 * 3_600_000,
            _ => 1,
        };
        Some(number(word)? * unit)
    };
    words.iter().enumerate().filter_map(quantity).collect()
}

#[test]
fn quantities_are_read() {
    assert_eq!(quantities("4,096; 128 KiB"), [4096, 128 << 10]);
    assert_eq!(quantities("50 ms, doubled up to 1 s"), [50, 1000]);
    assert_eq!(quantities("2⁵³"), [1 << 53]);
    assert_eq!(quantities("10,000 jobs; 7 days"), [10_000, 7 * 24 * 3_600_000]);
    let known = BTreeMap::from([("BASE".to_owned(), "4 << 20".to_owned())]);
    assert_eq!(value("8 * BASE", &known), Some(32 << 20));
    assert_eq!(value("Duration::from_secs(10 * 60)", &known), Some(600_000));
    assert_eq!(value("BASE_UNKNOWN", &known), None);
}

#[test]
fn the_page_of_limits_says_what_the_code_says() {
    let (bounds, table) = (bounds(), table());
    assert!(bounds.len() > 100 && table.len() > 90, "{} bounds, {} in the table", bounds.len(), table.len());
    let known = bounds.iter().map(|bound| (bound.name.clone(), bound.expression.clone())).collect();
    let mut excused: BTreeMap<&str, &str> = EXCUSED.iter().copied().collect();
    let mut complaints = Vec::new();
    for bound in &bounds {
        let Bound { place, name, expression } = bound;
        let reason = EXCUSED.iter().find(|(excused, _)| excused == name);
        excused.remove(name.as_str());
        let said: Vec<u128> =
            table.iter().filter(|row| row.is_about(bound)).flat_map(|row| row.quantities.clone()).collect();
        match value(expression, &known) {
            _ if said.is_empty() && reason.is_some() => {}
            _ if said.is_empty() => complaints.push(format!("{place}: {name} = {expression} has no row")),
            Some(is) if said.contains(&is) => {}
            Some(_) => complaints.push(format!("{place}: {name} = {expression}, and the table says {said:?}")),
            None => complaints.push(format!("{place}: {name} = {expression} is not understood here")),
        }
    }
    let mut everything = String::new();
    for name in CRATES {
        let mut sources = Vec::new();
        files(&root().join("crates").join(name).join("src"), &mut sources);
        everything.extend(sources.into_iter().map(|(_, text)| text));
    }
    let is_there =
        |name: &str| everything.contains(&format!("const {name}:")) || everything.contains(&format!(" {name}: "));
    complaints.extend(
        table
            .iter()
            .filter(|row| !is_there(&row.name))
            .map(|row| format!("docs/limits.md: no {} in the code", row.name)),
    );
    complaints.extend(excused.keys().map(|name| format!("{name}: gone; take it off EXCUSED")));
    assert!(complaints.is_empty(), "docs/limits.md and the code differ:\n  {}\n", complaints.join("\n  "));
}
