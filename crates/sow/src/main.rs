//! The program `sow`: parses the command line, runs the command, exits with its code.

mod advertised_address;
mod args;
mod commands;
mod config;
mod content_hashing;
mod engine_config;
mod exit;
mod file_errors;
mod file_reading;
mod http_download;
mod memory_limit;
mod name_lookup;
mod named_peers;
mod open_file_limit;
mod origin_index;
mod protocol_warnings;
mod random_content;
mod reachability;
mod receivers;
mod report;
mod stdout_stream;
mod stop_signal;
mod swarm_source;
mod target;
mod torrent_file;

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
    let report = Report::new(&cli.report);
    report::start_log(cli.report.verbose, &report);
    open_file_limit::raise_to_maximum();
    let exit = run_command(cli.command, &report).unwrap_or_else(|failure| {
        report.failure(&failure);
        failure.exit()
    });
    exit.into()
}

fn run_command(command: Command, report: &Report) -> Result<Exit, Failure> {
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
            // A client leaves one processor to the thread that computes the MD5.
            let threads = match args.command {
                ChunkCommand::Server(_) => processors(),
                ChunkCommand::Client(_) => processors().saturating_sub(1).max(1),
            };
            in_runtime_with(threads, commands::chunk::run(args.command, report))
        }
        Command::JsonTorrent(args) => in_runtime(commands::json_torrent::run(args.command, report)),
        Command::Lab(args) => commands::lab::run(args.command, report),
        Command::Demo(args) => in_runtime(commands::demo::run(args, report)),
    }
}

/// Runs a command on a tokio runtime with a thread for each processor.
fn in_runtime(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    in_runtime_with(processors(), command)
}

/// Runs a command on a tokio runtime with the given number of threads. Blocking work that has not
/// ended when the command ends is abandoned.
fn in_runtime_with(
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

/// The number of processors that this process may use.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Runs blocking work on a thread for such work.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(ended) => ended,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
