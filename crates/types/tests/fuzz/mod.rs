//! Fuzzing as an ordinary test: valid inputs are damaged at random and given to a target, which panics when
//! something is wrong. Each crate with targets includes this file as its module `fuzz`.
//!
//! A target's corpus is the folder `tests/corpus/<target>` of its crate. Files called `valid-*` must be accepted
//! as they are; the others once made a target fail. `QUORATE_FUZZ_SECONDS` bounds each target, and
//! `QUORATE_FUZZ_SEED` makes the input that failed the first one. What ends the whole process leaves the seed of its
//! input in `quorate-fuzz-<target>-<first seed>.seed` in the folder for temporary files.
#![allow(dead_code, reason = "each crate uses its part")]

use std::collections::hash_map::RandomState;
use std::env;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::os::unix::fs::FileExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::{Duration, Instant};

const SECONDS_DEFAULT: u64 = 2;
/// Fewer inputs say nothing, however slow the machine is.
const INPUTS_MIN: u64 = 100;
/// For one input: a thousand times what any needs, so that a busy machine is not taken for a slow target.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);
/// Damage piles up to this many times on one input.
const MUTATIONS_MAX: usize = 4;
/// Inputs do not grow beyond this.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// What a target made of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    Refused,
}

impl Verdict {
    pub(crate) fn accepted_if(accepted: bool) -> Self {
        if accepted { Self::Accepted } else { Self::Refused }
    }
}

/// A target's name and the valid inputs that it starts from.
pub(crate) struct Fuzz {
    name: &'static str,
    recorded: Vec<(String, Vec<u8>)>,
    seeds: Vec<Vec<u8>>,
}

impl Fuzz {
    /// A target with the inputs of its corpus.
    pub(crate) fn target(name: &'static str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("read {}: {e}", folder.display()));
        let read = |path: &Path| {
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            (file, fs::read(path).unwrap())
        };
        let mut recorded: Vec<_> = entries.map(|entry| read(&entry.unwrap().path())).collect();
        recorded.sort();
        assert!(!recorded.is_empty(), "{} is empty", folder.display());
        Self { name, recorded, seeds: Vec::new() }
    }

    /// Adds valid inputs that are made by code.
    pub(crate) fn and(mut self, seeds: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.seeds.extend(seeds);
        self
    }

    /// The inputs that it starts from.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &[u8]> {
        self.recorded.iter().map(|(_, input)| input).chain(&self.seeds).map(Vec::as_slice)
    }

    /// Tries the valid inputs as they are, then damaged ones until the time is over.
    pub(crate) fn run(
        mut self,
        mutate: impl Fn(&mut Rng, &[Vec<u8>]) -> Vec<u8>,
        mut attempt: impl FnMut(&[u8]) -> Verdict,
    ) {
        for seed in &self.seeds {
            assert_eq!(attempt(seed), Verdict::Accepted, "{}: {}", self.name, seed.escape_ascii());
        }
        for (file, input) in &self.recorded {
            let verdict = attempt(input);
            assert!(verdict == Verdict::Accepted || !file.starts_with("valid-"), "{}: {file} is refused", self.name);
        }
        self.seeds.extend(self.recorded.drain(..).map(|(_, input)| input));
        let (budget, first) = (budget(), first_seed());
        let present = env::temp_dir().join(format!("quorate-fuzz-{}-{first}.seed", self.name));
        let seeds = File::create(&present).unwrap();
        let (started, mut tried, mut accepted) = (Instant::now(), 0, 0);
        while started.elapsed() < budget {
            let seed = first.wrapping_add(tried);
            seeds.write_all_at(format!("{seed:020}\n").as_bytes(), 0).unwrap();
            let input = mutate(&mut Rng(seed), &self.seeds);
            let began = Instant::now();
            let verdict = panic::catch_unwind(AssertUnwindSafe(|| attempt(&input)));
            let verdict = verdict.unwrap_or_else(|panic| {
                self.complain(seed, &input);
                panic::resume_unwind(panic)
            });
            if began.elapsed() > INPUT_TIME_MAX {
                self.complain(seed, &input);
                panic!("{}: one input took {:?}", self.name, began.elapsed());
            }
            tried += 1;
            accepted += u64::from(verdict == Verdict::Accepted);
        }
        fs::remove_file(present).unwrap();
        eprintln!("fuzz {}: {tried} inputs, {accepted} accepted, from seed {first}", self.name);
        assert!(tried >= INPUTS_MIN, "{}: only {tried} inputs in {budget:?}", self.name);
        assert!(accepted > 0, "{}: none of {tried} inputs was accepted", self.name);
    }

    fn complain(&self, seed: u64, input: &[u8]) {
        let path = env::temp_dir().join(format!("quorate-fuzz-{}-{seed}", self.name));
        let kept = fs::write(&path, input).map_or_else(|e| e.to_string(), |()| path.display().to_string());
        eprintln!("fuzz {}: QUORATE_FUZZ_SEED={seed} repeats this input of {} bytes ({kept}):", self.name, input.len());
        eprintln!("{}", input.escape_ascii());
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|e| panic!("{variable}={text}: {e}")))
}

