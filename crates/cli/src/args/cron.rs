//! `quorate cron …`.

use clap::{Args, Subcommand, ValueEnum};

/// More would be a list that nobody reads.
const COUNT_MAX: u32 = 10_000;

#[derive(Debug, Subcommand)]
pub(crate) enum CronCommand {
    /// Shows the next times of a cron expression, one RFC 3339 time a line
    Next(NextArgs),
}

#[derive(Args, Debug)]
pub(crate) struct NextArgs {
    /// Five fields (minute, hour, day of month, month, day of week), six with seconds before them, seven
    /// with a year after them; or @yearly, @monthly, @weekly, @daily, @hourly.
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    pub(crate) expression: String,
    /// The IANA time zone by whose clock it runs.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub(crate) time_zone: String,
    /// Only times strictly after this one, RFC 3339; without an offset it is by the clock of the time zone.
    /// Default: now.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// How many times to show; fewer are shown when no more follow until the end of the year 9999.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=i64::from(COUNT_MAX)))]
    pub(crate) count: u32,
    /// What becomes of a fixed time that the clock skips or shows twice.
    #[arg(long, value_enum, default_value_t = DstChoice::Once)]
    pub(crate) dst: DstChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DstChoice {
    /// A skipped time comes right after the gap; one shown twice comes the first time.
    Once,
    /// A skipped time does not come; one shown twice comes the first time.
    Skip,
    /// A skipped time comes right after the gap; one shown twice comes twice.
    Both,
}
