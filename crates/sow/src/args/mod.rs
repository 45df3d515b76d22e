//! The command line: commands, options, their environment variables, their help. In a second step
//! each command turns its options into a plan. Nothing is carried out here.

pub(crate) mod chunk;
pub(crate) mod client_server;
pub(crate) mod demo;
pub(crate) mod destination;
pub(crate) mod fleet;
pub(crate) mod get;
pub(crate) mod groups;
pub(crate) mod json_torrent;
pub(crate) mod lab;
mod pasted;
pub(crate) mod push;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod served_content;
pub(crate) mod source;
pub(crate) mod torrent;
pub(crate) mod tracker;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
};

use clap::{
    ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource,
};
use clap_complete::Shell;
use sow_content::untrusted::{Untrusted, is_unprintable};

use self::groups::ReportArgs;
use crate::{exit, stdout};

/// Parses the command line of this process. On wrong usage, and for `--help`, it prints a message
/// and exits.
pub(crate) fn parse() -> Cli {
    let line = pasted::without_prompt(std::env::args_os().collect());
    let line = chunk::expand_server_port(line);
    let matches = Cli::command().try_get_matches_from(&line);
    let matches = matches.unwrap_or_else(|error| end_escaped(&error, &line));
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| end(&error));
    if let Some((no_seed, matches)) = no_seed_option(&mut cli.command, &matches) {
        // --seed-for on the command line has precedence over SOW_NO_SEED in the environment.
        let is_typed = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        if is_typed("seed_for") && !is_typed("no_seed") {
            *no_seed = false;
        }
    }
    cli
}

/// As [`end`]. A message that quotes an argument with control characters quotes it escaped.
fn end_escaped(error: &clap::Error, line: &[OsString]) -> ! {
    let is_clean = |word: &OsString| !word.to_string_lossy().contains(is_unprintable);
    if line.iter().skip(1).all(is_clean) {
        end(error)
    }
    let escaped = line.iter().map(|word| Untrusted(word.to_string_lossy()).to_string());
    match Cli::command().try_get_matches_from(escaped) {
        Err(error) => end(&error),
        Ok(_) => std::process::exit(error.exit_code()),
    }
}

/// Prints help or what is wrong with the command line, and exits.
fn end(error: &clap::Error) -> ! {
    if error.use_stderr() {
        error.exit()
    }
    match error.print().and_then(|()| io::stdout().flush()) {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            let failure = stdout::failure(&cause);
            let _ = writeln!(io::stderr(), "{failure}");
            std::process::exit(failure.exit().code().into())
        }
        _ => std::process::exit(error.exit_code()),
    }
}

/// `--no-seed` of a command that has it, and the matches of that command.
fn no_seed_option<'a>(
    command: &'a mut Command,
    matches: &'a ArgMatches,
) -> Option<(&'a mut bool, &'a ArgMatches)> {
    let (_, matches) = matches.subcommand()?;
    let nested = || matches.subcommand().map(|(_, matches)| matches);
    match command {
        Command::Get(get) => Some((get.no_seed(), matches)),
        Command::Chunk(chunk) => Some((chunk.no_seed()?, nested()?)),
        Command::JsonTorrent(json_torrent) => Some((json_torrent.no_seed()?, nested()?)),
        _ => None,
    }
}

/// Put one file on every machine in the time it takes to put it on one.
///
/// `sow send` shares a file or a folder and prints one line to paste on every other machine. Each
/// machine downloads from all the others at once (BitTorrent) and verifies every piece.
#[derive(Debug, Parser)]
#[command(
    name = "sow",
    version = env!("SOW_VERSION"),
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = EXAMPLES,
    after_long_help = long_help(),
)]
pub(crate) struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

const EXAMPLES: &str = "\
Examples:
  sow send big.iso                   on the machine that has it; prints the line for the others
  sow get 10.0.0.1:52000/6hx2…       on every other machine
  sow demo                           a demonstration on this machine";

fn long_help() -> String {
    format!(
        "{EXAMPLES}\n\nEvery option can also be set in the environment: --up-limit is \
         SOW_UP_LIMIT, and so on. The command line has precedence.\n\n{}",
        exit::TABLE
    )
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Share a file or a folder, and print the line to run elsewhere.
    Send(send::SendArgs),
    /// Download what a ticket, an address, a magnet link or a torrent names.
    Get(get::GetArgs),
    /// Put a file or a folder on every machine that ssh reaches.
    Push(push::PushArgs),
    /// Share many files and folders behind one port until stopped, for a service manager.
    Serve(serve::ServeArgs),
    /// Run a BitTorrent tracker (HTTP) for any torrent.
    Tracker(tracker::TrackerArgs),
    /// Create, show and check .torrent files.
    Torrent(torrent::TorrentArgs),
    /// Demonstrate sow on this machine: one origin, five receivers, client/server compared with
    /// peer-to-peer.
    Demo(demo::DemoArgs),
    /// Client/server that sends the bytes of a file and nothing else.
    #[command(visible_alias = "cs")]
    Raw(client_server::RawArgs),
    /// Client/server that sends the length of a file before its bytes.
    Framed(client_server::FramedArgs),
    /// Peer-to-peer with a server that has the file, in chunks without hashes.
    #[command(visible_alias = "p2p")]
    Chunk(chunk::ChunkArgs),
    /// Peer-to-peer with JSON torrents and a tracker.
    JsonTorrent(json_torrent::JsonTorrentArgs),
    /// Build networks of shaped links on this machine, run experiments in them, and report the
    /// measurements.
    Lab(lab::LabArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "\
Examples:
  source <(sow completions bash)          for this shell; put the line into ~/.bashrc for all
  source <(sow completions zsh)           after compinit in ~/.zshrc
  sow completions fish | source           in ~/.config/fish/config.fish")]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, or write one page for each command.
    #[command(
        after_help = "Examples:\n  sow man | man -l -\n  sow man -o /usr/local/share/man/man1"
    )]
    Man(ManArgs),
}

/// `sow man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write sow.1 and a page for each command into this folder, which is created, instead of one
    /// page to standard output.
    #[arg(short, long, env = "SOW_OUT", value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_passes_the_assertions_of_clap() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn visit(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has no example", command.get_name());
            assert!(
                help.contains("  sow "),
                "{}: the example is not a command line",
                command.get_name()
            );
            command.get_subcommands().for_each(visit);
        }
        visit(&Cli::command());
    }

    #[test]
    fn every_option_has_an_environment_variable() {
        fn visit(command: &clap::Command) {
            for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
                let flag = arg.get_long().unwrap_or_default();
                let due = format!("SOW_{}", flag.to_uppercase().replace('-', "_"));
                assert_eq!(
                    arg.get_env().map(|name| name.to_string_lossy().into_owned()),
                    Some(due),
                    "{} --{flag}",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(visit);
        }
        visit(&Cli::command());
    }
}
