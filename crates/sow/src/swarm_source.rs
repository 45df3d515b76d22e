//! From a WHAT to a swarm and the ways into it: reads .torrent files and URLs, and asks an origin
//! what it shares. Downloads no content.

use std::{net::IpAddr, time::Duration};

use sow_content::{
    Info, InfoHash, Magnet, Metainfo,
    hash::sha1,
    json_torrent::JsonTorrent,
    metainfo::{Files, MAX_METAINFO},
    ticket::{Address, Ticket},
    untrusted::printable,
};
use sow_engine::{Dialect, JSON_TRACKER, limit_trackers};
use sow_node::Purpose;

use crate::{
    args::source::SourceArg,
    exit::{Exit, Failure, chain},
    http_download::{Request, download},
    origin_index::ask_origin,
    report::Report,
    runtime::blocking,
    torrent_file::{self, Torrent},
};

/// How long a server may take to begin its answer with a .torrent.
const TORRENT_ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A swarm, and the ways into it.
#[derive(Debug, Clone)]
pub(crate) struct SwarmSource {
    /// The protocol of the swarm.
    pub(crate) dialect: Dialect,
    /// The swarm. `chunk` does not name swarms; there it is a hash of the servers' addresses.
    pub(crate) info_hash: InfoHash,
    /// The description of the content, if it is known before a peer is asked.
    pub(crate) metainfo: Option<Metainfo>,
    /// The text that stands for the content until its name is known.
    pub(crate) label: String,
    /// Tiers of tracker URLs.
    pub(crate) trackers: Vec<Vec<String>>,
    /// Machines that are named as having the content.
    pub(crate) peers: Vec<Address>,
    /// Further peers of a magnet link.
    pub(crate) link_peers: Vec<Address>,
}

/// Peers of a magnet link that are taken for its origin: dialed without end, and asked what they
/// share. A link can name any machine, so these are few, on different hosts.
const MAX_LINK_ORIGINS: usize = 4;

/// Further peers of a magnet link that are used.
const MAX_LINK_PEERS: usize = 32;

/// Ports below this belong to services of the system.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

impl SwarmSource {
    /// Finds the swarm that a WHAT names. Requests are sent from the local address `bind`; an
    /// origin that does not answer is waited for until `origin_timeout`.
    ///
    /// # Errors
    /// When a file or URL is not a torrent or cannot be read, or an origin cannot be reached or
    /// shares several things.
    pub(crate) async fn resolve(
        arg: SourceArg,
        bind: Option<IpAddr>,
        origin_timeout: Duration,
        report: &Report,
    ) -> Result<Self, Failure> {
        match arg {
            SourceArg::Ticket(ticket) => Ok(Self::from_ticket(&ticket)),
            SourceArg::Magnet(magnet) => {
                magnet.ignored.iter().for_each(|error| {
                    report.warn(format_args!("{error}; this part of the link is ignored"));
                });
                let (source, is_left_out) = Self::from_magnet(magnet);
                if is_left_out {
                    report.warn("the link names a peer on a port below 1024: it is not dialed");
                }
                Ok(source)
            }
            SourceArg::TorrentFile(path) => {
                Self::from_torrent(blocking(move || torrent_file::read_any(&path)).await?)
            }
            SourceArg::TorrentUrl(url) => {
                let request = Request {
                    purpose: Purpose::Download,
                    accept: "application/x-bittorrent, */*",
                    max_length: MAX_METAINFO,
                    answer_timeout: TORRENT_ANSWER_TIMEOUT,
                    bind,
                };
                let bytes = download(&url, request).await?;
                Self::from_torrent(torrent_file::decode_any(&bytes, &url)?)
            }
            SourceArg::Origin(address) => {
                let (ticket, name) = ask_origin(address, bind, origin_timeout, report).await?;
                Ok(Self { label: name, ..Self::from_ticket(&ticket) })
            }
            SourceArg::Chunk(address) => Ok(Self::from_chunk_servers(vec![address])),
            SourceArg::Raw(address) | SourceArg::Framed(address) => {
                Err(Failure::new(Exit::Failed, format!("{address} serves a file without a swarm")))
            }
        }
    }

    /// The swarm of `chunk` servers that all have the same file. The servers announce its size
    /// when they are connected.
    pub(crate) fn from_chunk_servers(servers: Vec<Address>) -> Self {
        let names: Vec<String> = servers.iter().map(|server| format!("chunk://{server}")).collect();
        let label = names.join(" ");
        Self {
            dialect: Dialect::Chunk,
            info_hash: InfoHash(sha1(label.as_bytes())),
            metainfo: None,
            label,
            trackers: Vec::new(),
            peers: servers,
            link_peers: Vec::new(),
        }
    }

