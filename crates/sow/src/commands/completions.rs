//! `sow completions`: a completion script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;
use sow_lab::scenario::BUILT_IN_NAMES;

use crate::{args::Cli, exit::Exit, report::Report};

/// Prints the completion script for a shell.
pub(crate) fn run(shell: Shell, report: &Report) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sow", &mut script);
    let script = with_experiments(shell, &String::from_utf8_lossy(&script));
    report.out_own_text(&script);
    Exit::Done
}

/// Completes the argument of `sow lab run`, which is an experiment or a file. The script of bash
/// does so already. That of zsh offers no files where there are names, and that of fish has no
/// names of arguments.
fn with_experiments(shell: Shell, script: &str) -> String {
    let names = BUILT_IN_NAMES.join(" ");
    match shell {
        Shell::Zsh => script.replace(
            &format!(":({names})' \\\n&& ret=0"),
            &format!(
                ":{{_alternative \"experiments:experiment:({names})\" \
                 \"files:scenario:_files -g \\*.toml\"}}' \\\n&& ret=0"
            ),
        ),
        Shell::Fish => format!(
            "{script}complete -c sow -n \"__fish_seen_subcommand_from lab; and \
             __fish_seen_subcommand_from run\" -a \"{names}\"\n"
        ),
        _ => script.to_owned(),
    }
}
