//! Groups of options that several commands share, each declared once: name, environment variable,
//! value and help. A command flattens the groups that it needs; where its help or its default
//! differs, it says so with `mut_arg`. What an option means is not decided here.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, ValueEnum, builder::FalseyValueParser};
use sow_wire::chunk::Spelling;

use crate::quantity::{self, Rate, Span};

/// How a run is reported; the same for every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What is shown")]
pub(crate) struct ReportArgs {
    /// Print one JSON event a line on standard output, and nothing else there.
    #[arg(
        long,
        global = true,
        env = "SOW_JSON",
        action = ArgAction::SetTrue,
        value_parser = FalseyValueParser::new()
    )]
    pub(crate) json: bool,
    /// Show no progress; errors and warnings still appear.
    #[arg(
        short,
        long,
        global = true,
        env = "SOW_QUIET",
        action = ArgAction::SetTrue,
        value_parser = FalseyValueParser::new()
    )]
    pub(crate) quiet: bool,
    /// Log to standard error; repeat for debug messages (-vv) and for everything (-vvv).
    #[arg(short, long, global = true, env = "SOW_VERBOSE", action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The local address of sockets.
#[derive(Debug, Clone, Args)]
pub(super) struct BindArgs {
    /// Listen only on this address.
    #[arg(long, env = "SOW_BIND", value_name = "ADDR")]
    pub(super) bind: Option<IpAddr>,
}

/// Where a command listens. The port is 0 unless the command declares another default.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListenArgs {
    /// Listen on this port; 0 selects any free port.
    #[arg(short, long, env = "SOW_PORT", default_value = "0")]
    pub(super) port: u16,
    #[command(flatten)]
    pub(super) local: BindArgs,
}

/// Where a command listens that also reads a configuration file, and that file.
#[derive(Debug, Clone, Args)]
pub(super) struct ConfigurableListenArgs {
    /// Listen on this port; 0 selects any free port.
    #[arg(short, long, env = "SOW_PORT")]
    pub(super) port: Option<u16>,
    #[command(flatten)]
    pub(super) local: BindArgs,
    /// The configuration file [default: config.ini in the current folder, if it exists].
    #[arg(long, env = "SOW_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// The limit for what is sent.
#[derive(Debug, Clone, Args)]
pub(crate) struct UpLimitArgs {
    /// Send at most at this rate, to all peers together: 10mbit, 1.2MB/s, 5MiB/s.
    #[arg(long, env = "SOW_UP_LIMIT", value_name = "RATE", value_parser = quantity::rate)]
    up_limit: Option<Rate>,
}

/// The limit for what is received.
#[derive(Debug, Clone, Args)]
pub(super) struct DownLimitArgs {
    /// Receive at most at this rate, from all peers together.
    #[arg(long, env = "SOW_DOWN_LIMIT", value_name = "RATE", value_parser = quantity::rate)]
    down_limit: Option<Rate>,
}

/// What a command that receives one file writes, and for how long it tries.
#[derive(Debug, Clone, Args)]
pub(super) struct OutputArgs {
    /// Write to this file; `-` is standard output [default: memory].
    #[arg(short, long, env = "SOW_OUT", value_name = "OUT")]
    pub(super) out: Option<PathBuf>,
    /// Replace an existing target that differs.
    #[arg(
        long,
        env = "SOW_OVERWRITE",
        action = ArgAction::SetTrue,
        value_parser = FalseyValueParser::new()
    )]
    pub(super) overwrite: bool,
    /// Give up (exit code 3) if the download is not complete after this time: 90s, 10m, 1h.
    #[arg(long, env = "SOW_TIMEOUT", value_name = "TIME", value_parser = quantity::time)]
    timeout: Option<Span>,
}

/// How long a complete download is served to others.
#[derive(Debug, Clone, Args)]
pub(super) struct SeedingArgs {
    /// After completion, serve others for this time, needed or not [default: at most 10m, and only
    /// while a connected peer needs it].
    #[arg(long, env = "SOW_SEED_FOR", value_name = "TIME", value_parser = quantity::time)]
    seed_for: Option<Span>,
    /// Exit on completion; the same as --seed-for 0.
    #[arg(
        long,
        env = "SOW_NO_SEED",
        action = ArgAction::SetTrue,
        value_parser = FalseyValueParser::new(),
        overrides_with = "seed_for"
    )]
    pub(super) no_seed: bool,
}

/// How long a complete download is served to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seeding {
    /// While a connected peer needs it, for at most this time.
    WhileNeeded(Duration),
    /// For this time, so that peers that come later find it.
    Exactly(Duration),
}

/// How long a complete download is served at most if the command line does not say so.
const DEFAULT_SEED_TIME: Duration = Duration::from_secs(600);

