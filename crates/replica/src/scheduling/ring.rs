//! Sums over sliding windows: each window is cut into steps, of which the newest are kept.

use quorate_types::Timestamp;
use quorate_types::scheduling::Window;

use crate::limits::SCHEDULING_STEPS;

/// One window's steps. A step's place is given by its number, so that what is old is overwritten.
#[derive(Clone, Debug)]
struct Ring<T> {
    step_ms: u64,
    steps: [Step<T>; SCHEDULING_STEPS],
}

#[derive(Clone, Debug, Default)]
struct Step<T> {
    /// Counted from 1970; 0 is none. The shortest steps reach 32 bits in the year 2650.
    number: u32,
    sum: T,
}

impl<T: Default> Ring<T> {
    fn new(window: Window) -> Self {
        Self { step_ms: step_ms(window), steps: std::array::from_fn(|_| Step::default()) }
    }

    fn number(&self, at: Timestamp) -> u32 {
        u32::try_from(at.0 / self.step_ms).unwrap_or(u32::MAX)
    }

    fn step(&mut self, number: u32) -> &mut T {
        let step = &mut self.steps[number as usize % SCHEDULING_STEPS];
        if step.number != number {
            *step = Step { number, sum: T::default() };
        }
        &mut step.sum
    }

    /// Gives each step that lies between the two its part of the time.
    fn spread(&mut self, from: Timestamp, to: Timestamp, add: &mut impl FnMut(&mut T, u64)) {
        let oldest = Timestamp(begin(self.step_ms, to));
        let mut at = from.max(oldest);
        while at < to {
            let number = self.number(at);
            let end = Timestamp((u64::from(number) + 1) * self.step_ms).min(to);
            add(self.step(number), end.since(at).0);
            at = end;
        }
    }

    fn within(&self, now: Timestamp) -> impl Iterator<Item = &T> {
        let newest = self.number(now);
        let oldest = newest.saturating_sub(SCHEDULING_STEPS as u32 - 1);
        self.steps.iter().filter(move |step| (oldest..=newest).contains(&step.number)).map(|step| &step.sum)
    }
}

const fn step_ms(window: Window) -> u64 {
    window.length().0 / SCHEDULING_STEPS as u64
}

const fn begin(step_ms: u64, now: Timestamp) -> u64 {
    (now.0 / step_ms + 1).saturating_sub(SCHEDULING_STEPS as u64) * step_ms
}

/// Where a window begins: with its oldest step.
pub(super) fn beginning(window: Window, now: Timestamp) -> Timestamp {
    Timestamp(begin(step_ms(window), now))
}

/// The same sums over every window. Time must not run backwards.
#[derive(Clone, Debug)]
pub(super) struct Rings<T>([Ring<T>; Window::ALL.len()]);

impl<T: Default> Default for Rings<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|at| Ring::new(Window::ALL[at])))
    }
}

impl<T: Default> Rings<T> {
    /// Adds something that lasted: `add` is told how many milliseconds of it belong to a step.
    pub(super) fn spread(&mut self, from: Timestamp, to: Timestamp, mut add: impl FnMut(&mut T, u64)) {
        self.0.iter_mut().for_each(|ring| ring.spread(from, to, &mut add));
    }

    /// Adds something that happened.
    pub(super) fn note(&mut self, at: Timestamp, mut add: impl FnMut(&mut T)) {
        for ring in &mut self.0 {
            let number = ring.number(at);
            add(ring.step(number));
        }
    }

    /// The steps of a window.
    pub(super) fn within(&self, window: Window, now: Timestamp) -> impl Iterator<Item = &T> {
        self.0[window as usize].within(now)
    }
}
