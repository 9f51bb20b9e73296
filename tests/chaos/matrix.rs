//! The order of faults, the rounds, and what makes a run count.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::chaos::chance::Chance;
use crate::chaos::fault::{MATRIX, Place, Row, SHARE, row_named};
use crate::chaos::means::Need;
use crate::chaos::report::{Operations, Report, Round};
use crate::chaos::scene::{self, SNAPSHOT_ENTRIES, SNAPSHOT_ENTRIES_MANY, Scene, Shape};
use crate::support::namespaces::on_thread;
use crate::support::{PATIENCE, note, sys};

/// Writes before a fault, so that it hits a cluster that works.
const WRITES_BEFORE: usize = 10;
/// Faults that one cluster has to bear in the matrix, one after the other.
const FAULTS_PER_SCENE: usize = 4;
/// One round in so many is a mixed one.
const MIXED_EVERY: u64 = 3;

type Shared = Arc<Mutex<Report>>;

/// What happens at once in one round: one fault, or one at the replicas and one at the workers.
type Mix = Vec<&'static Row>;

/// The bounded share of every test run.
pub(crate) fn share(seed: u64) {
    named(seed, SHARE);
}

/// These faults, in this order.
pub(crate) fn named(seed: u64, names: &[&str]) {
    let report = new_report(seed);
    let began = Instant::now();
    let rows: Vec<&Row> = names.iter().map(|name| row_named(name)).collect();
    let rows = possible(&rows, &report);
    let mut chance = Chance::new(seed);
    for replicas in [3, 5] {
        let mixes: Vec<Mix> = rows.iter().filter(|row| row.replicas == replicas).map(|row| vec![*row]).collect();
        if !mixes.is_empty() {
            play(mixes, Shape { replicas, snapshot_entries: SNAPSHOT_ENTRIES }, &report, Chance::new(chance.number()));
        }
    }
    let mut report = report.lock().unwrap();
    report.took = began.elapsed();
    is_telling(&report);
    summarize(&report);
}

/// The whole matrix in random order, again and again until the time is over.
pub(crate) fn whole(seed: u64, minutes: f64) {
    let report = new_report(seed);
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let began = Instant::now();
    let mut chance = Chance::new(seed);
    let rows = possible(&MATRIX.iter().collect::<Vec<_>>(), &report);
    let mut first = true;
    while first || Instant::now() < end {
        first = false;
        for scene in order(&rows, &mut chance) {
            let chance = Chance::new(chance.number());
            if Instant::now() < end {
                survive(scene, &report, chance);
            }
            let mut report = report.lock().unwrap();
            report.took = began.elapsed();
            std::fs::write(Report::file(), report.markdown()).unwrap();
        }
    }
    let report = report.lock().unwrap();
    summarize(&report);
    note(&format!("the report is {}", Report::file().display()));
    assert!(report.violations.is_empty(), "seed {seed}:\n{}", report.violations.join("\n"));
    is_telling(&report);
}

fn new_report(seed: u64) -> Shared {
    note(&format!("chaos: QUORATE_CHAOS_SEED={seed}"));
    Arc::new(Mutex::new(Report { seed, ..Report::default() }))
}

/// Those that this machine can make; the others are named.
fn possible(rows: &[&'static Row], report: &Shared) -> Vec<&'static Row> {
    let can = |row: &&&'static Row| match row.absent() {
        None => true,
        Some(what) => {
            let line = format!("{}: needs {what}", row.name);
            note(&format!("skipped: {line}"));
            report.lock().unwrap().skipped.push(line);
            false
        }
    };
    rows.iter().filter(can).copied().collect()
}

/// All of them, cut into scenes.
fn order(rows: &[&'static Row], chance: &mut Chance) -> Vec<Vec<Mix>> {
    let mut rows = rows.to_vec();
    chance.shuffle(&mut rows);
    let (three, others): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.replicas == 3);
    let mixes: Vec<Mix> = three.iter().map(|row| mix(row, &rows, chance)).collect();
    let mut scenes: Vec<Vec<Mix>> = mixes.chunks(FAULTS_PER_SCENE).map(<[Mix]>::to_vec).collect();
    scenes.extend(others.into_iter().map(|row| vec![vec![row]]));
    chance.shuffle(&mut scenes);
    scenes
}

/// Now and then a second fault at the same time, at the workers.
fn mix(row: &'static Row, rows: &[&'static Row], chance: &mut Chance) -> Mix {
    let uses_network = |row: &Row| row.needs.contains(&Need::Network);
    // A heal of the network heals all of it.
    let fits = |other: &&&'static Row| other.place == Place::Workers && !(uses_network(row) && uses_network(other));
    let others: Vec<&'static Row> = rows.iter().filter(fits).copied().collect();
    if row.place == Place::Replicas && !others.is_empty() && chance.below(MIXED_EVERY) == 0 {
        // The workers first: who kills all replicas leaves nobody to ask who leads.
        return vec![chance.pick(&others), row];
    }
    vec![row]
}