/// When an origin or a server is done.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ExpectArgs {
    /// Exit with code 0 as soon as N receivers hold verified whole copies, with code 7 if stopped
    /// before.
    #[arg(
        short = 'n',
        long,
        env = "SOW_EXPECT",
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(super) expect: Option<u32>,
}

/// How uploads are shared among receivers.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ChokingArgs {
    /// Choke as in a public swarm: upload to four peers at a time, chosen by what they send
    /// (BEP 3).
    #[arg(
        long,
        env = "SOW_TIT_FOR_TAT",
        action = ArgAction::SetTrue,
        value_parser = FalseyValueParser::new()
    )]
    pub(super) tit_for_tat: bool,
}

/// What runs when a copy is complete.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OnCompleteArgs {
    /// Run this command (sh -c) each time that a receiver has a verified copy; SOW_CONTENT_NAME,
    /// SOW_CONTENT_PATH and SOW_RECEIVER_NAME are in its environment. If it fails, the exit code
    /// is 1.
    #[arg(long, env = "SOW_ON_COMPLETE", value_name = "COMMAND")]
    pub(crate) on_complete: Option<String>,
}

/// The spelling of `chunk` messages.
#[derive(Debug, Clone, Args)]
pub(super) struct SpellingArgs {
    /// The spelling of messages that are sent: as the protocol is documented, or as the original
    /// program understands it.
    #[arg(long, env = "SOW_COMPAT", value_name = "SPELLING", default_value = "documented")]
    compat: Compat,
}

/// The spelling of messages that are sent; both are always understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compat {
    Documented,
    Original,
}

/// Trackers of a torrent.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TrackerUrlArgs {
    /// The URL of a tracker; repeat for more.
    #[arg(
        long,
        env = "SOW_TRACKER",
        value_name = "URL",
        value_delimiter = ',',
        value_parser = tracker_url
    )]
    pub(crate) tracker: Vec<String>,
}

/// Where a new .torrent file goes.
#[derive(Debug, Clone, Args)]
pub(crate) struct TorrentOutputArgs {
    /// Write the torrent here; `-` is standard output [default: NAME.torrent in the current
    /// folder].
    #[arg(short, long, env = "SOW_OUT", value_name = "TORRENT")]
    pub(crate) out: Option<PathBuf>,
    /// Replace an existing torrent file.
    #[arg(
        long,
        env = "SOW_OVERWRITE",
        action = ArgAction::SetTrue,
        value_parser = FalseyValueParser::new()
    )]
    pub(crate) overwrite: bool,
    /// A comment to store in the torrent.
    #[arg(long, env = "SOW_COMMENT", value_name = "TEXT")]
    pub(crate) comment: Option<String>,
}

impl UpLimitArgs {
    /// Bytes per second.
    pub(super) fn up_limit(&self) -> Option<u64> {
        self.up_limit.map(|rate| rate.0)
    }
}

impl DownLimitArgs {
    /// Bytes per second.
    pub(super) fn down_limit(&self) -> Option<u64> {
        self.down_limit.map(|rate| rate.0)
    }
}

impl OutputArgs {
    /// How long the download may take.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout.map(|span| span.0)
    }
}

impl SeedingArgs {
    /// How long a complete download is served.
    pub(super) fn seeding(&self) -> Seeding {
        match self.seed_for {
            _ if self.no_seed => Seeding::WhileNeeded(Duration::ZERO),
            Some(time) => Seeding::Exactly(time.0),
            None => Seeding::WhileNeeded(DEFAULT_SEED_TIME),
        }
    }
}

impl ExpectArgs {
    /// The number of receivers to wait for.
    pub(super) fn expected(&self) -> Option<usize> {
        self.expect.map(|count| count as usize)
    }
}

impl SpellingArgs {
    /// The spelling for the engine.
    pub(super) fn spelling(&self) -> Spelling {
        match self.compat {
            Compat::Documented => Spelling::Documented,
            Compat::Original => Spelling::Original,
        }
    }
}

/// Checks the URL of a tracker.
///
/// # Errors
/// When it is neither an `http`, `https` nor `udp` URL with a host.
fn tracker_url(text: &str) -> Result<String, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let is_known = matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https" | "udp");
    if !is_known || host.is_empty() || host.starts_with(':') {
        return Err(
            "a tracker is http://HOST:PORT/announce, https://… or udp://HOST:PORT".to_owned()
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trackers_are_urls() {
        for good in [
            "http://10.0.0.1:6969/announce",
            "udp://tracker.example:80",
            "HTTPS://t.example/announce?k=1",
        ] {
            assert_eq!(tracker_url(good).as_deref(), Ok(good));
        }
        for bad in ["10.0.0.1:6969", "ftp://a/b", "http://", "udp://:80", "http:///announce"] {
            assert!(tracker_url(bad).is_err(), "{bad}");
        }
    }
}
