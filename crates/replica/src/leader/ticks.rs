//! The ticks of schedules that are due, decided from versions of the state. Nothing here is lasting: what has been
//! decided stands in the state, and the next leader reads it there.

use std::collections::{BTreeMap, BTreeSet};

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use quorate_cron::{Calendar, LATE_AFTER, MisfirePolicy, due, jitter};
use quorate_state::State;
use quorate_state::command::Command;
use quorate_state::job::Job;
use quorate_types::schedule::ScheduleSpec;
use quorate_types::status::JobState;
use quorate_types::{JobId, LogIndex, Timestamp};
use tracing::warn;

use crate::calendar;
use crate::limits::DUTIES_PER_BATCH;

#[derive(Debug, Default)]
pub(crate) struct Ticks {
    /// The schedules as they were last looked at.
    seen: OrdMap<JobId, LogIndex>,
    followed: BTreeMap<JobId, Followed>,
    due: BTreeSet<(Timestamp, JobId)>,
}

#[derive(Debug)]
struct Followed {
    calendar: Calendar,
    due: Timestamp,
}

impl Ticks {
    /// When something is due next.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The ticks that are due at `now`.
    pub(crate) fn due(&mut self, now: Timestamp, state: &State) -> Vec<Command> {
        self.follow(state);
        // Each schedule is decided once for a version: what follows builds on what this decides.
        let (mut commands, mut again) = (Vec::new(), Vec::new());
        while commands.len() < DUTIES_PER_BATCH
            && let Some((at, id)) = self.due.first().copied()
            && at <= now
        {
            self.due.remove(&(at, id));
            let Some(followed) = self.followed.get_mut(&id) else { continue };
            let Some((job, schedule, decided)) = schedule_of(state, id) else { continue };
            let decision = decide(&followed.calendar, id, schedule, decided, now);
            commands.extend(decision.command.filter(|_| job.header.state == JobState::Pending));
            if let Some(next) = decision.next {
                followed.due = next;
                again.push((next, id));
            }
        }
        self.due.extend(again);
        commands
    }

    /// Takes note of schedules that came, changed or went.
    fn follow(&mut self, state: &State) {
        let seen = std::mem::replace(&mut self.seen, state.schedules().clone());
        if seen.ptr_eq(state.schedules()) {
            return;
        }
        let touched: Vec<JobId> = seen
            .diff(state.schedules())
            .map(|item| match item {
                DiffItem::Add(id, _) | DiffItem::Remove(id, _) | DiffItem::Update { new: (id, _), .. } => *id,
            })
            .collect();
        for id in touched {
            if let Some(earlier) = self.followed.remove(&id) {
                self.due.remove(&(earlier.due, id));
            }
            let Some((job, schedule, decided)) = schedule_of(state, id) else { continue };
            if job.header.state != JobState::Pending || !state.schedules().contains_key(&id) {
                continue;
            }
            match calendar::of(schedule, job.header.submitted_at) {
                Ok(calendar) => {
                    let Some(due) = next_of(&calendar, id, schedule, decided) else { continue };
                    self.due.insert((due, id));
                    self.followed.insert(id, Followed { calendar, due });
                }
                Err(error) => warn!(job = %id, detail = error.detail, "the calendar can't be read; it does not run"),
            }
        }
    }
}

fn schedule_of(state: &State, id: JobId) -> Option<(&Job, &ScheduleSpec, Timestamp)> {
    let job = state.job(id)?;
    Some((job, job.spec.schedule.as_deref()?, job.header.flow().ledger.as_ref()?.decided))
}

struct Decision {
    command: Option<Command>,
    /// When to look again.
    next: Option<Timestamp>,
}

/// When the first tick after `decided` is to run.
fn next_of(calendar: &Calendar, id: JobId, schedule: &ScheduleSpec, decided: Timestamp) -> Option<Timestamp> {
    let tick = calendar.after(decided)?;
    Some(tick.plus(jitter(id.0, tick, schedule.jitter)))
}

