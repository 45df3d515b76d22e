//! The options of `sow send`.

use std::{
    mem::discriminant,
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use sow_node::{HostName, HostNames};

use super::{
    fleet::FleetArgs,
    groups::{ChokingArgs, ListenArgs, OnCompleteArgs, TrackerUrlArgs, UpLimitArgs},
};
use crate::exit::Failure;

/// `sow send`.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("port", |arg| arg.default_value("52000").help(
        "Listen on this port for peers, the tracker and the .torrent download; 0 selects any free \
         port"
    )),
    mut_arg("bind", |arg| arg.help("Listen only on this address, and put it into the ticket")),
    mut_arg("tracker", |arg| arg.help("Announce to this tracker too; repeat for more")),
    after_help = "\
Examples:
  sow send big.iso                        prints: sow get 10.0.0.1:52000/6hx2…
  sow send photos/ --expect 3             exits with code 0 when three machines hold whole copies
  sow send a.iso b.iso photos/            prints a line for each
  sow send big.iso --hosts hosts.txt --timeout 1h --results results.csv --missing retry.txt
  sow send big.iso --on-complete 'echo \"$SOW_RECEIVER_NAME\" >> complete.txt'
  sow send big.iso --torrent              also writes big.iso.torrent, for any BitTorrent program
  sow send big.iso --up-limit 100mbit --port 0
  sow send big.iso --also chunk,json-torrent,raw:52001,framed:6666"
)]
pub(crate) struct SendArgs {
    /// The file or folder to share; several are shared at the same time, each with a line of its
    /// own.
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
    #[command(flatten)]
    up: UpLimitArgs,
    #[command(flatten)]
    pub(crate) trackers: TrackerUrlArgs,
    #[command(flatten)]
    choking: ChokingArgs,
    #[command(flatten)]
    hook: OnCompleteArgs,
    /// Serve the file in other protocols too: raw:PORT and framed:PORT, each on its own port,
    /// chunk and json-torrent on the main port. --expect counts a chunk client when its MD5
    /// matches; clients of raw, framed and json-torrent do not report verified copies.
    #[arg(
        long,
        env = "SOW_ALSO",
        value_name = "DIALECT",
        value_delimiter = ',',
        value_parser = extra_dialect
    )]
    also: Vec<ExtraDialect>,
    /// Another name or address at which this machine is reached, for requests over HTTP; repeat for
    /// more. Its addresses and its own name are known.
    #[arg(long, env = "SOW_HOST_NAME", value_name = "NAME", value_delimiter = ',')]
    host_name: Vec<HostName>,
    /// Write a .torrent file: NAME.torrent in the current folder, or FILE.
    #[arg(
        long,
        env = "SOW_TORRENT",
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true
    )]
    torrent: Option<Option<PathBuf>>,
}

/// A protocol beside BitTorrent that the file is served in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtraDialect {
    /// `chunk`, on the main port.
    Chunk,
    /// `json-torrent`, on the main port.
    JsonTorrent,
    /// `raw`, on this port; 0 for any.
    Raw(u16),
    /// `framed`, on this port; 0 for any.
    Framed(u16),
}

impl SendArgs {
    /// The options of the origin of `sow push`.
    pub(crate) fn for_push(path: PathBuf, listen: ListenArgs, up: UpLimitArgs) -> Self {
        Self {
            paths: vec![path],
            listen,
            fleet: FleetArgs::default(),
            up,
            trackers: TrackerUrlArgs::default(),
            choking: ChokingArgs::default(),
            hook: OnCompleteArgs::default(),
            also: Vec::new(),
            host_name: Vec::new(),
            torrent: None,
        }
    }

    /// The command that runs when a receiver is complete.
    pub(crate) fn on_complete(&self) -> Option<String> {
        self.hook.on_complete.clone()
    }

    /// The port to listen on; 0 for any.
    pub(crate) fn port(&self) -> u16 {
        self.listen.port
    }

    /// The address to listen on; `None` for all.
    pub(crate) fn bind(&self) -> Option<IpAddr> {
        self.listen.local.bind
    }

    /// Bytes per second.
    pub(crate) fn up_limit(&self) -> Option<u64> {
        self.up.up_limit()
    }

    /// The names at which this machine is reached beside those that it knows.
    pub(crate) fn host_names(&self) -> HostNames {
        self.host_name.iter().cloned().collect()
    }

    /// Choke as in a public swarm.
    pub(crate) fn tit_for_tat(&self) -> bool {
        self.choking.tit_for_tat
    }

