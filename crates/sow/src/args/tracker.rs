//! The options of `sow tracker`.

use std::net::IpAddr;

use clap::Args;

use super::groups::ListenArgs;

/// `sow tracker`.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("port", |arg| arg
        .help("Listen on this port (HTTP); 0 selects any free port")
        .default_value("6969")),
    after_help = "\
Examples:
  sow tracker
  sow torrent create big.iso --tracker http://10.0.0.1:6969/announce"
)]
pub(crate) struct TrackerArgs {
    #[command(flatten)]
    listen: ListenArgs,
}

impl TrackerArgs {
    /// The port to listen on; 0 for any.
    pub(crate) fn port(&self) -> u16 {
        self.listen.port
    }

    /// The address to listen on; `None` for all.
    pub(crate) fn bind(&self) -> Option<IpAddr> {
        self.listen.local.bind
    }
}
