//! `sow json-torrent create|tracker|peer` as it is typed, and as it is meant.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Subcommand, ValueEnum, builder::FalseyValueParser};
use sow_content::{
    geometry::MAX_PIECE_LENGTH,
    json_torrent::{DEFAULT_TRACKER_PORT, HashForm, is_host},
};

use super::get::{Destination, destination};
use crate::{
    client_config::ClientConfig,
    exit::Failure,
    quantity::{self, Rate, Size, Span},
};

/// The port that peers listen on when nothing says otherwise.
const DEFAULT_PEER_PORT: u16 = 5555;

/// How long those who still need it are served when nothing else is said.
const SEED_FOR: Duration = Duration::from_secs(600);

/// `sow json-torrent`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every piece has a SHA-1, so what comes is checked; but nobody is authenticated, and the tracker believes everybody.

Examples:
  sow json-torrent create big.iso --announce 10.0.0.1
  sow json-torrent tracker
  sow json-torrent peer big.iso.torrent")]
pub(crate) struct JsonTorrentArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: JsonTorrentCommand,
}

/// The commands under `sow json-torrent`.
#[derive(Debug, Subcommand)]
pub(crate) enum JsonTorrentCommand {
    /// Hash a file and write its JSON .torrent file.
    Create(JsonCreateArgs),
    /// Run the tracker of one JSON torrent.
    Tracker(JsonTrackerArgs),
    /// Fetch what a JSON torrent names, or serve it when it is there.
    Peer(JsonPeerArgs),
}

/// `sow json-torrent create`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  sow json-torrent create big.iso --announce 10.0.0.1
  sow json-torrent create big.iso --announce tracker.example --piece-length 256KiB --hashes hex")]
pub(crate) struct JsonCreateArgs {
    /// The file; such a torrent names one, and no folder.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The tracker's host name or address.
    #[arg(long, env = "SOW_ANNOUNCE", value_name = "HOST", value_parser = tracker_host)]
    pub(crate) announce: String,
    /// The tracker's port.
    #[arg(long, env = "SOW_PORT", default_value_t = DEFAULT_TRACKER_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// The length of a piece, from 1 byte to 64MiB; whole pieces are what peers ask for.
    #[arg(long, env = "SOW_PIECE_LENGTH", value_name = "SIZE", default_value = "3000", value_parser = piece_length)]
    pub(crate) piece_length: Size,
    /// How hashes are written: as the original programs do, or as hexadecimal digits, which they do
    /// not read.
    #[arg(long, env = "SOW_HASHES", value_name = "FORM", default_value = "python")]
    pub(crate) hashes: Hashes,
    /// A comment for those who read it.
    #[arg(
        long,
        env = "SOW_COMMENT",
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) comment: String,
    /// Write the torrent here; `-` is standard output [default: NAME.torrent in the current
    /// folder].
    #[arg(short, long, env = "SOW_OUT", value_name = "TORRENT")]
    pub(crate) out: Option<PathBuf>,
    /// Replace a torrent file that is there already.
    #[arg(long, env = "SOW_OVERWRITE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) overwrite: bool,
}

/// How hashes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hashes {
    Python,
    Hex,
}

/// `sow json-torrent tracker`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
The protocol names no file: a tracker is for one torrent. It believes whoever calls; peers that are out of reach are dropped.

Example:
  sow json-torrent tracker -p 6666")]
pub(crate) struct JsonTrackerArgs {
    /// Listen on this port; 0 takes any free one.
    #[arg(short, long, env = "SOW_PORT", default_value_t = DEFAULT_TRACKER_PORT)]
    pub(crate) port: u16,
    /// Listen on this address alone.
    #[arg(long, env = "SOW_BIND", value_name = "ADDR")]
    pub(crate) bind: Option<IpAddr>,
}

/// `sow json-torrent peer`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Every piece has a SHA-1, so what comes is checked; but nobody is authenticated.

The command line goes before the environment, and that before the configuration, a JSON file: client_port, \
client_listen_max (the most connections) and file_header_size (always 8).

