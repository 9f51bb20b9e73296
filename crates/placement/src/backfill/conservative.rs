//! follows
use crate::book::Pass;

pub(crate) fn run(pass: &mut Pass<'_>) {
    super::none::run(pass);
}