    /// Checks what is possible with one path only.
    ///
    /// # Errors
    /// When there are several, and an option is for one.
    pub(crate) fn check_paths(&self) -> Result<(), Failure> {
        if self.paths.len() == 1 {
            return Ok(());
        }
        if !self.also.is_empty() {
            return Err(Failure::usage("--also serves one file, and several are named")
                .tip("run `sow send` for each, with a --port of its own"));
        }
        if let Some(Some(file)) = &self.torrent {
            let message = format!("--torrent={} is for one file, and several", file.display());
            return Err(Failure::usage(format!("{message} are named"))
                .tip("--torrent alone writes NAME.torrent for each"));
        }
        Ok(())
    }

    /// Where the .torrent file of content called `name` is to be written, if anywhere.
    pub(crate) fn torrent_path(&self, name: &str) -> Option<PathBuf> {
        let path = self.torrent.as_ref()?.as_deref().map(Path::to_owned);
        Some(path.unwrap_or_else(|| PathBuf::from(format!("{name}.torrent"))))
    }

    /// The protocols beside BitTorrent.
    ///
    /// # Errors
    /// When one of them, or a port, is named twice.
    pub(crate) fn extra_dialects(&self) -> Result<&[ExtraDialect], Failure> {
        let mut ports = vec![self.port()];
        for (index, dialect) in self.also.iter().enumerate() {
            let is_same = |other: &ExtraDialect| discriminant(other) == discriminant(dialect);
            if self.also[..index].iter().any(is_same) {
                return Err(Failure::usage(format!("--also names {} twice", dialect.name()))
                    .tip("each protocol is served once"));
            }
            let Some(port) = dialect.port() else { continue };
            if port != 0 && ports.contains(&port) {
                return Err(Failure::usage(format!(
                    "{}:{port} is on a port that is in use already",
                    dialect.name()
                ))
                .tip("raw and framed each need a port of their own, other than --port"));
            }
            ports.push(port);
        }
        Ok(&self.also)
    }
}

impl ExtraDialect {
    /// Its own port, if it has one.
    fn port(self) -> Option<u16> {
        match self {
            ExtraDialect::Raw(port) | ExtraDialect::Framed(port) => Some(port),
            ExtraDialect::Chunk | ExtraDialect::JsonTorrent => None,
        }
    }

    /// As it is typed, without the port.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ExtraDialect::Chunk => "chunk",
            ExtraDialect::JsonTorrent => "json-torrent",
            ExtraDialect::Raw(_) => "raw",
            ExtraDialect::Framed(_) => "framed",
        }
    }
}

fn extra_dialect(text: &str) -> Result<ExtraDialect, String> {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => {
            let port = port
                .parse()
                .map_err(|_| format!("`{port}` is not a port; it is a number from 0 to 65535"))?;
            (name, Some(port))
        }
        None => (text, None),
    };
    match (name, port) {
        ("chunk", None) => Ok(ExtraDialect::Chunk),
        ("json-torrent", None) => Ok(ExtraDialect::JsonTorrent),
        ("raw", Some(port)) => Ok(ExtraDialect::Raw(port)),
        ("framed", Some(port)) => Ok(ExtraDialect::Framed(port)),
        ("raw" | "framed", None) => Err(format!("{name} needs a port of its own: {name}:PORT")),
        ("chunk" | "json-torrent", Some(_)) => {
            Err(format!("{name} is served on the main port (--port)"))
        }
        _ => Err("a protocol is chunk, json-torrent, raw:PORT or framed:PORT".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn dialects_are_named_once_and_with_their_ports() {
        let read = |text: &str| {
            let cli = Cli::try_parse_from(["sow", "send", "x", "--also", text]).ok()?;
            let Command::Send(args) = cli.command else { unreachable!() };
            args.extra_dialects().map(<[ExtraDialect]>::to_vec).ok()
        };
        let all = [
            ExtraDialect::Chunk,
            ExtraDialect::JsonTorrent,
            ExtraDialect::Raw(0),
            ExtraDialect::Framed(6666),
        ];
        assert_eq!(read("chunk,json-torrent,raw:0,framed:6666").as_deref(), Some(&all[..]));
        for bad in [
            "raw",
            "framed:",
            "raw:65536",
            "raw:-1",
            "chunk:5",
            "Raw:1",
            "x",
            "raw:1,raw:2",
            "chunk,chunk",
            "raw:7,framed:7",
            "raw:52000",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
