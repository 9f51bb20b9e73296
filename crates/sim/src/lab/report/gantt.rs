//! A Gantt chart: time to the right, cores downwards, colour by how long a job waited.

use quorate_types::Timestamp;

use super::axis::{Scale, Unit, seconds, words};
use super::svg::Drawing;
use crate::lab::gantt::{Gantt, Rows};
use crate::lab::job::Machine;

const WIDTH: f64 = 1160.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 10.0;
const BOTTOM: f64 = 28.0;
const HEIGHT_MIN: f64 = 160.0;
const HEIGHT_MAX: f64 = 480.0;
const ROW_MAX: f64 = 14.0;
/// Names of machines would stand upon each other if there were more.
const NAMES_MAX: usize = 32;

/// Waits up to which a job has the colour `w0`, `w1` and so on; `w4` is for the rest.
pub(super) const WAITS_S: [u64; 4] = [0, 60, 3600, 21_600];

pub(super) fn draw(label: &str, gantt: &Gantt, machines: &[Machine], begin: Timestamp) -> String {
    let rows = Rows::of(machines);
    let height = (rows.count() as f64 * ROW_MAX).clamp(HEIGHT_MIN, HEIGHT_MAX);
    let row = height / rows.count() as f64;
    let since = |time: Timestamp| time.since(begin).0 as f64 / 1000.0;
    let scale = Scale::Linear { min: since(gantt.window.from), max: since(gantt.window.end()) };
    let across = |time: f64| LEFT + scale.place(time) * (WIDTH - LEFT - RIGHT);
    let mut drawing = Drawing::new(WIDTH, height + BOTTOM, label);
    for tick in scale.ticks(Unit::Seconds, 10) {
        drawing.line("grid", (across(tick), 0.0), (across(tick), height));
        drawing.text("tick middle", (across(tick), height + 16.0), &words(tick, Unit::Seconds));
    }
    for (machine, first) in machines.iter().zip(&rows.first) {
        let top = *first as f64 * row;
        drawing.line("grid", (LEFT, top), (WIDTH - RIGHT, top));
        if machines.len() <= NAMES_MAX {
            let name: String = machine.name.chars().take(12).collect();
            drawing.text("tick end", (LEFT - 6.0, top + row.max(11.0)), &name);
        }
    }
    for bar in gantt.bars(&rows) {
        let (from, to) = (across(since(bar.started)), across(since(bar.finished)));
        let title = format!("job {}, waited {}", bar.id, seconds(bar.wait_ms as f64 / 1000.0));
        let size = ((to - from).max(0.5), (bar.rows as f64 * row - 0.4).max(0.4));
        drawing.rect(&format!("job w{}", shade(bar.wait_ms)), (from, bar.row as f64 * row), size, &title);
    }
    drawing.finish()
}

fn shade(wait_ms: u64) -> usize {
    WAITS_S.iter().position(|most| wait_ms <= most * 1000).unwrap_or(WAITS_S.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_waits_have_later_shades() {
        assert_eq!([0, 1, 60_000, 60_001, u64::MAX].map(shade), [0, 1, 1, 2, 4]);
    }
}
