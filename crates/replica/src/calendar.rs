//! The calendar of a schedule, from what its specification says.

use quorate_cron::{Calendar, Cron, Every, Zone};
use quorate_types::problem::FieldError;
use quorate_types::schedule::ScheduleSpec;
use quorate_types::{JobSpec, Timestamp};

/// When the schedule ticks; an interval counts from `anchor`.
///
/// # Errors
/// What is wrong with the expression or the zone, and where in the job.
pub(crate) fn of(schedule: &ScheduleSpec, anchor: Timestamp) -> Result<Calendar, FieldError> {
    if let Some(every) = schedule.every {
        let every = Every::new(anchor, every).map_err(|e| FieldError::new("/schedule/every", e.to_string()))?;
        return Ok(Calendar::Every(every));
    }
    let text = schedule.cron.as_deref().unwrap_or_default();
    let cron = Cron::parse(text).map_err(|e| FieldError::new("/schedule/cron", e.to_string()))?;
    let zone = Zone::parse(&schedule.time_zone);
    let zone = zone.map_err(|e| FieldError::new("/schedule/time_zone", e.to_string()))?;
    Ok(Calendar::Cron { cron: Box::new(cron), zone, dst: schedule.dst })
}

/// Whether the job's schedule, if it has one, can be followed.
pub(crate) fn check(spec: &JobSpec) -> Result<(), FieldError> {
    match &spec.schedule {
        Some(schedule) => of(schedule, Timestamp(0)).map(|_| ()),
        None => Ok(()),
    }
}
