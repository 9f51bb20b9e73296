//! Weighted round robin: turns in proportion to size, as evenly spaced as they can be. Stride scheduling (Waldspurger
//! and Weihl, MIT/LCS/TM-528, 1995): the lowest pass has the next turn and adds its stride.

use crate::book::share::share;
use crate::book::vector::Vector;

/// How far apart the turns of a worker are: inversely to its mean share of the largest worker.
pub(crate) fn stride(size: &Vector, scale: &Vector) -> u64 {
    let weight: u64 = size.lanes().iter().zip(scale.lanes()).map(|(size, largest)| share(*size, *largest)).sum();
    (1 << 40) / weight.max(1)
}