/// Plays a scene; what goes wrong is noted, and the run goes on.
fn survive(mixes: Vec<Mix>, report: &Shared, mut chance: Chance) {
    let snapshot_entries = chance.pick(&[SNAPSHOT_ENTRIES, SNAPSHOT_ENTRIES_MANY]);
    let shape = Shape { replicas: mixes[0][0].replicas, snapshot_entries };
    let names: Vec<String> = mixes.iter().map(name_of).collect();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(mixes, shape, report, chance))) {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
        report.lock().unwrap().violations.push(format!("in the scene of {}: {said}", names.join(", ")));
    }
}

fn name_of(mix: &Mix) -> String {
    mix.iter().map(|row| row.name).collect::<Vec<_>>().join(" + ")
}

/// Plays one scene on a thread of its own, whose mounts and network are nobody else's and end with it.
fn play(mixes: Vec<Mix>, shape: Shape, report: &Shared, chance: Chance) {
    let made = Arc::new(Mutex::new(None));
    let (making, report) = (made.clone(), report.clone());
    let enter = move || {
        if sys::is_root() {
            sys::own_mounts()?;
        }
        if let Ok(network) = scene::network() {
            network.enter()?;
            *making.lock().unwrap() = Some(network);
        }
        Ok(())
    };
    on_thread(enter, move || async move {
        let network = made.lock().unwrap().take();
        let mut scene = Scene::start(shape, network, chance).await;
        for mix in &mixes {
            let round = round(&mut scene, mix).await;
            note(&format!("{round:?}"));
            report.lock().unwrap().rounds.push(round);
        }
        let operations = scene.load.seen(|seen| Operations {
            writes: seen.writes.len(),
            repeats: seen.repeats,
            reads: seen.reads,
            arrays: seen.arrays.len(),
            retries: seen.retries,
            gone: scene.gone,
        });
        scene.finish().await;
        report.lock().unwrap().operations += operations;
    });
}

async fn round(scene: &mut Scene, mix: &Mix) -> Round {
    let name = name_of(mix);
    scene.load.goes_on(WRITES_BEFORE, PATIENCE).await;
    note(&format!("chaos: {name}"));
    let hits_workers = mix.iter().any(|row| row.place == Place::Workers);
    let watched = if hits_workers { Some(scene.occupy_workers().await) } else { None };
    let began = Instant::now();
    let mut faults: Vec<_> = mix.iter().map(|row| (row.make)()).collect();
    for fault in &mut faults {
        fault.inject(scene).await;
    }
    tokio::time::sleep(mix.iter().map(|row| row.lasts).max().unwrap()).await;
    let mut happened = u64::MAX;
    for fault in faults.iter_mut().rev() {
        happened = happened.min(fault.heal(scene).await);
    }
    scene.settle().await;
    assert!(happened > 0, "{name}: the fault did not happen");
    let interrupted = watched.map(|job| scene.interrupted(job));
    assert!(interrupted != Some(0), "{name}: no attempt was interrupted");
    scene.load.seen(|seen| Round::of(name, happened, (began, scene.calm_since), &seen.writes))
}

/// Fails a run in which too little happened to mean anything.
fn is_telling(report: &Report) {
    let Operations { writes, repeats, reads, arrays, .. } = report.operations;
    let rounds = report.rounds.len();
    assert!(rounds > 0, "no fault can be made on this machine");
    let enough = writes >= rounds * 20 && repeats >= rounds && reads >= rounds * 5 && arrays >= rounds;
    assert!(enough, "too few operations for {rounds} rounds: {:?}", report.operations);
}

fn summarize(report: &Report) {
    let (rounds, took) = (report.rounds.len(), report.took.as_secs());
    note(&format!("chaos: {rounds} rounds in {took} s, {:?}", report.operations));
}
