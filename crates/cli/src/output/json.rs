//! The API's JSON, indented.

use anyhow::Context;
use serde::Serialize;

use crate::exit::Failure;

pub(crate) fn print<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    super::data(serde_json::to_string_pretty(value).context("write JSON")?)
}

/// One value on one line, for lists that programs read line by line.
pub(crate) fn print_line<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    super::data(serde_json::to_string(value).context("write JSON")?)
}
