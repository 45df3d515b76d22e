//! The modes that can be compared: those of `sow`, and programs of others. Their names are the same
//! in scenarios, in tables and on the command line. Records have ids, which never change. How the
//! programs are run is decided by their adapters.

use std::{fmt, str::FromStr};

use crate::record::Model;

/// A way to distribute a file from origins to receivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// The raw protocol, client/server: the bytes of the file, then the end of the connection.
    Raw,
    /// The framed protocol, client/server: a header, then the bytes of the file.
    Framed,
    /// The chunk protocol, peer-to-peer.
    Chunk,
    /// The json-torrent protocol, peer-to-peer.
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
    /// udpcast, by multicast.
    Udpcast,
    /// UFTP, by multicast.
    Uftp,
}

/// The limit of an unknown name in an error.
const MAX_SHOWN_NAME_CHARS: usize = 40;

/// A name that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no mode `{name}`; there are {}", names())]
pub struct UnknownMode {
    /// The name.
    pub name: String,
}

impl Mode {
    /// All modes: first those of `sow`, then the others.
    pub const ALL: [Self; 12] = [
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
        Self::Udpcast,
        Self::Uftp,
    ];

    /// Its name, as people read and type it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Swarm => "sow",
            _ => self.id(),
        }
    }

    /// Its name in records.
    pub fn id(self) -> &'static str {
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
            Self::Udpcast => "udpcast",
            Self::Uftp => "uftp",
        }
    }

    /// Whether receivers upload, too.
    pub fn model(self) -> Model {
        match self {
            Self::Raw | Self::Framed | Self::NginxCurl => Model::ClientServer,
            Self::Udpcast | Self::Uftp => Model::Multicast,
            _ => Model::PeerToPeer,
        }
    }

    /// Whether a run can have more than one origin.
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
        let mode = Self::ALL.into_iter().find(|mode| [mode.name(), mode.id()].contains(&text));
        mode.ok_or_else(|| UnknownMode { name: text.chars().take(MAX_SHOWN_NAME_CHARS).collect() })
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
            assert_eq!(mode.id().parse(), Ok(mode));
        }
        let error = "swram".parse::<Mode>().unwrap_err().to_string();
        assert!(error.contains("`swram`") && error.contains("nginx+curl"), "{error}");
    }
}
