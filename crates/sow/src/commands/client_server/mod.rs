//! `sow raw` and `sow framed`: one sender, everyone who calls, no questions asked.

pub(crate) mod client;
pub(crate) mod server;
pub(crate) mod serving;

use crate::{
    args::client_server::{FramedCommand, RawCommand},
    exit::{Exit, Failure},
    report::Report,
};

/// `sow raw`.
///
/// # Errors
/// When the file does not come, or cannot be served.
pub(crate) async fn raw(command: RawCommand, report: &Report) -> Result<Exit, Failure> {
    match command {
        RawCommand::Server(args) => server::run(args.plan(), report).await,
        RawCommand::Client(args) => client::run(args.plan(report.is_json())?, report).await,
    }
}

/// `sow framed`.
///
/// # Errors
/// When the file does not come, or cannot be served.
pub(crate) async fn framed(command: FramedCommand, report: &Report) -> Result<Exit, Failure> {
    match command {
        FramedCommand::Server(args) => server::run(args.plan(), report).await,
        FramedCommand::Client(args) => client::run(args.plan(report.is_json())?, report).await,
    }
}
