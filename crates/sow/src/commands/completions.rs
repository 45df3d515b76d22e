//! `sow completions`: a completion script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{args::Cli, exit::Exit, report::Report};

/// Prints the completion script for a shell.
pub(crate) fn run(shell: Shell, report: &Report) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sow", &mut script);
    report.out_own_text(&String::from_utf8_lossy(&script));
    Exit::Done
}
