//! What each policy chooses that `golden.rs` leaves out: a view in, a plan out.

use crate::view::led::Led;
use crate::view::{View, three};
use quorate_placement::{Bounds, Planner};
use quorate_state::command::Command;
use quorate_types::policy::{Backfill, PlacementOrder, PolicyChange, QueueOrder};
use quorate_types::{JobId, Span, TaskIndex, Timestamp};

/// One task with one element.
fn job(rest: &str) -> String {
    format!(r#"{{"tasks":[{{"name":"t","command":["x"]{rest}}}]}}"#)
}

fn of(namespace: &str, priority: u8, cpu: u32) -> String {
    let tasks = format!(r#"[{{"name":"t","command":["x"],"resources":{{"cpu":{cpu}}}}}]"#);
    format!(r#"{{"namespace":"{namespace}","priority":{priority},"tasks":{tasks}}}"#)
}

/// The jobs of a plan, in its order.
fn order(view: &View) -> Vec<u64> {
    view.plan().split(' ').map(|item| item.split('/').next().unwrap().parse().unwrap()).collect()
}

/// The workers of a plan, in its order.
fn workers(view: &View) -> Vec<String> {
    view.plan().split(' ').map(|item| item.split('>').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn shortest_job_first_and_what_nobody_knows_last() {
    for queue in [QueueOrder::Sjf, QueueOrder::Srtf] {
        let view = View::new(queue, PlacementOrder::BestFit)
            .worker("w", r#"{"cpu":9}"#)
            .job(&job(""))
            .job(&job(r#","expected":"3s""#))
            .job(&job(r#","expected":"1s""#))
            .job(&job(r#","timeout":"2s""#));
        // A timeout stands in where nothing else is known.
        assert_eq!(order(&view), [3, 4, 2, 1], "{queue:?}");
    }
}

/// A task that waits for it weighs a second: four seconds and two such tasks are less than seven, and more than five.
#[test]
fn least_work_counts_dependencies_with_the_time() {
    let with = |dependents: u64, expected: &str| {
        let rest = (0..dependents).map(|nth| format!(r#",{{"name":"d{nth}","command":["x"],"needs":["t"]}}"#));
        let rest: String = rest.collect();
        format!(r#"{{"tasks":[{{"name":"t","command":["x"],"expected":"{expected}"}}{rest}]}}"#)
    };
    let view = View::new(QueueOrder::LeastWork, PlacementOrder::BestFit)
        .worker("w", r#"{"cpu":9}"#)
        .job(&with(0, "7s"))
        .job(&with(2, "4s"))
        .job(&with(0, "5s"));
    assert_eq!(order(&view), [3, 2, 1]);
}

/// Where nobody says how long tasks run, those that ran under their names do; also for a leader that has just begun.
#[test]
fn critical_path_goes_by_learned_times() {
    let chain = r#"{"name":"chain","tasks":[{"name":"a","command":["x"]},{"name":"b","command":["x"],"needs":["a"]}]}"#;
    let submit = |led: &mut Led, json: &str| led.view = View(led.view.0.clone()).job_at(led.now, json);
    let mut led = Led::new(QueueOrder::CriticalPath, &[("w", 1)]);
    submit(&mut led, chain);
    for (seconds, started) in [(0, "1[0]>w"), (5, "1[0]>w"), (105, "")] {
        led.at(seconds);
        led.finish(|_| Span(0));
        assert_eq!(led.round(), started);
        assert_eq!(led.round(), "", "it is seen to run");
    }
    submit(&mut led, &job(r#","expected":"50s""#));
    submit(&mut led, chain);
    assert_eq!(order(&led.view), [3]);
    assert_eq!(led.round(), "3[0]>w", "a hundred and five seconds are more than fifty");
    let said = quorate_placement::explain::element(&led.view.0, led.now, JobId(2), 0, TaskIndex(0)).unwrap();
    assert_eq!(said.queue.unwrap().path, Span::from_secs(50));
}

/// Four seconds that no round saw, and ten that one did: seven, as the mean of the last two, each counted once.
#[test]
fn what_began_and_ended_between_two_rounds_is_learned_from() {
    for seen in [[false, true], [true, false], [false, false], [true, true]] {
        let mut led = Led::new(QueueOrder::Sjf, &[("w", 1)]);
        for (is_seen, ends, job) in [(seen[0], 4, 1), (seen[1], 14, 2)] {
            led.job(r#""name":"quick""#, r#""count":1"#);
            assert_eq!(led.round(), format!("{job}[0]>w"));
            if is_seen {
                assert_eq!(led.round(), "");
            }
            led.at(ends);
            assert_eq!(led.finish(|_| Span(0)), 1);
            assert_eq!(led.round(), "");
        }
        led.job(r#""name":"longer""#, r#""expected":"8s""#);
        led.job(r#""name":"quick""#, r#""count":1"#);
        led.job(r#""name":"shorter""#, r#""expected":"6s""#);
        for job in [5, 4, 3] {
            assert_eq!(led.round(), format!("{job}[0]>w"), "{seen:?}");
            led.finish(|_| Span(0));
        }
    }
}

/// What stands in a line is not seen to run, and may have ended with the one before it.
#[test]
fn what_stood_in_a_line_is_learned_from() {
    let mut led = Led::new(QueueOrder::Sjf, &[("w", 1)]);
    led.job(r#""name":"quick""#, r#""count":3"#);
    assert_eq!(led.round(), "1[0]>w");
    led.now = Timestamp(1);
    assert_eq!(led.finish(|_| Span(0)), 1);
    assert_eq!(led.round(), "1[1]>w 1[2]>w", "a line");
    assert_eq!(led.round(), "");
    led.at(4);
    assert_eq!(led.finish(|_| Span(0)), 2);
    assert_eq!(led.round(), "");
    led.job(r#""name":"quick""#, r#""count":1"#);
    led.job(r#""name":"shorter""#, r#""expected":"3s""#);
    assert_eq!(led.round(), "3[0]>w", "four seconds, twice, are longer than three");
}

/// Of three that end between two rounds the last two count, though the first was seen to run.
#[test]
fn what_ended_last_counts() {
    let mut led = Led::new(QueueOrder::Sjf, &[("w", 1)]);
    led.job(r#""name":"quick""#, r#""count":1"#);
    assert_eq!(led.round(), "1[0]>w");
    assert_eq!(led.round(), "");
    led.at(100);
    led.finish(|_| Span(0));
    for (job, second) in [(2, 104), (3, 108)] {
        led.job(r#""name":"quick""#, r#""count":1"#);
        let plan = Planner::new(7).round(&led.view.0, led.now, Bounds::default());
        assert_eq!(plan.assignments.len(), 1, "job {job}");
        led.view.outcome_at(led.now, Command::Assign { items: plan.assignments });
        led.at(second);
        assert_eq!(led.finish(|_| Span(0)), 1);
    }
    led.job(r#""name":"longer""#, r#""expected":"5s""#);
    led.job(r#""name":"quick""#, r#""count":1"#);
    assert_eq!(led.round(), "5[0]>w", "four seconds, not a hundred and four by two");
}

/// Priority 100 is worth 16 h 40 min of waiting, a whole worker four hours, and having used nothing twelve.
#[test]
fn multifactor_weighs_age_size_priority_and_share() {
    let hours = |hours: u64| Timestamp(hours * 3_600_000);
    let view = View::new(QueueOrder::Multifactor, PlacementOrder::BestFit)
        .worker("w", r#"{"cpu":16}"#)
        .job_at(hours(0), &of("a", 50, 1))
        .job_at(hours(0), &of("a", 80, 1))
        .job_at(hours(0), &of("a", 50, 8))
        .job_at(hours(4), &of("a", 80, 1))
        .job_at(hours(4), &of("a", 20, 1));
    // Thirty points are five hours, so more than four of waiting; seven sixteenths of a worker 1 h 45 min.
    assert_eq!(order(&view), [2, 3, 4, 1, 5]);
    let mut used = View::new(QueueOrder::Multifactor, PlacementOrder::BestFit)
        .worker("w", r#"{"cpu":4}"#)
        .job_at(hours(0), &of("a", 50, 2));
    used.apply_plan();
    let used = used.job_at(hours(0), &of("a", 50, 1)).job_at(hours(5), &of("b", 50, 1));
    assert_eq!(order(&used), [3, 2], "namespace a has used its part");
}

/// Half of the use of an hour ago counts, whatever else of the policy has changed since.
#[test]
fn past_use_outlives_a_change_of_the_policy() {
    for change in [r#"{"rebalance":"on"}"#, r#"{"placement":"least-load"}"#, r#"{"queue":"multifactor"}"#] {
        let mut led = Led::new(QueueOrder::FairShare, &[("w", 1)]);
        led.job(r#""namespace":"used""#, r#""count":1"#);
        assert_eq!(led.round(), "1[0]>w");
        assert_eq!(led.round(), "");
        led.at(3_600);
        assert_eq!(led.finish(|_| Span(0)), 1);
        led.job(r#""namespace":"used""#, r#""count":1"#);
        led.job(r#""namespace":"fresh""#, r#""count":1"#);
        led.change(change);
        assert_eq!(led.round(), "3[0]>w", "{change}");
    }
}

/// Also when the jobs that taught them are long gone.
#[test]
fn run_times_outlive_a_change_of_the_policy() {
    let mut led = Led::new(QueueOrder::Sjf, &[("w", 1)]);
    for (name, until) in [("long", 600), ("short", 605)] {
        led.job(&format!(r#""name":"{name}""#), r#""count":1"#);
        led.round();
        led.start();
        led.round();
        led.at(until);
        assert_eq!(led.finish(|_| Span(0)), 1);
        led.round();
    }
    for job in [1, 2] {
        led.view.outcome_at(led.now, Command::Forget { job: JobId(job) });
    }
    led.change(r#"{"rebalance":"on"}"#);
    led.job(r#""name":"long""#, r#""count":1"#);
    led.job(r#""name":"short""#, r#""count":1"#);
    assert_eq!(led.round(), "4[0]>w");
}

#[test]
fn round_robin_begins_with_who_came_first_to_the_line() {
    let array = r#"{"tasks":[{"name":"t","command":["x"],"count":3}]}"#;
    let mut view = View::new(QueueOrder::RoundRobin, PlacementOrder::BestFit)
        .worker("w", r#"{"cpu":2}"#)
        .job(array)
        .job(array)
        .job(&job(""));
    assert_eq!(order(&view), [1, 1], "a turn is all that there is room for");
    let items = view.round(Bounds::default()).assignments;
    view.outcome_at(Timestamp(1_000), Command::Assign { items });
    let view = view.worker("v", r#"{"cpu":5}"#);
    assert_eq!(order(&view), [2, 2, 2, 3, 1], "job 1 has had its turn");
}

/// The head waits for the whole worker. What ends before it starts may go; the shortest of those goes first.
#[test]
fn easy_sjbf_backfills_with_the_shortest() {
    let task = |cpu: u32, expected: &str| job(&format!(r#","expected":"{expected}","resources":{{"cpu":{cpu}}}"#));
    for (backfill, first) in [(Backfill::Easy, 3), (Backfill::EasySjbf, 4)] {
        let mut view = View::new(QueueOrder::Fifo, PlacementOrder::BestFit);
        view.apply(Command::ChangePolicy(PolicyChange { backfill: Some(backfill), ..PolicyChange::default() }));
        let mut view = view.worker("w", r#"{"cpu":4}"#).job(&task(3, "10m"));
        view.apply_plan();
        let view = view.job(&task(4, "10m")).job(&task(1, "9m")).job(&task(1, "2m"));
        assert_eq!(order(&view), [first], "{backfill:?}");
    }
}

fn array(count: u32, resources: &str) -> String {
    job(&format!(r#","count":{count},"resources":{resources}"#))
}

#[test]
fn worst_fit_leaves_the_most() {
    let view = three(PlacementOrder::WorstFit).job(&array(6, r#"{"cpu":2}"#));
    assert_eq!(workers(&view), ["big", "big", "big", "mid", "big", "mid"]);
}

#[test]
fn least_jobs_counts_attempts_whatever_their_size() {
    let view = three(PlacementOrder::LeastJobs).job(&array(7, r#"{"cpu":0.5}"#));
    assert_eq!(workers(&view), ["big", "mid", "small", "big", "mid", "small", "big"]);
    let mut view = three(PlacementOrder::LeastJobs).job(&array(1, r#"{"cpu":8}"#));
    view.apply_plan();
    let view = view.job(&array(2, r#"{"cpu":0}"#));
    assert_eq!(workers(&view), ["mid", "small"], "a large one counts as much as a small one");
}

/// All of the memory of one worker is taken, and a little of the cores; of the other half the cores.
#[test]
fn lowest_utilisation_goes_by_the_mean_and_least_load_by_what_is_scarce() {
    let plan = |placement| {
        let mut view = View::new(QueueOrder::Fifo, PlacementOrder::RoundRobin)
            .worker("memory", r#"{"cpu":10,"memory":"10GiB"}"#)
            .worker("cores", r#"{"cpu":10,"memory":"10GiB"}"#)
            .job(&array(1, r#"{"cpu":0,"memory":"9GiB"}"#))
            .job(&array(1, r#"{"cpu":5,"memory":"5GiB"}"#));
        view.apply_plan();
        view.apply(Command::ChangePolicy(PolicyChange { placement: Some(placement), ..PolicyChange::default() }));
        workers(&view.job(&array(1, r#"{"cpu":1}"#)))
    };
    assert_eq!(plan(PlacementOrder::LowestUtilisation), ["memory"]);
    assert_eq!(plan(PlacementOrder::LeastLoad), ["cores"]);
}

/// Turns in proportion to size: of every seven, four, two and one.
#[test]
fn weighted_round_robin_gives_larger_ones_more_turns() {
    let view = View::new(QueueOrder::Fifo, PlacementOrder::WeightedRoundRobin)
        .worker("big", r#"{"cpu":400}"#)
        .worker("mid", r#"{"cpu":200}"#)
        .worker("small", r#"{"cpu":100}"#)
        .job(&array(70, r#"{"cpu":0.1}"#));
    let turns = workers(&view);
    for seven in turns.chunks(7) {
        let on = |worker: &str| seven.iter().filter(|on| *on == worker).count();
        assert_eq!((on("big"), on("mid"), on("small")), (4, 2, 1), "{turns:?}");
    }
}

/// Of two that chance names the less loaded: the fullest worker gets one only where chance names it twice, one time in
/// nine of three workers.
#[test]
fn power_of_two_takes_the_less_loaded_of_two() {
    let mut view = View::new(QueueOrder::Fifo, PlacementOrder::RoundRobin)
        .worker("full", r#"{"cpu":10000}"#)
        .worker("half", r#"{"cpu":10000}"#)
        .worker("empty", r#"{"cpu":10000}"#)
        .job(&array(1, r#"{"cpu":9000}"#))
        .job(&array(1, r#"{"cpu":5000}"#));
    view.apply_plan();
    let placement = Some(PlacementOrder::PowerOfTwo);
    view.apply(Command::ChangePolicy(PolicyChange { placement, ..PolicyChange::default() }));
    let view = view.job(&array(900, r#"{"cpu":0.001}"#));
    let chosen = workers(&view);
    let on = |worker: &str| chosen.iter().filter(|on| *on == worker).count();
    // One, three and five ninths.
    assert!((70..130).contains(&on("full")) && (250..350).contains(&on("half")), "{} {}", on("full"), on("half"));
}

/// The same key goes to the same worker, whoever came first; a fourth worker takes about its fair share, a quarter of
/// the keys, and no key moves between the others.
#[test]
fn consistent_hash_moves_a_fair_share() {
    let place = |names: &[&str], key: u32| {
        let view = View::new(QueueOrder::Fifo, PlacementOrder::ConsistentHash);
        let view = names.iter().fold(view, |view, name| view.worker(name, r#"{"cpu":1}"#));
        workers(&view.job(&job(&format!(r#","key":"k{key}""#)))).remove(0)
    };
    let plan = |names: &[&str]| (0..400).map(|key| place(names, key)).collect::<Vec<_>>();
    let (three, again, four) = (plan(&["n1", "n2", "n3"]), plan(&["n3", "n2", "n1"]), plan(&["n1", "n2", "n3", "n4"]));
    assert_eq!(three, again);
    let moved: Vec<_> = three.iter().zip(&four).filter(|(before, after)| before != after).collect();
    assert!(moved.iter().all(|(_, to)| *to == "n4"), "{moved:?}");
    assert!((70..=130).contains(&moved.len()), "{} of 400", moved.len());
}
