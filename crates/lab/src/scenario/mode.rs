//! What can be compared: our own programs' modes and other programs, by the names that files,
//! tables and the command line use.

use std::{fmt, str::FromStr};

use crate::record::Model;

/// A way to get a file from origins to receivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Document 1's client/server: the bytes of the file, then the end.
    Raw,
    /// Document 2's client/server: a head, then the bytes.
    Framed,
    /// Document 1's peer-to-peer.
    Chunk,
    /// Document 2's peer-to-peer.
    JsonTorrent,
    /// `sow send` and `sow get`.
    Swarm,
    /// aria2.
    Aria2,
    /// Transmission.
    Transmission,
    /// libtorrent.
    Libtorrent,
    /// libtorrent, with an origin that super-seeds (BEP 16).
    LibtorrentSuper,
    /// nginx, and a curl for each receiver.
    NginxCurl,
}

/// A name that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no mode `{name}`; there are {}", names())]
pub struct UnknownMode {
    /// What was given.
    pub name: String,
}

impl Mode {
    /// All of them: our own, then others.
    pub const ALL: [Self; 10] = [
        Self::Raw,
        Self::Framed,
        Self::Chunk,
        Self::JsonTorrent,
        Self::Swarm,
        Self::Aria2,
        Self::Transmission,
        Self::Libtorrent,
        Self::LibtorrentSuper,
        Self::NginxCurl,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Framed => "framed",
            Self::Chunk => "chunk",
            Self::JsonTorrent => "json-torrent",
            Self::Swarm => "swarm",
            Self::Aria2 => "aria2",
            Self::Transmission => "transmission",
            Self::Libtorrent => "libtorrent",
            Self::LibtorrentSuper => "libtorrent-super",
            Self::NginxCurl => "nginx+curl",
        }
    }

    /// Whether receivers send, too.
    pub fn model(self) -> Model {
        match self {
            Self::Raw | Self::Framed | Self::NginxCurl => Model::ClientServer,
            _ => Model::PeerToPeer,
        }
    }

    /// Whether a run can have more than one origin; others are made with one only.
    pub fn takes_many_origins(self) -> bool {
        self.model() == Model::PeerToPeer
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mode = Self::ALL.into_iter().find(|mode| mode.name() == text);
        mode.ok_or_else(|| UnknownMode { name: text.chars().take(40).collect() })
    }
}

fn names() -> String {
    Mode::ALL.map(Mode::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_found_by_its_name() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        let error = "swram".parse::<Mode>().unwrap_err().to_string();
        assert!(error.contains("`swram`") && error.contains("nginx+curl"), "{error}");
    }
}
