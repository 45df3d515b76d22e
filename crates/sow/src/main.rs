//! The program `sow`: parses the command line, runs the command, exits with its code.

// Only `report` prints: it escapes what comes from other machines.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod advertised_address;
mod args;
mod change_log;
mod commands;
mod completion_hook;
mod config;
mod content_hashing;
mod copy_identity;
mod engine_config;
mod exit;
mod file_errors;
mod file_reading;
mod fleet;
mod http_download;
mod memory_limit;
mod name_lookup;
mod named_peers;
mod offer;
mod open_file_limit;
mod origin_index;
mod own_program;
mod protocol_warnings;
mod push;
mod random_content;
mod reachability;
mod report;
mod runtime;
mod stdout;
mod stdout_stream;
mod stop_signal;
mod swarm_source;
mod target;
mod torrent_file;
mod web;

use std::process::ExitCode;

use sow_quantity as quantity;

use crate::{
    args::{Command, chunk::ChunkCommand},
    exit::{Exit, Failure},
    report::Report,
    runtime::{processors, run_async, run_async_with},
};

fn main() -> ExitCode {
    let cli = args::parse();
    let report = Report::new(&cli.report);
    report::start_log(cli.report.verbose, &report);
    open_file_limit::raise_to_maximum();
    let exit = run_command(cli.command, &report).unwrap_or_else(|failure| {
        report.failure(&failure);
        failure.exit()
    });
    match report.stdout_failure() {
        Some(failure) => {
            report.failure(&failure);
            exit.after_output_failure().into()
        }
        None => exit.into(),
    }
}

fn run_command(command: Command, report: &Report) -> Result<Exit, Failure> {
    match command {
        Command::Completions { shell } => Ok(commands::completions::run(shell, report)),
        Command::Man(args) => commands::man::run(args, report),
        Command::Torrent(args) => run_async(commands::torrent::run(args.command, report)),
        Command::Send(args) => run_async(commands::send::run(args, report)),
        Command::Get(args) => run_async(commands::get::run(args, report)),
        Command::Push(args) => run_async(commands::push::run(args, report)),
        Command::Serve(args) => run_async(commands::serve::run(args, report)),
        Command::Tracker(args) => run_async(commands::tracker::run(args, report)),
        Command::Raw(args) => run_async(commands::client_server::raw(args.command, report)),
        Command::Framed(args) => run_async(commands::client_server::framed(args.command, report)),
        Command::Chunk(args) => {
            // A client leaves one processor to the thread that computes the MD5.
            let threads = match args.command {
                ChunkCommand::Server(_) => processors(),
                ChunkCommand::Client(_) => processors().saturating_sub(1).max(1),
            };
            run_async_with(threads, commands::chunk::run(args.command, report))
        }
        Command::JsonTorrent(args) => run_async(commands::json_torrent::run(args.command, report)),
        Command::Lab(args) => commands::lab::run(args.command, report),
        Command::Demo(args) => run_async(commands::demo::run(args, report)),
    }
}
