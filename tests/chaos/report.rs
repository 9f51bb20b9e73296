//! What happened, as one can read it afterwards.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// An accepted write in each of these makes the cluster available.
const WINDOW: Duration = Duration::from_millis(100);

/// One fault, or two at once, from its injection until clients were calm again.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) faults: String,
    /// How often it really happened: deaths, lost packets, injected errors.
    pub(crate) happened: u64,
    pub(crate) writes: usize,
    pub(crate) windows: usize,
    pub(crate) windows_with_write: usize,
    pub(crate) longest_gap: Duration,
}

impl Round {
    /// From when writes were acknowledged in a span of time.
    pub(crate) fn of(faults: String, happened: u64, span: (Instant, Instant), writes: &[Instant]) -> Self {
        let (from, to) = span;
        let within: Vec<Duration> =
            writes.iter().filter(|at| (from..to).contains(at)).map(|at| at.duration_since(from)).collect();
        let whole = to.duration_since(from);
        let window = |at: &Duration| at.as_millis() / WINDOW.as_millis();
        let open: std::collections::BTreeSet<u128> = within.iter().map(window).collect();
        let ends = [&[Duration::ZERO], &within[..], &[whole]].concat();
        Self {
            faults,
            happened,
            writes: within.len(),
            windows: window(&whole) as usize + 1,
            windows_with_write: open.len(),
            longest_gap: ends.windows(2).map(|two| two[1].saturating_sub(two[0])).max().unwrap(),
        }
    }
}

/// What all clients of all scenes did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operations {
    pub(crate) writes: usize,
    pub(crate) repeats: usize,
    pub(crate) reads: usize,
    pub(crate) arrays: usize,
    pub(crate) retries: usize,
    /// Looks at event streams whose history was gone, after a start from a snapshot.
    pub(crate) gone: usize,
}

impl std::ops::AddAssign for Operations {
    fn add_assign(&mut self, other: Self) {
        self.writes += other.writes;
        self.repeats += other.repeats;
        self.reads += other.reads;
        self.arrays += other.arrays;
        self.retries += other.retries;
        self.gone += other.gone;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) took: Duration,
    pub(crate) rounds: Vec<Round>,
    pub(crate) operations: Operations,
    pub(crate) skipped: Vec<String>,
    pub(crate) violations: Vec<String>,
}

impl Report {
    pub(crate) fn file() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/chaos-report.md")
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        let Operations { writes, repeats, reads, arrays, retries, gone } = self.operations;
        let (open, all) = share(self.rounds.iter());
        let _ = writeln!(text, "# Chaos: real processes, real faults\n");
        let _ = writeln!(text, "Seed {}, {} s, {} rounds.\n", self.seed, self.took.as_secs(), self.rounds.len());
        let _ =
            writeln!(text, "- accepted writes: {writes}, sent twice: {repeats}, array jobs: {arrays}, reads: {reads}");
        let _ = writeln!(text, "- answers and errors that clients tried again after: {retries}");
        let _ = writeln!(text, "- looks at event streams whose start was gone after a start from a snapshot: {gone}");
        let _ = writeln!(
            text,
            "- availability: {} of the {} ms windows during faults had an accepted write\n",
            percent(open, all),
            WINDOW.as_millis()
        );
        let _ = writeln!(text, "The write gap is the longest time without an accepted write in a round.\n");
        let _ = writeln!(text, "| fault | rounds | happened | writes | availability | gap p50 ms | p99 ms | max ms |");
        let _ = writeln!(text, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        for (fault, rounds) in self.by_fault() {
            let _ = writeln!(text, "{}", row(fault, &rounds));
        }
        let _ = writeln!(text, "\n## Skipped\n\n{}", list(&self.skipped));
        let _ = writeln!(text, "\n## Violations\n\n{}", list(&self.violations));
        text
    }

    fn by_fault(&self) -> BTreeMap<&str, Vec<&Round>> {
        let mut by_fault: BTreeMap<&str, Vec<&Round>> = BTreeMap::new();
        for round in &self.rounds {
            by_fault.entry(&round.faults).or_default().push(round);
        }
        by_fault
    }
}

fn row(fault: &str, rounds: &[&Round]) -> String {
    let mut gaps: Vec<u128> = rounds.iter().map(|round| round.longest_gap.as_millis()).collect();
    gaps.sort_unstable();
    let (open, all) = share(rounds.iter().copied());
    let happened: u64 = rounds.iter().map(|round| round.happened).sum();
    let writes: usize = rounds.iter().map(|round| round.writes).sum();
    let (p50, p99, max) = (rank(&gaps, 50), rank(&gaps, 99), rank(&gaps, 100));
    format!("| {fault} | {} | {happened} | {writes} | {} | {p50} | {p99} | {max} |", rounds.len(), percent(open, all))
}

/// The nearest rank.
fn rank(sorted: &[u128], percent: usize) -> u128 {
    sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)]
}

fn share<'a>(rounds: impl Iterator<Item = &'a Round>) -> (usize, usize) {
    rounds.fold((0, 0), |(open, all), round| (open + round.windows_with_write, all + round.windows))
}

fn percent(part: usize, whole: usize) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

fn list(items: &[String]) -> String {
    match items {
        [] => "none".into(),
        some => some.iter().map(|item| format!("- {item}")).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn a_round_knows_its_gaps_and_windows() {
    let began = Instant::now();
    let at = |ms: u64| began + Duration::from_millis(ms);
    let writes = [at(10), at(20), at(450), at(460), at(2000)];
    let round = Round::of("f".into(), 1, (began, at(1000)), &writes);
    assert_eq!((round.writes, round.windows_with_write), (4, 2), "{round:?}");
    assert_eq!(round.longest_gap, Duration::from_millis(540), "the end counts too");
    let silent = Round::of("f".into(), 1, (began, at(1000)), &[]);
    assert_eq!((silent.windows_with_write, silent.longest_gap), (0, Duration::from_secs(1)));
    assert_eq!((rank(&[1, 2, 3, 4], 50), rank(&[1, 2, 3, 4], 99), rank(&[7], 50)), (2, 4, 7));
}
