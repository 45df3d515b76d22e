//! `sow raw` and `sow framed`: a server that sends one file to every client that connects, and the
//! client.

pub(crate) mod client;
pub(crate) mod client_report;
pub(crate) mod server;

use crate::{
    args::client_server::{FramedCommand, RawCommand},
    exit::{Exit, Failure},
    report::Report,
};

/// Runs a command of `sow raw`.
///
/// # Errors
/// When the file cannot be received or served.
pub(crate) async fn raw(command: RawCommand, report: &Report) -> Result<Exit, Failure> {
    match command {
        RawCommand::Server(args) => server::run(args.plan(), report).await,
        RawCommand::Client(args) => client::run(args.plan(report.is_json())?, report).await,
    }
}

/// Runs a command of `sow framed`.
///
/// # Errors
/// When the file cannot be received or served.
pub(crate) async fn framed(command: FramedCommand, report: &Report) -> Result<Exit, Failure> {
    match command {
        FramedCommand::Server(args) => server::run(args.plan(), report).await,
        FramedCommand::Client(args) => client::run(args.plan(report.is_json())?, report).await,
    }
}
