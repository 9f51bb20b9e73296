//! `quorate simulate`.

mod history;
mod machines;
mod namespaces;
mod now;
mod progress;
mod results;

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_sim::lab::input::{Format as TraceFormat, InputError, Workload};
use quorate_sim::lab::{
    Backfill, Estimates, Experiment, Failures, Machine, QueueOrder, Rules, Run, RunError, Scene, Variant, Wanted,
    Window,
};
use quorate_types::{Name, NamespaceRules, Policy, Span, Timestamp};
use tempfile::NamedTempFile;

use self::progress::Progress;
use super::Context;
use crate::args::{ClientArgs, Format, PolicyArgs, ResultArgs, RuleArgs, SimulateArgs};
use crate::exit::Failure;
use crate::output;
use crate::runtime::block_on;

/// Runs of one call. More is a mistake with commas, and hours of work.
const RUNS_MAX: usize = 1_000;
const LAST_DEFAULT: Span = Span::from_secs(24 * 3600);
const GANTT_LENGTH: Span = Span::from_secs(24 * 3600);

pub(super) fn run(args: &SimulateArgs, client: &ClientArgs) -> Result<(), Failure> {
    if args.now {
        return now::run(args, client);
    }
    let plain = Policy { queue: QueueOrder::Fifo, backfill: Backfill::None, ..Policy::default() };
    let variants = variants(&args.policy, &plain)?;
    check_starts(args, &variants)?;
    let Loaded { work, machines, rules: entitled, _file } = load(args, client)?;
    tell(&work);
    let experiment = Experiment {
        workload: &work,
        scene: &Scene { rules: entitled, ..Scene::default() },
        machines: &machines,
        variants: &variants,
        rules: rules(&args.rules, args.policy.spread_label.clone()),
        wanted: wanted(&args.results, work.survey().first_submission, work.survey().last_submission),
    };
    let progress = Progress::new(work.survey().jobs * variants.len() as u64);
    let runs = experiment.run(&|finished| progress.add(finished)).map_err(refused)?;
    progress.finish();
    let words = results::words_about(work.survey());
    let begin = work.survey().first_submission;
    let page = results::Page { title: &title(args), words: &words, machines: &machines, begin };
    let runs = results::write(&args.results, runs, &page, None)?;
    print(&runs, client.output)
}

/// The work, and what it runs on.
struct Loaded {
    work: Workload,
    machines: Vec<Machine>,
    rules: BTreeMap<Name, Arc<NamespaceRules>>,
    /// Held until everything is read.
    _file: Option<NamedTempFile>,
}

fn load(args: &SimulateArgs, client: &ClientArgs) -> Result<Loaded, Failure> {
    let first = args.rules.first;
    let Some(path) = &args.trace else {
        let last = args.last.unwrap_or(LAST_DEFAULT);
        let context = Context::new(client)?;
        let (history, workers) = block_on(history::fetch(&context, last))?;
        let machines = machines::changed(machines::given(&args.machines).unwrap_or(workers), &args.machines)?;
        let (file, kept) = history::keep(&history, args.save.as_deref())?;
        let work = Workload::open(&kept, TraceFormat::Ndjson, &machines, first).map_err(unreadable)?;
        let rules = namespaces::given(&args.rules, &context)?;
        return Ok(Loaded { work, machines, rules, _file: file });
    };
    let format = TraceFormat::of(path).map_err(unreadable)?;
    let machines = machines::changed(machines::for_trace(path, format, &args.machines)?, &args.machines)?;
    let work = Workload::open(path, format, &machines, first).map_err(unreadable)?;
    let rules = namespaces::written(&args.rules)?;
    Ok(Loaded { work, machines, rules, _file: None })
}

fn check_starts(args: &SimulateArgs, variants: &[Variant]) -> Result<(), Failure> {
    match variants.len() {
        runs if runs > 1 && args.results.starts.is_some() => {
            Err(Failure::Usage(format!("--starts is for one run, and these policies make {runs}: use --csv")))
        }
        _ => Ok(()),
    }
}

/// `otherwise` is what holds where nothing was said.
fn variants(args: &PolicyArgs, otherwise: &Policy) -> Result<Vec<Variant>, Failure> {
    fn or<T: Copy>(given: &[T], otherwise: T) -> Vec<T> {
        if given.is_empty() { vec![otherwise] } else { given.to_vec() }
    }
    let mut variants: Vec<Variant> = Vec::new();
    let (queues, backfills) = (or(&args.queue, otherwise.queue), or(&args.backfill, otherwise.backfill));
    for (queue, instead) in [(QueueOrder::Srtf, "sjf"), (QueueOrder::RoundRobin, "fifo")] {
        if queues.contains(&queue) {
            let why = format!("a replay ends nothing for another's sake, which is what {queue} does");
            return Err(Failure::Usage(format!("--queue: {why}; {instead} is the same order")));
        }
    }
    let (placements, estimates) = (or(&args.placement, otherwise.placement), or(&args.estimates, Estimates::User));
    for variant in Variant::product(&queues, &backfills, &placements, &estimates) {
        if !variants.contains(&variant) {
            variants.push(variant);
        }
    }
    match variants.len() {
        runs if runs > RUNS_MAX => {
            Err(Failure::Usage(format!("these policies make {runs} runs, more than {RUNS_MAX}")))
        }
        _ => Ok(variants),
    }
}

fn rules(args: &RuleArgs, spread_label: Option<Name>) -> Rules {
    let failures = args.mtbf.zip(args.mttr).map(|(mtbf, mttr)| Failures { mtbf, mttr, seed: args.seed });
    Rules { event_rule: args.event_rule, failures, seed: args.seed, spread_label }
}

/// The chart begins in the middle between `first` and `last` unless told otherwise.
fn wanted(args: &ResultArgs, first: Timestamp, last: Timestamp) -> Wanted {
    let middle = Span(last.since(first).0 / 2);
    let window = Window {
        from: first.plus(args.gantt_from.unwrap_or(middle)),
        length: args.gantt_length.unwrap_or(GANTT_LENGTH),
    };
    let plots = args.report.is_some().then_some(window);
    Wanted { starts: args.starts.is_some(), jobs: args.csv.is_some(), fates: false, plots }
}

fn title(args: &SimulateArgs) -> String {
    let file = args.trace.as_ref().and_then(|path| path.file_name());
    file.map_or_else(|| "The cluster's own history".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// What a reader of the figures should know about the work.
fn tell(work: &Workload) {
    for words in results::words_about(work.survey()) {
        output::note(words);
    }
}

/// A file that can't be used is a mistake in what was asked for.
#[expect(clippy::needless_pass_by_value, reason = "errors are mapped by value")]
fn unreadable(error: InputError) -> Failure {
    Failure::Usage(error.to_string())
}

fn refused(error: RunError) -> Failure {
    match error {
        RunError::Input(error) => unreadable(error),
        RunError::Lab(_) | RunError::Write(_) | RunError::Thread(_) => Failure::Other(error.into()),
    }
}

fn print(runs: &[Run], format: Format) -> Result<(), Failure> {
    match (format, runs) {
        (Format::Json, [run]) => output::json::print(&run.to_json()),
        (Format::Json, runs) => output::json::print(&runs.iter().map(Run::to_json).collect::<Vec<_>>()),
        (Format::Table, runs) => results::table(runs).print(),
    }
}

#[cfg(test)]
mod tests;
