//! The command line as it is typed: commands, flags, their environment variables, their help. What
//! a command line *means* is worked out in the second step, by each command's `…Plan`.

pub(crate) mod chunk;
pub(crate) mod client_server;
pub(crate) mod demo;
pub(crate) mod get;
pub(crate) mod json_torrent;
pub(crate) mod lab;
pub(crate) mod send;
pub(crate) mod torrent;
pub(crate) mod tracker;

use std::path::PathBuf;

use clap::{
    ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::FalseyValueParser, parser::ValueSource,
};
use clap_complete::Shell;

use crate::exit;

/// Reads the command line of this process. On wrong usage, and for `--help`, it says so and ends
/// the process.
pub(crate) fn parse() -> Cli {
    let matches = Cli::command().get_matches_from(chunk::spelled_out(std::env::args_os()));
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let Some((no_seed, typed)) = seeding(&mut cli.command, &matches) {
        let source = |id| typed.value_source(id);
        // The two say the same thing in two ways, and the command line goes before the environment.
        if source("seed_for") == Some(ValueSource::CommandLine)
            && source("no_seed") != Some(ValueSource::CommandLine)
        {
            *no_seed = false;
        }
    }
    cli
}

/// `--no-seed` of a command that has it, and what was typed for that command.
fn seeding<'a>(
    command: &'a mut Command,
    typed: &'a ArgMatches,
) -> Option<(&'a mut bool, &'a ArgMatches)> {
    let (_, typed) = typed.subcommand()?;
    let below = || typed.subcommand().map(|(_, typed)| typed);
    match command {
        Command::Get(get) => Some((&mut get.no_seed, typed)),
        Command::Chunk(chunk) => Some((chunk.no_seed()?, below()?)),
        Command::JsonTorrent(json_torrent) => Some((json_torrent.no_seed()?, below()?)),
        _ => None,
    }
}

/// Put one file on every machine in the time it takes to put it on one.
///
/// `sow send` shares a file or a folder and prints one line to paste on every other machine. Each
/// of them fetches from all the others at once (BitTorrent), verifies every piece, and ends with
/// the same bytes.
#[derive(Debug, Parser)]
#[command(
    name = "sow",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = EXAMPLES,
    after_long_help = long_help(),
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) output: Output,
}

const EXAMPLES: &str = "\
Examples:
  sow send big.iso                   on the machine that has it; prints the line for the others
  sow get 10.0.0.1:52000/6hx2…       on every other machine
  sow demo                           see it work on this machine alone";

fn long_help() -> String {
    format!(
        "{EXAMPLES}\n\nEvery flag can also be set in the environment: --up-limit is SOW_UP_LIMIT, and so on; the command \
         line wins.\n\n{}",
        exit::TABLE
    )
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Share a file or a folder, and print the line to run elsewhere.
    Send(send::SendArgs),
    /// Fetch what a ticket, an address, a magnet link or a torrent names.
    Get(get::GetArgs),
    /// Run a BitTorrent tracker (HTTP) for any torrent.
    Tracker(tracker::TrackerArgs),
    /// Create, show and check .torrent files.
    Torrent(torrent::TorrentArgs),
    /// Show on this machine what sow does: one origin, five receivers, client/server beside
    /// peer-to-peer.
    Demo(demo::DemoArgs),
    /// Client/server without any protocol (document 1): the bytes of a file, and nothing else.
    #[command(visible_alias = "cs")]
    Raw(client_server::RawArgs),
    /// Client/server with a length in front (document 2).
    Framed(client_server::FramedArgs),
    /// Peer-to-peer with a server that has the file (document 1).
    #[command(visible_alias = "p2p")]
    Chunk(chunk::ChunkArgs),
    /// Peer-to-peer with JSON torrents and a tracker (document 2).
    JsonTorrent(json_torrent::JsonTorrentArgs),
    /// Networks of shaped links on this machine, to try things out and to measure them, and reports
    /// of what was measured.
    Lab(lab::LabArgs),
    /// Print a completion script for a shell.
    #[command(
        after_help = "Example:\n  sow completions bash > ~/.local/share/bash-completion/completions/sow"
    )]
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

/// How a run is shown; the same for every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What is shown")]
pub(crate) struct Output {
    /// Print one JSON event a line on standard output, and nothing else there.
    #[arg(long, global = true, env = "SOW_JSON", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
    /// Show no progress; errors and warnings still appear.
    #[arg(short, long, global = true, env = "SOW_QUIET", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) quiet: bool,
    /// Log what happens to standard error; twice for more, three times for everything.
    #[arg(short, long, global = true, env = "SOW_VERBOSE", action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// `sow man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write sow.1 and a page for each command into this folder, instead of one page to standard
    /// output.
    #[arg(short, long, env = "SOW_OUT", value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn visit(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has no example", command.get_name());
            assert!(
                help.contains("  sow "),
                "{}: the example is no command line",
                command.get_name()
            );
            command.get_subcommands().for_each(visit);
        }
        visit(&Cli::command());
    }

    #[test]
    fn every_flag_is_in_the_environment() {
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
