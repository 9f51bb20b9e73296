//! Curves and bars.

use super::axis::{Scale, Unit, words};
use super::svg::Drawing;

const WIDTH: f64 = 1120.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
/// Room for the title of the upright axis.
const TOP: f64 = 26.0;
const BOTTOM: f64 = 40.0;
/// As many colours as can be told apart.
pub(super) const COLOURS: usize = 8;

/// One axis: its scale, unit and title.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) scale: Scale,
    pub(super) unit: Unit,
    pub(super) title: &'static str,
}

/// The class of the run at this position.
pub(super) fn colour(at: usize) -> String {
    format!("c{}", at % COLOURS)
}

/// A curve for each run, in its colour.
pub(super) fn curves(label: &str, x: Axis, y: Axis, runs: &[Vec<(f64, f64)>], stepped: bool) -> String {
    let mut drawing = Drawing::new(WIDTH, HEIGHT, label);
    axes(&mut drawing, x, y);
    for (at, points) in runs.iter().enumerate() {
        let points = if stepped { steps(points) } else { points.clone() };
        let placed = points.iter().map(|(a, b)| (across(x.scale, *a), up(y.scale, *b)));
        drawing.path(&format!("curve {}", colour(at)), placed);
    }
    drawing.finish()
}

/// Each value holds until the next one.
fn steps(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut stepped: Vec<(f64, f64)> = Vec::with_capacity(points.len() * 2);
    for (x, y) in points.iter().copied() {
        if let Some((_, before)) = stepped.last().copied() {
            stepped.push((x, before));
        }
        stepped.push((x, y));
    }
    stepped
}

fn axes(drawing: &mut Drawing, x: Axis, y: Axis) {
    for tick in y.scale.ticks(y.unit, 5) {
        let at = up(y.scale, tick);
        drawing.line("grid", (LEFT, at), (WIDTH - RIGHT, at));
        drawing.text("tick end", (LEFT - 8.0, at + 4.0), &words(tick, y.unit));
    }
    for tick in x.scale.ticks(x.unit, 7) {
        let at = across(x.scale, tick);
        drawing.line("grid", (at, TOP), (at, HEIGHT - BOTTOM));
        drawing.text("tick middle", (at, HEIGHT - BOTTOM + 16.0), &words(tick, x.unit));
    }
    drawing.text("axis end", (WIDTH - RIGHT, HEIGHT - 6.0), x.title);
    drawing.text("axis", (LEFT, TOP - 10.0), y.title);
}

fn across(scale: Scale, value: f64) -> f64 {
    LEFT + scale.place(value) * (WIDTH - LEFT - RIGHT)
}

fn up(scale: Scale, value: f64) -> f64 {
    HEIGHT - BOTTOM - scale.place(value) * (HEIGHT - BOTTOM - TOP)
}

/// A bar for each run, with its value beside it.
pub(super) fn bars(label: &str, unit: Unit, values: &[f64]) -> String {
    const BAR: f64 = 22.0;
    const BARS_WIDTH: f64 = 360.0;
    const VALUE_WIDTH: f64 = 84.0;
    let largest = values.iter().copied().fold(0.0, f64::max);
    let scale = Scale::Linear { min: 0.0, max: if unit == Unit::Share { 1.0 } else { largest } };
    let mut drawing = Drawing::new(BARS_WIDTH, BAR * values.len() as f64, label);
    for (at, value) in values.iter().enumerate() {
        let y = at as f64 * BAR;
        let length = (scale.place(*value) * (BARS_WIDTH - VALUE_WIDTH)).max(1.0);
        drawing.rect(&format!("bar {}", colour(at)), (0.0, y + 3.0), (length, BAR - 6.0), &words(*value, unit));
        drawing.text("value", (length + 6.0, y + BAR / 2.0 + 4.0), &words(*value, unit));
    }
    drawing.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_holds_until_the_next_value() {
        assert_eq!(steps(&[(0.0, 1.0), (5.0, 2.0)]), [(0.0, 1.0), (5.0, 1.0), (5.0, 2.0)]);
    }
}
