//! `sow chunk server|client`, on the engine, the store and the node of `send` and `get`.

mod client;
mod server;

use crate::{
    args::chunk::ChunkCommand,
    config::{self, ConfigIni},
    exit::{Exit, Failure},
    report::Report,
};

/// Runs one of the commands.
///
/// # Errors
/// When the command line or the configuration cannot be used, or the command fails.
pub(crate) async fn run(command: ChunkCommand, report: &Report) -> Result<Exit, Failure> {
    let config: ConfigIni = config::load(command.config(), report)?;
    match command {
        ChunkCommand::Server(args) => server::run(args.plan(config), report).await,
        ChunkCommand::Client(args) => {
            client::run(args.plan(config, report.is_json())?, report).await
        }
    }
}