    /// The swarm of a JSON torrent, whose tracker has a protocol of its own.
    ///
    /// # Errors
    /// When the torrent describes impossible content.
    pub(crate) fn from_json_torrent(torrent: &JsonTorrent) -> Result<Self, Failure> {
        let JsonTorrent { file_name, geometry, piece_hashes, announce, port, warnings, .. } =
            torrent;
        let hashes = piece_hashes.clone();
        let info = Info::from_parts(file_name, *geometry, Files::Single, hashes, false)
            .map_err(|error| Failure::new(Exit::Failed, chain(&error)))?;
        let tracker = Address { host: announce.clone(), port: *port };
        Ok(Self {
            dialect: Dialect::JsonTorrent,
            trackers: vec![vec![format!("{JSON_TRACKER}{tracker}")]],
            ..Self::from_metainfo(Metainfo { warnings: warnings.clone(), ..Metainfo::new(info) })
        })
    }

    /// The machines that are named as having the content, as a user names them.
    pub(crate) fn origin_name(&self) -> String {
        match &self.peers[..] {
            [] => self.label.clone(),
            [origin] => origin.to_string(),
            [first, others @ ..] => format!("{first} and {} more", others.len()),
        }
    }

    /// The size of the content in bytes; 0 while it is unknown.
    pub(crate) fn length(&self) -> u64 {
        self.metainfo.as_ref().map_or(0, |metainfo| metainfo.info.geometry.total())
    }

    /// The origin that a ticket names runs a tracker on the same port. A URL cannot contain the
    /// interface of a link-local address.
    fn from_ticket(ticket: &Ticket) -> Self {
        let address = ticket.address();
        let tracker =
            (!address.host.contains('%')).then(|| vec![format!("http://{address}/announce")]);
        Self {
            dialect: Dialect::BitTorrent,
            info_hash: ticket.info_hash,
            metainfo: None,
            label: ticket.info_hash.to_base32(),
            trackers: tracker.into_iter().collect(),
            peers: vec![address],
            link_peers: Vec::new(),
        }
    }

    /// The swarm of a link. A peer on a port of the system is left out, unless the link names a
    /// tracker there: whether that is so is the second value.
    fn from_magnet(magnet: Magnet) -> (Self, bool) {
        let name = magnet.name.as_deref().map(|name| printable(name).into());
        let is_tracker = |peer: &str| {
            let at = format!("://{peer}/");
            magnet.trackers.iter().any(|url| url.contains(&at))
        };
        let (mut peers, mut link_peers) = (Vec::<Address>::new(), Vec::new());
        let mut is_left_out = false;
        for peer in &magnet.peers {
            // The parser of the link has checked the peers.
            let Ok(address) = peer.parse::<Address>() else { continue };
            if address.port < FIRST_UNPRIVILEGED_PORT && !is_tracker(peer) {
                is_left_out = true;
            } else if peers.len() < MAX_LINK_ORIGINS
                && peers.iter().all(|other| other.host != address.host)
            {
                peers.push(address);
            } else if link_peers.len() < MAX_LINK_PEERS {
                link_peers.push(address);
            }
        }
        let tiers: Vec<_> = magnet.trackers.into_iter().map(|url| vec![url]).collect();
        let source = Self {
            dialect: Dialect::BitTorrent,
            info_hash: magnet.info_hash,
            metainfo: None,
            label: name.unwrap_or_else(|| magnet.info_hash.to_base32()),
            trackers: limit_trackers(&tiers),
            peers,
            link_peers,
        };
        (source, is_left_out)
    }

    fn from_torrent(torrent: Torrent) -> Result<Self, Failure> {
        match torrent {
            Torrent::BitTorrent(metainfo) => Ok(Self::from_metainfo(*metainfo)),
            Torrent::Json(torrent) => Self::from_json_torrent(&torrent),
        }
    }

    fn from_metainfo(metainfo: Metainfo) -> Self {
        Self {
            dialect: Dialect::BitTorrent,
            info_hash: metainfo.info_hash,
            label: printable(&metainfo.info.name).into(),
            trackers: limit_trackers(&metainfo.trackers),
            peers: Vec::new(),
            link_peers: Vec::new(),
            metainfo: Some(metainfo),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_few_origins_and_no_services() {
        let hash = "00".repeat(20);
        let peers: String =
            (1..200).map(|port| format!("&x.pe=10.0.0.{}:{}", port % 9, 980 + port)).collect();
        let text = format!("magnet:?xt=urn:btih:{hash}&x.pe=h:80&tr=http://h:80/announce{peers}");
        let (source, is_left_out) = SwarmSource::from_magnet(text.parse().unwrap());
        assert!(is_left_out && source.peers.len() == MAX_LINK_ORIGINS);
        assert_eq!(source.link_peers.len(), MAX_LINK_PEERS);
        assert_eq!(source.peers[0].to_string(), "h:80", "a tracker is there, too");
        let all = source.peers.iter().chain(&source.link_peers).skip(1);
        assert!(all.clone().all(|peer| peer.port >= 1024));
    }
}
