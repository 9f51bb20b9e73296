//! `quorate completions`.

use clap::CommandFactory;

use crate::args::Cli;
use crate::exit::Failure;
use crate::output;

pub(super) fn print(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "quorate", &mut script);
    output::raw(&script)
}
