//! The options of `sow lab crowds`.

use std::path::PathBuf;

use clap::Args;
use sow_lab::scenario::Mode;

/// `sow lab crowds`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each folder has the records of an experiment, measured or simulated. The plot has a line for each \
mode; a simulated one is dashed. Other files or links are lines of their own, unless --together \
is given. Writes crowds.svg, \
crowds.png, crowds.csv and crowds.md. Client/server modes are shown only if --modes names them, \
because their distance is the number of receivers.

Examples:
  sow lab crowds engines-results simulated-results --out docs/crowds
  sow lab crowds results --modes sow,libtorrent,udpcast")]
pub(crate) struct CrowdsArgs {
    /// The folders of records (records.jsonl).
    #[arg(required = true, value_name = "DIR")]
    pub(crate) dirs: Vec<PathBuf>,
    /// The modes to show, in the order of the legend [default: all but client/server].
    #[arg(long, env = "SOW_MODES", value_name = "MODE", value_delimiter = ',')]
    pub(crate) modes: Vec<Mode>,
    /// Put all runs of a mode on one line, whatever their files and links.
    #[arg(long, env = "SOW_TOGETHER")]
    pub(crate) together: bool,
    /// The folder for plot and table.
    #[arg(short, long, env = "SOW_OUT", value_name = "DIR", default_value = ".")]
    pub(crate) out: PathBuf,
}