Examples:
  sow json-torrent peer big.iso.torrent    fetch it here, or serve it when it is here
  sow json-torrent peer big.iso.torrent -p 5556 -o /data/ --no-seed")]
pub(crate) struct JsonPeerArgs {
    /// The JSON .torrent file.
    #[arg(value_name = "TORRENT")]
    pub(crate) torrent: PathBuf,
    /// The configuration [default: client_config.json in the current folder, when it is there].
    #[arg(long, env = "SOW_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Listen on this port for peers; 0 takes any free one [default: 5555].
    #[arg(short, long, env = "SOW_PORT")]
    pub(crate) port: Option<u16>,
    /// Where it goes: a file name, or a folder that exists [default: its name, here].
    #[arg(short, long, env = "SOW_OUT", value_name = "OUT")]
    pub(crate) out: Option<PathBuf>,
    /// Listen on this address alone.
    #[arg(long, env = "SOW_BIND", value_name = "ADDR")]
    pub(crate) bind: Option<IpAddr>,
    /// When complete, serve those who still need it for at most this long [default: 10m; what was
    /// there before it began is served until this is stopped].
    #[arg(long, env = "SOW_SEED_FOR", value_name = "TIME", value_parser = quantity::time)]
    pub(crate) seed_for: Option<Span>,
    /// Exit as soon as it is complete; the same as --seed-for 0.
    #[arg(long, env = "SOW_NO_SEED", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), overrides_with = "seed_for")]
    pub(crate) no_seed: bool,
    /// Give up (exit code 3) when it is not complete after this long: 90s, 10m, 1h.
    #[arg(long, env = "SOW_TIMEOUT", value_name = "TIME", value_parser = quantity::time)]
    pub(crate) timeout: Option<Span>,
    /// Send at most this fast, to all peers together: 10mbit, 1.2MB/s, 5MiB/s.
    #[arg(long, env = "SOW_UP_LIMIT", value_name = "RATE", value_parser = quantity::rate)]
    pub(crate) up_limit: Option<Rate>,
    /// Receive at most this fast, from all peers together.
    #[arg(long, env = "SOW_DOWN_LIMIT", value_name = "RATE", value_parser = quantity::rate)]
    pub(crate) down_limit: Option<Rate>,
    /// Replace a target that is there and differs.
    #[arg(long, env = "SOW_OVERWRITE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) overwrite: bool,
}

/// What `sow json-torrent peer` is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonPeerPlan {
    /// The JSON torrent.
    pub(crate) torrent: PathBuf,
    /// The port to listen on; 0 for any.
    pub(crate) port: u16,
    /// The address to listen on; `None` for all.
    pub(crate) bind: Option<IpAddr>,
    /// The most connections at a time, where somebody says it.
    pub(crate) max_connections: Option<usize>,
    /// Where the file goes: a path, or a folder.
    pub(crate) destination: Destination,
    /// Replace what differs.
    pub(crate) overwrite: bool,
    /// How long to serve others at most after completion.
    pub(crate) seed_for: Duration,
    /// How long to serve at most what is there before it begins.
    pub(crate) seed_whole_for: Duration,
    /// How long the download may take.
    pub(crate) timeout: Option<Duration>,
    /// Bytes per second.
    pub(crate) up_limit: Option<u64>,
    /// Bytes per second.
    pub(crate) down_limit: Option<u64>,
}

impl JsonTorrentArgs {
    /// `--no-seed`, where the command has it.
    pub(super) fn no_seed(&mut self) -> Option<&mut bool> {
        match &mut self.command {
            JsonTorrentCommand::Peer(peer) => Some(&mut peer.no_seed),
            JsonTorrentCommand::Create(_) | JsonTorrentCommand::Tracker(_) => None,
        }
    }
}

