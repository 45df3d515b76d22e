//! The options of `sow json-torrent create|tracker|peer`, and the plans that they describe.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use sow_content::{
    geometry::MAX_WHOLE_PIECE,
    json_torrent::{DEFAULT_TRACKER_PORT, HashForm, is_host},
};

use super::{
    destination::Destination,
    groups::{
        ConfigurableListenArgs, DownLimitArgs, ListenArgs, OutputArgs, Seeding, SeedingArgs,
        TorrentOutputArgs, UpLimitArgs,
    },
};
use crate::{
    config::ClientConfig,
    exit::Failure,
    quantity::{self, Size},
};

/// The default port on which peers listen.
const DEFAULT_PEER_PORT: u16 = 5555;

/// `sow json-torrent`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every piece has a SHA-1, so content is verified; but no machine is authenticated, and the tracker \
accepts every announce.

Examples:
  sow json-torrent create big.iso --announce 10.0.0.1
  sow json-torrent tracker
  sow json-torrent peer big.iso.torrent")]
pub(crate) struct JsonTorrentArgs {
    /// The command to run.
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
    /// Download the file of a JSON torrent, or serve it if it exists.
    Peer(JsonPeerArgs),
}

/// `sow json-torrent create`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  sow json-torrent create big.iso --announce 10.0.0.1
  sow json-torrent create big.iso --announce tracker.example --piece-length 256KiB --hashes hex")]
pub(crate) struct JsonCreateArgs {
    /// The file; a JSON torrent cannot describe a folder.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The tracker's host name or address.
    #[arg(long, env = "SOW_ANNOUNCE", value_name = "HOST", value_parser = tracker_host)]
    pub(crate) announce: String,
    /// The tracker's port.
    #[arg(
        long,
        env = "SOW_PORT",
        default_value_t = DEFAULT_TRACKER_PORT,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(crate) port: u16,
    /// The length of a piece, from 1 byte to 64MiB; peers request whole pieces.
    #[arg(
        long,
        env = "SOW_PIECE_LENGTH",
        value_name = "SIZE",
        default_value = "3000",
        value_parser = piece_length
    )]
    pub(crate) piece_length: Size,
    /// How hashes are written: as the original program does, or as hexadecimal digits, which it
    /// cannot read.
    #[arg(long, env = "SOW_HASHES", value_name = "FORM", default_value = "python")]
    pub(crate) hashes: Hashes,
    #[command(flatten)]
    pub(crate) output: TorrentOutputArgs,
}

/// How hashes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hashes {
    Python,
    Hex,
}

/// `sow json-torrent tracker`.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("port", |arg| arg.default_value("6666")),
    after_help = "\
The protocol does not name files, so a tracker serves one torrent. It accepts every announce and \
drops unreachable peers.

Example:
  sow json-torrent tracker -p 6666"
)]
pub(crate) struct JsonTrackerArgs {
    #[command(flatten)]
    listen: ListenArgs,
}

/// `sow json-torrent peer`.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("config", |arg| arg.help(
        "The configuration file [default: client_config.json in the current folder, if it exists]"
    )),
    mut_arg("port", |arg| arg
        .help("Listen for peers on this port; 0 selects any free port [default: 5555]")),
    mut_arg("out", |arg| arg.help(
        "Write to this file, or into this existing folder [default: its name, in the current \
         folder]"
    )),
    mut_arg("seed_for", |arg| arg.help(
        "After completion, serve others for this time, needed or not [default: at most 10m, and \
         only while a connected peer needs it; without limit if the file was complete at the start]"
    )),
    after_help = "\
Every piece has a SHA-1, so content is verified; but no machine is authenticated.

Precedence: the command line, then the environment, then the configuration file, a JSON file with \
client_port, client_listen_max (the maximum number of connections) and file_header_size (always 8).

