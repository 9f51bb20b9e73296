//! One HTML page about some runs: everything is in it, so that it opens without a network.
//!
//! Layout: `page` (what stands where), `charts` (one function a kind), `gantt` (what ran where), `axis` (scales and
//! their ticks), `svg` (elements and escaping), `style.css`.

mod axis;
mod charts;
mod gantt;
mod page;
mod svg;

pub use page::{Facts, write};
