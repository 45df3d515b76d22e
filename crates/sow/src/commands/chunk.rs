//! `sow chunk server|client`.

use crate::{
    args::chunk::ChunkCommand,
    config_ini::ConfigIni,
    exit::{Exit, Failure},
    report::Report,
};

/// Runs one of the commands.
///
/// # Errors
/// When the command line or the configuration cannot be used.
pub(crate) async fn run(command: ChunkCommand, report: &Report) -> Result<Exit, Failure> {
    let config = match &command {
        ChunkCommand::Server(args) => ConfigIni::load(args.config.as_deref()),
        ChunkCommand::Client(args) => ConfigIni::load(args.config.as_deref()),
    }?;
    config.warnings.iter().for_each(|warning| report.warn(warning));
    let name = match command {
        ChunkCommand::Server(args) => {
            args.plan(config);
            "server"
        }
        ChunkCommand::Client(args) => {
            args.plan(config, report.is_json())?;
            "client"
        }
    };
    Err(Failure::new(Exit::Failed, format!("this build of sow has no `chunk {name}` yet")))
}
