//! `sow tracker` as it is typed.

use std::net::IpAddr;

use clap::Args;

/// `sow tracker`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  sow tracker
  sow torrent create big.iso --tracker http://10.0.0.1:6969/announce")]
pub(crate) struct TrackerArgs {
    /// Listen on this port (HTTP); 0 takes any free one.
    #[arg(short, long, env = "SOW_PORT", default_value_t = 6969)]
    pub(crate) port: u16,
    /// Listen on this address alone.
    #[arg(long, env = "SOW_BIND", value_name = "ADDR")]
    pub(crate) bind: Option<IpAddr>,
}