Examples:
  sow json-torrent peer big.iso.torrent    download it here, or serve it if it is here
  sow json-torrent peer big.iso.torrent -p 5556 -o /data/ --no-seed"
)]
pub(crate) struct JsonPeerArgs {
    /// The JSON .torrent file.
    #[arg(value_name = "TORRENT")]
    torrent: PathBuf,
    #[command(flatten)]
    listen: ConfigurableListenArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    seeding: SeedingArgs,
    #[command(flatten)]
    up: UpLimitArgs,
    #[command(flatten)]
    down: DownLimitArgs,
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
    /// The maximum number of connections, if it is configured.
    pub(crate) max_connections: Option<usize>,
    /// Where the file goes: a path, or a folder.
    pub(crate) destination: Destination,
    /// Replace a target that differs.
    pub(crate) overwrite: bool,
    /// How long to serve others after completion.
    pub(crate) seeding: Seeding,
    /// How long to serve at most a file that was complete at the start.
    pub(crate) seed_whole_for: Duration,
    /// How long the download may take.
    pub(crate) timeout: Option<Duration>,
    /// Bytes per second.
    pub(crate) up_limit: Option<u64>,
    /// Bytes per second.
    pub(crate) down_limit: Option<u64>,
}

impl JsonTorrentArgs {
    /// `--no-seed`, if the command has it.
    pub(super) fn no_seed(&mut self) -> Option<&mut bool> {
        match &mut self.command {
            JsonTorrentCommand::Peer(peer) => Some(&mut peer.seeding.no_seed),
            JsonTorrentCommand::Create(_) | JsonTorrentCommand::Tracker(_) => None,
        }
    }
}

impl JsonTrackerArgs {
    /// The port to listen on; 0 for any.
    pub(crate) fn port(&self) -> u16 {
        self.listen.port
    }

    /// The address to listen on; `None` for all.
    pub(crate) fn bind(&self) -> Option<IpAddr> {
        self.listen.local.bind
    }
}

impl JsonPeerArgs {
    /// The configuration file that the command line names.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.listen.config.as_deref()
    }

    /// The plan. Precedence: command line, environment, configuration file, defaults.
    ///
    /// # Errors
    /// When OUT is not a path for a file that can be served.
    pub(crate) fn plan(self, config: &ClientConfig) -> Result<JsonPeerPlan, Failure> {
        let timeout = self.output.timeout();
        let destination = Destination::of_named(self.output.out)?;
        if destination == Destination::Stdout {
            return Err(Failure::usage(
                "a peer uploads from a file, so it cannot write to standard output",
            )
            .tip("name a file with -o"));
        }
        let seeding = self.seeding.seeding();
        Ok(JsonPeerPlan {
            torrent: self.torrent,
            port: self.listen.port.or(config.client_port).unwrap_or(DEFAULT_PEER_PORT),
            bind: self.listen.local.bind,
            max_connections: config.client_listen_max,
            destination,
            overwrite: self.output.overwrite,
            seeding,
            seed_whole_for: match seeding {
                Seeding::Exactly(time) => time,
                Seeding::WhileNeeded(Duration::ZERO) => Duration::ZERO,
                Seeding::WhileNeeded(_) => Duration::MAX,
            },
            timeout,
            up_limit: self.up.up_limit(),
            down_limit: self.down.down_limit(),
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
            Err("the tracker is a host name or an IP address; its port goes with --port".to_owned())
        }
    }
}

fn piece_length(text: &str) -> Result<Size, String> {
    let size = quantity::size(text).map_err(|error| error.to_string())?;
    match (1..=u64::from(MAX_WHOLE_PIECE)).contains(&size.0) {
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
        config::ConfigFormat as _,
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
    fn the_command_line_has_precedence_over_the_configuration() {
        let file = br#"{"client_port": 7, "client_listen_max": 3}"#;
        let config = ClientConfig::parse(file, Path::new("client_config.json")).unwrap();
        let plain = plan(&[], &ClientConfig::default()).unwrap();
        assert_eq!((plain.port, plain.max_connections), (5555, None));
        assert_eq!(
            (plain.destination, plain.seed_whole_for),
            (Destination::Folder(".".into()), Duration::MAX)
        );
        let configured = plan(&[], &config).unwrap();
        assert_eq!((configured.port, configured.max_connections), (7, Some(3)));
        let typed = plan(&["-p", "0", "--no-seed"], &config).unwrap();
        assert_eq!((typed.port, typed.seed_whole_for), (0, Duration::ZERO));
        assert_eq!(plan(&["-o", "-"], &config).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn options_that_make_no_torrent_are_rejected() {
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