fn decide(calendar: &Calendar, id: JobId, schedule: &ScheduleSpec, decided: Timestamp, now: Timestamp) -> Decision {
    let Some(tick) = calendar.after(decided) else { return Decision { command: None, next: None } };
    let starts = tick.plus(jitter(id.0, tick, schedule.jitter));
    if starts > now {
        return Decision { command: None, next: Some(starts) };
    }
    // With jitter each tick has a time of its own, and is not late before that, nor while one before it waits for its
    // own: ticks are decided in order.
    let awaited = starts.max(decided.plus(schedule.jitter));
    let on_time = schedule.jitter.0 > 0 && now.since(awaited) <= LATE_AFTER;
    let (ticks, through) = if on_time {
        (vec![tick], tick)
    } else {
        let policy = MisfirePolicy { misfire: schedule.misfire, window: Some(schedule.misfire_window) };
        let found = due(calendar, decided, now, policy);
        let more = found.next.is_some_and(|next| next <= now);
        let through = if more { found.run.last().copied().unwrap_or(now) } else { now };
        (found.run, through)
    };
    let next = next_of(calendar, id, schedule, through.max(tick));
    Decision { command: Some(Command::Tick { schedule: id, ticks, through }), next }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_state::command::{Entry, Proposal};
    use quorate_types::job::JobRequest;

    use super::*;

    const START: u64 = 1_700_000_000_000;

    struct Bench {
        state: State,
        ticks: Ticks,
    }

    impl Bench {
        fn new(json: &str) -> Self {
            let spec = serde_json::from_str::<JobRequest>(json).unwrap().validate().unwrap();
            let mut bench = Self { state: State::default(), ticks: Ticks::default() };
            bench.apply(START, Command::Submit(Arc::new(spec)));
            bench
        }

        fn apply(&mut self, now: u64, command: Command) {
            let entry = Entry { time: Timestamp(now), proposals: vec![Proposal { origin: None, command }] };
            self.state.apply(LogIndex(self.state.index().0 + 1), &entry);
        }

        /// Lets a leader act at `now`; gives the ticks of all runs so far, in seconds from the start.
        fn lead(&mut self, now: u64) -> Vec<u64> {
            for command in self.ticks.due(Timestamp(now), &self.state) {
                self.apply(now, command);
            }
            let runs = self.state.jobs().filter_map(|job| job.header.flow().run);
            runs.map(|run| (run.tick.0 - START) / 1000).collect()
        }
    }

    const MINUTELY: &str = r#"{"command":["x"],"schedule":{"every":"1m","overlap":"allow"}}"#;

    #[test]
    fn each_tick_is_named_once_whoever_leads() {
        let mut bench = Bench::new(MINUTELY);
        assert_eq!(bench.lead(START + 59_999), [0; 0]);
        assert_eq!(bench.ticks.next(), Some(Timestamp(START + 60_000)));
        assert_eq!(bench.lead(START + 60_000), [60]);
        assert_eq!(bench.lead(START + 60_000), [60]);
        bench.ticks = Ticks::default();
        assert_eq!(bench.lead(START + 61_000), [60], "a new leader reads what was decided");
        assert_eq!(bench.lead(START + 120_000), [60, 120]);
    }

    #[test]
    fn missed_ticks_are_made_up_for_as_the_schedule_says() {
        for (misfire, expected) in [("once", vec![180]), ("all", vec![60, 120, 180]), ("skip", vec![])] {
            let json = MINUTELY.replace("\"allow\"", &format!("\"allow\",\"misfire\":\"{misfire}\""));
            let mut bench = Bench::new(&json);
            assert_eq!(bench.lead(START + 200_000), expected, "{misfire}");
            let after = bench.lead(START + 240_000);
            assert_eq!(after.last(), Some(&240), "{misfire}");
        }
    }

    #[test]
    fn jitter_puts_runs_off_and_loses_none() {
        let mut bench = Bench::new(&MINUTELY.replace("\"allow\"", "\"allow\",\"jitter\":\"50s\""));
        let mut runs = Vec::new();
        for second in 0..=360 {
            let now = bench.lead(START + second * 1000);
            if now.len() > runs.len() {
                let late = second - now.last().unwrap();
                assert!(late <= 50, "{late}");
            }
            runs = now;
        }
        assert_eq!(runs[..5], [60, 120, 180, 240, 300]);
    }

    #[test]
    fn jitter_beyond_the_next_tick_loses_none() {
        let json =
            r#"{"command":["x"],"schedule":{"cron":"* * * * *","overlap":"allow","misfire":"skip","jitter":"5m"}}"#;
        let mut bench = Bench::new(json);
        let mut runs = Vec::new();
        for second in 0..=1800 {
            runs = bench.lead(START + second * 1000);
        }
        let steps: Vec<u64> = runs.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(runs.len() >= 25 && steps.iter().all(|step| *step == 60), "{runs:?}");
    }

    #[test]
    fn many_missed_ticks_are_named_once_each() {
        let json = MINUTELY.replace("1m", "1s").replace("\"allow\"", "\"allow\",\"misfire\":\"all\"");
        let mut bench = Bench::new(&json);
        let commands = bench.ticks.due(Timestamp(START + 1_000_000), &bench.state);
        assert_eq!(commands.len(), 1);
        let mut runs = Vec::new();
        for _ in 0..20 {
            runs = bench.lead(START + 1_000_000);
        }
        assert_eq!(runs, (1..=1000).collect::<Vec<u64>>());
    }

    #[test]
    fn a_changed_schedule_is_followed_as_it_is_now() {
        let mut bench = Bench::new(&MINUTELY.replace("1m", "10h"));
        assert_eq!(bench.lead(START + 1_000), [0; 0]);
        let spec = serde_json::from_str::<JobRequest>(MINUTELY).unwrap().validate().unwrap();
        bench.apply(START + 1_000, Command::ChangeSchedule { schedule: JobId(1), spec: Arc::new(spec) });
        assert_eq!(bench.lead(START + 60_000), [60]);
        bench.apply(START + 60_000, Command::Pause { job: JobId(1) });
        assert_eq!((bench.lead(START + 120_000), bench.ticks.next()), (vec![60], None));
        bench.apply(START + 150_000, Command::Resume { job: JobId(1) });
        assert_eq!(bench.lead(START + 180_000), [60, 180]);
        bench.apply(START + 180_000, Command::Cancel { job: JobId(1) });
        assert_eq!((bench.lead(START + 240_000), bench.ticks.next()), (vec![60, 180], None));
    }
}