fn budget() -> Duration {
    Duration::from_secs(number("QUORATE_FUZZ_SECONDS").unwrap_or(SECONDS_DEFAULT))
}

fn first_seed() -> u64 {
    number("QUORATE_FUZZ_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 1)
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    pub(crate) fn seed<'a>(&mut self, seeds: &'a [Vec<u8>]) -> &'a [u8] {
        &seeds[self.below(seeds.len())]
    }
}

/// One of the seeds, damaged somewhere.
pub(crate) fn damage(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = rng.seed(seeds).to_vec();
    for _ in 0..=rng.below(MUTATIONS_MAX) {
        damage_once(rng, &mut bytes, seeds);
    }
    bytes
}

/// Like [`damage`], of frames with a big-endian length of four bytes. Half of the time the damage is within one
/// frame, whose length is made to fit.
pub(crate) fn damage_frames(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let (frames, whole) = split_frames(rng.seed(seeds));
    if frames.is_empty() || !whole || rng.one_in(2) {
        return damage(rng, seeds);
    }
    let damaged = rng.below(frames.len());
    let mut stream = Vec::new();
    for (at, frame) in frames.into_iter().enumerate() {
        let payload = if at == damaged { damage(rng, &[frame]) } else { frame };
        stream.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        stream.extend_from_slice(&payload);
    }
    stream
}

/// The frames at the front of a stream, and whether that is all of it.
fn split_frames(mut stream: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut frames = Vec::new();
    while let Some((len, rest)) = stream.split_first_chunk::<4>() {
        let Some((frame, rest)) = rest.split_at_checked(u32::from_be_bytes(*len) as usize) else { break };
        frames.push(frame.to_vec());
        stream = rest;
    }
    (frames, stream.is_empty())
}

fn damage_once(rng: &mut Rng, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = rng.below(bytes.len());
    let end = at + rng.below((bytes.len() - at).min(64) + 1);
    match rng.below(9) {
        0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << rng.below(8),
        2 if !bytes.is_empty() => bytes[at] = rng.pick(&[0, 1, 0x7f, 0x80, 250, 251, 252, 253, 255]),
        3 if !bytes.is_empty() => bytes[at] = rng.next() as u8,
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(at..end)),
        6 if bytes.len() < INPUT_BYTES_MAX => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        7 => {
            let other = rng.seed(seeds);
            let from = rng.below(other.len());
            let upto = from + rng.below((other.len() - from).min(64) + 1);
            bytes.splice(at..end, other[from..upto].iter().copied());
        }
        _ => {
            let number = large_number(rng);
            let end = (at + usize::from(rng.one_in(2))).min(bytes.len());
            bytes.splice(at..end, number);
        }
    }
}

/// A number that is no plausible length, as the encodings in use write it.
fn large_number(rng: &mut Rng) -> Vec<u8> {
    let value: u64 = rng.pick(&[u64::from(u32::MAX), i64::MAX as u64, u64::MAX, 1 << 62, 1 << 53]);
    match rng.below(4) {
        0 => (value as u32).to_be_bytes().to_vec(),
        1 => (value as u32).to_le_bytes().to_vec(),
        2 => [&[252][..], &(value as u32).to_le_bytes()].concat(),
        _ => [&[253][..], &value.to_le_bytes()].concat(),
    }
}