impl JsonPeerArgs {
    /// What is meant: the command line before the environment, that before the configuration, that
    /// before the defaults.
    ///
    /// # Errors
    /// When OUT is no place for a file that can be served.
    pub(crate) fn plan(self, config: &ClientConfig) -> Result<JsonPeerPlan, Failure> {
        let destination = destination(self.out)?;
        if destination == Destination::Stdout {
            return Err(Failure::usage(
                "a peer serves what it has from the disk, not from standard output",
            )
            .tip("name a file with -o"));
        }
        let typed = self.seed_for.map(|span| span.0);
        let seed_for = if self.no_seed { Some(Duration::ZERO) } else { typed };
        Ok(JsonPeerPlan {
            torrent: self.torrent,
            port: self.port.or(config.client_port).unwrap_or(DEFAULT_PEER_PORT),
            bind: self.bind,
            max_connections: config.client_listen_max,
            destination,
            overwrite: self.overwrite,
            seed_for: seed_for.unwrap_or(SEED_FOR),
            seed_whole_for: seed_for.unwrap_or(Duration::MAX),
            timeout: self.timeout.map(|span| span.0),
            up_limit: self.up_limit.map(|rate| rate.0),
            down_limit: self.down_limit.map(|rate| rate.0),
        })
    }
}

impl From<Hashes> for HashForm {
    fn from(hashes: Hashes) -> Self {
        match hashes {
            Hashes::Python => Self::Python,
            Hashes::Hex => Self::Hex,
        }
    }
}

fn tracker_host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match is_host(bare) {
        true => Ok(bare.to_owned()),
        false => {
            Err("a host name or an IP address belongs there; its port goes with --port".to_owned())
        }
    }
}

fn piece_length(text: &str) -> Result<Size, String> {
    let size = quantity::size(text).map_err(|error| error.to_string())?;
    match (1..=u64::from(MAX_PIECE_LENGTH)).contains(&size.0) {
        true => Ok(size),
        false => Err("a piece length is between 1 byte and 64MiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::{Cli, Command},
        exit::Exit,
    };

    fn plan(line: &[&str], config: &ClientConfig) -> Result<JsonPeerPlan, Failure> {
        let words = ["sow", "json-torrent", "peer", "a.torrent"].iter().chain(line);
        let Command::JsonTorrent(args) = Cli::try_parse_from(words).unwrap().command else {
            unreachable!()
        };
        let JsonTorrentCommand::Peer(peer) = args.command else { unreachable!() };
        peer.plan(config)
    }

    #[test]
    fn the_command_line_goes_before_the_configuration() {
        let config = ClientConfig {
            client_port: Some(7),
            client_listen_max: Some(3),
            ..ClientConfig::default()
        };
        let plain = plan(&[], &ClientConfig::default()).unwrap();
        assert_eq!((plain.port, plain.max_connections), (5555, None));
        assert_eq!(
            (plain.destination, plain.seed_for),
            (Destination::Folder(".".into()), Duration::from_secs(600))
        );
        let configured = plan(&[], &config).unwrap();
        assert_eq!((configured.port, configured.max_connections), (7, Some(3)));
        let typed = plan(&["-p", "0", "--no-seed"], &config).unwrap();
        assert_eq!((typed.port, typed.seed_for), (0, Duration::ZERO));
        assert_eq!(plan(&["-o", "-"], &config).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn what_makes_no_torrent_is_refused() {
        let create = |line: &[&str]| {
            Cli::try_parse_from(["sow", "json-torrent", "create", "a"].iter().chain(line)).is_ok()
        };
        assert!(
            create(&["--announce", "10.0.0.1"])
                && create(&["--announce", "[::1]", "--piece-length", "1"])
        );
        for line in [
            &[][..],
            &["--announce", "http://10.0.0.1"],
            &["--announce", "10.0.0.1:6666"],
            &["--announce", "t", "--port", "0"],
            &["--announce", "t", "--piece-length", "0"],
            &["--announce", "t", "--piece-length", "65MiB"],
            &["--announce", "t", "--hashes", "md5"],
        ] {
            assert!(!create(line), "{line:?}");
        }
    }
}
