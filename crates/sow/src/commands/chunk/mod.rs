//! `sow chunk server|client`: document 1's P2P, on the engine, the store and the node of `send` and
//! `get`.

mod client;
mod server;

use crate::{
    args::chunk::ChunkCommand,
    config_ini::ConfigIni,
    exit::{Exit, Failure},
    report::Report,
};

/// Runs one of the commands.
///
/// # Errors
/// When the command line or the configuration cannot be used, or what the command is for cannot be
/// done.
pub(crate) async fn run(command: ChunkCommand, report: &Report) -> Result<Exit, Failure> {
    let config = match &command {
        ChunkCommand::Server(args) => ConfigIni::load(args.config.as_deref()),
        ChunkCommand::Client(args) => ConfigIni::load(args.config.as_deref()),
    }?;
    config.warnings.iter().for_each(|warning| report.warn(warning));
    match command {
        ChunkCommand::Server(args) => server::run(args.plan(config), report).await,
        ChunkCommand::Client(args) => {
            client::run(args.plan(config, report.is_json())?, report).await
        }
    }
}
