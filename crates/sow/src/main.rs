//! The command line of `sow`: reads it, runs the command, ends with its exit code.

mod args;
mod client_config;
mod commands;
mod config_ini;
mod contact;
mod descriptors;
mod disk;
mod exit;
mod fetch;
mod hashing;
mod memory;
mod offenders;
mod random_bytes;
mod reach;
mod receivers;
mod report;
mod resolve;
mod servers;
mod settings;
mod stop;
mod stream;
mod target;
mod torrent_file;
mod what;

use std::{num::NonZero, process::ExitCode};

use tokio::runtime::Builder;

use sow_quantity as quantity;

use crate::{
    args::{Command, chunk::ChunkCommand},
    exit::{Exit, Failure},
    report::Report,
};

fn main() -> ExitCode {
    let cli = args::parse();
    let report = Report::new(&cli.output);
    report::start_log(cli.output.verbose, &report);
    descriptors::allow_many();
    let exit = run(cli.command, &report).unwrap_or_else(|failure| {
        report.failure(&failure);
        failure.exit()
    });
    exit.into()
}

fn run(command: Command, report: &Report) -> Result<Exit, Failure> {
    match command {
        Command::Completions { shell } => Ok(commands::completions::run(shell, report)),
        Command::Man(args) => commands::man::run(args, report),
        Command::Torrent(args) => in_runtime(commands::torrent::run(args.command, report)),
        Command::Send(args) => in_runtime(commands::send::run(args, report)),
        Command::Get(args) => in_runtime(commands::get::run(args, report)),
        Command::Tracker(args) => in_runtime(commands::tracker::run(args, report)),
        Command::Raw(args) => in_runtime(commands::client_server::raw(args.command, report)),
        Command::Framed(args) => in_runtime(commands::client_server::framed(args.command, report)),
        Command::Chunk(args) => {
            // A client waits for a sum that one thread takes: a processor is left to that.
            let threads = match args.command {
                ChunkCommand::Server(_) => processors(),
                ChunkCommand::Client(_) => processors().saturating_sub(1).max(1),
            };
            in_runtime_of(threads, commands::chunk::run(args.command, report))
        }
        Command::JsonTorrent(args) => in_runtime(commands::json_torrent::run(args.command, report)),
        Command::Lab(args) => commands::lab::run(args.command, report),
        Command::Demo(args) => in_runtime(commands::demo::run(args, report)),
    }
}

/// Runs a command among tasks, on all processors.
fn in_runtime(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    in_runtime_of(processors(), command)
}

/// The same on so many threads. Work that still blocks one of its own when the command is over is
/// left behind.
fn in_runtime_of(
    threads: usize,
    command: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    let runtime =
        Builder::new_multi_thread().worker_threads(threads).enable_all().build().map_err(
            |error| Failure::new(Exit::Failed, format!("cannot start threads: {error}")),
        )?;
    let ended = runtime.block_on(command);
    runtime.shutdown_background();
    ended
}

/// How many processors there are for us.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(ended) => ended,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
