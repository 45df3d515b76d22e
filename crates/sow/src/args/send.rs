//! `sow send` as it is typed.

use std::{mem::discriminant, net::IpAddr, path::PathBuf};

use clap::{ArgAction, Args, builder::FalseyValueParser};
use sow_content::ticket::DEFAULT_PORT;

use crate::{
    exit::Failure,
    quantity::{self, Rate},
};

/// `sow send`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  sow send big.iso                        prints: sow get 10.0.0.1:52000/6hx2…
  sow send photos/ --expect 3             ends with exit code 0 when three machines hold whole copies
  sow send big.iso --torrent              also writes big.iso.torrent, for any BitTorrent program
  sow send big.iso --up-limit 100mbit --port 0
  sow send big.iso --also chunk,json-torrent,raw:52001,framed:6666")]
pub(crate) struct SendArgs {
    /// The file or folder to share.
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Listen on this port for peers, the tracker and the .torrent download; 0 takes any free one.
    #[arg(short, long, env = "SOW_PORT", default_value_t = DEFAULT_PORT)]
    pub(crate) port: u16,
    /// Listen on this address alone, and put it into the ticket.
    #[arg(long, env = "SOW_BIND", value_name = "ADDR")]
    pub(crate) bind: Option<IpAddr>,
    /// End with exit code 0 as soon as N receivers hold verified whole copies, with 7 when stopped
    /// before.
    #[arg(short = 'n', long, env = "SOW_EXPECT", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) expect: Option<u32>,
    /// Send at most this fast, to all receivers together: 10mbit, 1.2MB/s, 5MiB/s.
    #[arg(long, env = "SOW_UP_LIMIT", value_name = "RATE", value_parser = quantity::rate)]
    pub(crate) up_limit: Option<Rate>,
    /// Announce to this tracker too; repeat for more.
    #[arg(long, env = "SOW_TRACKER", value_name = "URL", value_delimiter = ',', value_parser = tracker_url)]
    pub(crate) tracker: Vec<String>,
    /// Share uploads as among strangers on the Internet: four peers at a time, by what they send
    /// (BEP 3).
    #[arg(long, env = "SOW_TIT_FOR_TAT", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) tit_for_tat: bool,
    /// Serve the file in other dialects too: raw:PORT and framed:PORT, each on a port of its own,
    /// chunk and json-torrent on the main one. --expect counts chunk clients once their MD5 fits;
    /// in raw, framed and json-torrent nobody tells that he has a verified copy.
    #[arg(long, env = "SOW_ALSO", value_name = "DIALECT", value_delimiter = ',', value_parser = also)]
    pub(crate) also: Vec<Also>,
    /// Write a .torrent file: NAME.torrent in the current folder, or FILE.
    #[arg(long, env = "SOW_TORRENT", value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub(crate) torrent: Option<Option<PathBuf>>,
}

/// Another dialect that the file is served in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Also {
    /// Document 1's P2P, on the main port.
    Chunk,
    /// Document 2's P2P, on the main port.
    JsonTorrent,
    /// Document 1's client/server, on this port; 0 for any.
    Raw(u16),
    /// Document 2's client/server, on this port; 0 for any.
    Framed(u16),
}

impl SendArgs {
    /// The other dialects.
    ///
    /// # Errors
    /// When one of them, or a port, is named twice.
    pub(crate) fn also(&self) -> Result<&[Also], Failure> {
        let mut ports = vec![self.port];
        for (at, also) in self.also.iter().enumerate() {
            if self.also[..at].iter().any(|before| discriminant(before) == discriminant(also)) {
                return Err(Failure::usage(format!("--also names {} twice", also.name()))
                    .tip("each dialect is served once"));
            }
            let Some(port) = also.port() else { continue };
            if port != 0 && ports.contains(&port) {
                return Err(Failure::usage(format!(
                    "{}:{port} is on a port that is in use already",
                    also.name()
                ))
                .tip("raw and framed each need a port of their own, other than --port"));
            }
            ports.push(port);
        }
        Ok(&self.also)
    }
}

impl Also {
    /// The port of its own, if it has one.
    fn port(self) -> Option<u16> {
        match self {
            Also::Raw(port) | Also::Framed(port) => Some(port),
            Also::Chunk | Also::JsonTorrent => None,
        }
    }

    /// As it is typed, without the port.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Also::Chunk => "chunk",
            Also::JsonTorrent => "json-torrent",
            Also::Raw(_) => "raw",
            Also::Framed(_) => "framed",
        }
    }
}

/// Reads a dialect.
fn also(text: &str) -> Result<Also, String> {
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
        ("chunk", None) => Ok(Also::Chunk),
        ("json-torrent", None) => Ok(Also::JsonTorrent),
        ("raw", Some(port)) => Ok(Also::Raw(port)),
        ("framed", Some(port)) => Ok(Also::Framed(port)),
        ("raw" | "framed", None) => Err(format!("{name} needs a port of its own: {name}:PORT")),
        ("chunk" | "json-torrent", Some(_)) => {
            Err(format!("{name} is served on the main port (--port)"))
        }
        _ => Err("a dialect is chunk, json-torrent, raw:PORT or framed:PORT".to_owned()),
    }
}

/// Checks the URL of a tracker.
///
/// # Errors
/// When it is neither an `http`, `https` nor `udp` URL with a host.
pub(crate) fn tracker_url(text: &str) -> Result<String, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let known = matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https" | "udp");
    if !known || host.is_empty() || host.starts_with(':') {
        return Err(
            "a tracker is http://HOST:PORT/announce, https://… or udp://HOST:PORT".to_owned()
        );
    }
    Ok(text.to_owned())
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
            args.also().map(<[Also]>::to_vec).ok()
        };
        let all = [Also::Chunk, Also::JsonTorrent, Also::Raw(0), Also::Framed(6666)];
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
