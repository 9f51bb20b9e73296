//! `--now`: what becomes of what waits and runs on the cluster at this moment, with workers more or fewer.
//!
//! Layout: `read` (what the cluster says), `scene` (what a replay makes of it), `outlook` (what came out, by job and by
//! worker), `print`.

mod outlook;
mod print;
mod read;
mod scene;

use quorate_sim::lab::input::Workload;
use quorate_sim::lab::{Experiment, Window};
use quorate_types::{Span, Timestamp};

use self::outlook::Outlook;
use super::progress::Progress;
use super::{namespaces, results, rules};
use crate::args::{ClientArgs, Format, SimulateArgs};
use crate::commands::Context;
use crate::exit::Failure;
use crate::output::{self, json};
use crate::runtime::block_on;

/// A live cluster is looked at for as long as one works on it.
const GANTT_LENGTH: Span = Span::from_secs(6 * 3600);

pub(super) fn run(args: &SimulateArgs, client: &ClientArgs) -> Result<(), Failure> {
    let context = Context::new(client)?;
    let mut live = block_on(read::fetch(&context))?;
    live.rules = namespaces::given(&args.rules, &context)?;
    let variants = super::variants(&args.policy, &live.policy)?;
    super::check_starts(args, &variants)?;
    let plan = scene::Plan::of(&live, &args.machines, args.assume)?;
    plan.notes().into_iter().for_each(output::note);
    let work = Workload::of_jobs(plan.waiting.clone(), &plan.machines, None).map_err(super::unreadable)?;
    let mut wanted = super::wanted(&args.results, plan.scene.now, plan.scene.now);
    wanted.fates = true;
    wanted.plots =
        wanted.plots.map(|window| Window { length: args.results.gantt_length.unwrap_or(GANTT_LENGTH), ..window });
    let experiment = Experiment {
        workload: &work,
        scene: &plan.scene,
        machines: &plan.machines,
        variants: &variants,
        rules: rules(&args.rules, args.policy.spread_label.clone().or(Some(live.policy.spread_label))),
        wanted,
    };
    let progress = Progress::new((plan.waiting.len() + plan.scene.running.len()) as u64 * variants.len() as u64);
    let runs = experiment.run(&|finished| progress.add(finished)).map_err(super::refused)?;
    progress.finish();
    let words = plan.words();
    let page =
        results::Page { title: "The cluster now", words: &words, machines: &plan.machines, begin: plan.scene.now };
    let runs = results::write(&args.results, runs, &page, Some(&plan.labels))?;
    let outlooks: Vec<Outlook> = runs.iter().map(|run| Outlook::of(run, &plan)).collect();
    match (client.output, outlooks.as_slice()) {
        (Format::Json, [outlook]) => json::print(&outlook.to_json(&runs[0])),
        (Format::Json, all) => {
            json::print(&runs.iter().zip(all).map(|(run, outlook)| outlook.to_json(run)).collect::<Vec<_>>())
        }
        (Format::Table, all) => print::tables(&runs, all),
    }
}

/// From `now` on; what was before counts as nothing.
fn since(now: Timestamp, at: Timestamp) -> Span {
    at.since(now)
}

#[cfg(test)]
mod tests;
