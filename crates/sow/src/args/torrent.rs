//! The options of `sow torrent create|show|check`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, builder::FalseyValueParser};

use super::groups::{TorrentOutputArgs, TrackerUrlArgs};
use crate::quantity::{self, Size};

/// `sow torrent`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sow torrent create big.iso --tracker http://10.0.0.1:6969/announce
  sow torrent show big.iso.torrent
  sow torrent check big.iso.torrent /mnt/copy/big.iso")]
pub(crate) struct TorrentArgs {
    /// The command to run.
    #[command(subcommand)]
    pub(crate) command: TorrentCommand,
}

/// The commands under `sow torrent`.
#[derive(Debug, Subcommand)]
pub(crate) enum TorrentCommand {
    /// Hash a file or a folder and write its .torrent file.
    Create(CreateArgs),
    /// Show the contents of a .torrent file.
    Show(ShowArgs),
    /// Check a file or a folder against a .torrent file.
    Check(CheckArgs),
}

/// `sow torrent create`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  sow torrent create big.iso --tracker http://10.0.0.1:6969/announce
  sow torrent create photos/ --private --comment \"for the class\" -o /tmp/photos.torrent")]
pub(crate) struct CreateArgs {
    /// The file or folder.
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) trackers: TrackerUrlArgs,
    /// The length of a piece, a power of two from 16KiB to 64MiB [default: by size].
    #[arg(
        long,
        env = "SOW_PIECE_LENGTH",
        value_name = "SIZE",
        value_parser = piece_length
    )]
    pub(crate) piece_length: Option<Size>,
    /// Mark the torrent private: peers come only from its trackers (BEP 27).
    #[arg(
        long,
        env = "SOW_PRIVATE",
        action = ArgAction::SetTrue,
        value_parser = FalseyValueParser::new()
    )]
    pub(crate) private: bool,
    #[command(flatten)]
    pub(crate) output: TorrentOutputArgs,
}

/// `sow torrent show`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  sow torrent show big.iso.torrent
  sow torrent show --json big.iso.torrent | jq .info_hash")]
pub(crate) struct ShowArgs {
    /// The .torrent file.
    #[arg(value_name = "TORRENT")]
    pub(crate) torrent: PathBuf,
}

/// `sow torrent check`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  sow torrent check big.iso.torrent /mnt/copy/big.iso      exit code 4 if it does not verify")]
pub(crate) struct CheckArgs {
    /// The .torrent file.
    #[arg(value_name = "TORRENT")]
    pub(crate) torrent: PathBuf,
    /// The file or folder to check [default: its name in the current folder].
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
}

/// Checks a piece length.
fn piece_length(text: &str) -> Result<Size, String> {
    let size = quantity::size(text).map_err(|error| error.to_string())?;
    if !size.0.is_power_of_two() || !(16 << 10..=64 << 20).contains(&size.0) {
        return Err("a piece length is a power of two from 16KiB to 64MiB".to_owned());
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piece_lengths_are_powers_of_two() {
        assert_eq!(piece_length("32KiB"), Ok(Size(32 << 10)));
        assert_eq!(piece_length("64MiB"), Ok(Size(64 << 20)));
        for bad in ["8KiB", "128MiB", "100kB", "0", "x"] {
            assert!(piece_length(bad).is_err(), "{bad}");
        }
    }
}
