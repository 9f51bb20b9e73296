//! Damage to JSON: at a place of its tree, so that most of it still has the right shape, or to its text.

use serde_json::{Map, Value, json};

use crate::fuzz::{self, Rng};

/// Deeper than any parser should follow.
const DEPTH: usize = 300;

/// What people and programs get wrong in texts.
const TEXTS: &[&str] = &[
    "",
    " ",
    ".",
    "..",
    "../..",
    "/",
    "a\0b",
    "ü",
    "\u{202e}abc",
    "\u{feff}",
    "😀",
    "e\u{301}",
    "\u{10ffff}",
    "0",
    "0s",
    "-1s",
    "1ns",
    "10000years",
    "584542046years",
    "18446744073709551615s",
    "1TiB",
    "9007199254740992",
    "16384TiB",
    "=",
    "main",
    "continue",
    "noop",
];

/// What is no JSON, or hardly.
const TOKENS: &[&str] = &[
    "1e400",
    "-1e400",
    "1e-400",
    "-0",
    "-0.0",
    "18446744073709551616",
    "99999999999999999999999999999999",
    "0.1e1",
    "01",
    "NaN",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\"\\udc00\\ud800\"",
    "null",
    "{}",
    "[]",
    "{\"a\":1,\"a\":2}",
    "\u{feff}",
    ",",
    ":",
    "\"",
];

/// One of the seeds, damaged somewhere.
pub(crate) fn damage(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let parsed = serde_json::from_slice::<Value>(rng.seed(seeds));
    let (Ok(mut document), false) = (parsed, rng.one_in(5)) else { return fuzz::damage(rng, seeds) };
    for _ in 0..=rng.below(3) {
        damage_tree(rng, &mut document);
    }
    let mut text = document.to_string();
    if rng.one_in(6) {
        damage_text(rng, &mut text);
    }
    text.into_bytes()
}

fn damage_tree(rng: &mut Rng, value: &mut Value) {
    let stop = rng.one_in(12);
    match value {
        Value::Object(map) if !stop && !map.is_empty() => damage_map(rng, map),
        Value::Array(items) if !stop && !items.is_empty() => {
            let at = rng.below(items.len());
            match rng.below(8) {
                0 => drop(items.remove(at)),
                1 => items.insert(at, items[at].clone()),
                2 => items.insert(at, scalar(rng)),
                _ => damage_tree(rng, &mut items[at]),
            }
        }
        _ => *value = if rng.one_in(8) { json!([value.clone()]) } else { scalar(rng) },
    }
}

fn damage_map(rng: &mut Rng, map: &mut Map<String, Value>) {
    let keys: Vec<String> = map.keys().cloned().collect();
    let key = keys[rng.below(keys.len())].clone();
    match rng.below(10) {
        0 => drop(map.remove(&key)),
        1 => {
            let moved = map.remove(&key).unwrap_or_default();
            map.insert(rng.pick(TEXTS).to_owned(), moved);
        }
        2 => {
            let copied = map[&keys[rng.below(keys.len())]].clone();
            map.insert(key, copied);
        }
        _ => damage_tree(rng, &mut map[&key]),
    }
}

fn scalar(rng: &mut Rng) -> Value {
    match rng.below(8) {
        0 => Value::Null,
        1 => json!(rng.one_in(2)),
        2 => json!(rng.next()),
        3 => json!(rng.pick(&[0, 1, 100, 101, 255, 256, 1000, 1001, u64::from(u32::MAX), 1 << 53, u64::MAX])),
        4 => json!(-(rng.below(1000) as i64)),
        5 => json!(rng.pick(&[0.0005, 0.001, 0.1, 1.5, 1000.0, 1e9, 9_007_199_254_740.99, 1e18, 1e300])),
        6 => json!(rng.below(5000) as f64 / 1000.0),
        _ => json!(rng.pick(TEXTS)),
    }
}

fn damage_text(rng: &mut Rng, text: &mut String) {
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let Some(at) = places.get(rng.below(places.len())).copied() else { return };
    match rng.below(4) {
        0 => text.insert_str(at, &"[".repeat(DEPTH)),
        1 => text.insert_str(at, &"{\"tasks\":".repeat(DEPTH)),
        2 => text.insert_str(at, rng.pick(TOKENS)),
        _ => {
            // A whole value, up to the next sign that ends one.
            let rest = text[at..].find([',', '}', ']']).map_or(text.len(), |len| at + len);
            text.replace_range(at..rest, rng.pick(TOKENS));
        }
    }
}
