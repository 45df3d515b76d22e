//! From what people name to a swarm and ways into it: reads .torrent files and URLs, asks an origin
//! what it has, looks names up. Downloads nothing of the content.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::Deserialize;
use sow_content::{
    Info, InfoHash, Metainfo,
    json_torrent::JsonTorrent,
    metainfo::{Files, MAX_METAINFO},
    path::printable,
    ticket::{Address, Ticket},
};
use sow_engine::{Dialect, JSON_TRACKER};
use tokio::{
    net::lookup_host,
    time::{Instant, sleep, timeout},
};

use crate::{
    exit::{Exit, Failure},
    fetch::{self, Wanted},
    quantity::Size,
    report::Report,
    torrent_file::{self, Torrent},
    what::What,
};

/// How long somebody who does not answer is called again before it counts as out of reach: whoever
/// starts both sides at once need not wait for the one to start the other.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How long a server may take to answer.
const SERVER: Duration = Duration::from_secs(15);

/// How long looking up a name may take.
const LOOKUP: Duration = Duration::from_secs(10);

/// The longest index that is read, in bytes.
const MAX_INDEX: usize = 1 << 20;

/// A swarm, and the ways into it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// What is spoken in it.
    pub(crate) dialect: Dialect,
    /// Which swarm. Where the dialect has no names for swarms, this program's own.
    pub(crate) info_hash: InfoHash,
    /// What is shared, where that is known before anybody is asked.
    pub(crate) metainfo: Option<Metainfo>,
    /// What to call it until its name is known.
    pub(crate) label: String,
    /// Tiers of tracker URLs.
    pub(crate) trackers: Vec<Vec<String>>,
    /// Machines that are said to have it.
    pub(crate) peers: Vec<Address>,
}

impl Source {
    /// The size of the content in bytes; 0 while it is not known.
    pub(crate) fn length(&self) -> u64 {
        self.metainfo.as_ref().map_or(0, |metainfo| metainfo.info.geometry.total())
    }
}

/// Something in an origin's index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Offer {
    /// Its name; not checked as a file name.
    pub(crate) name: String,
    /// Its swarm, 40 hexadecimal digits.
    pub(crate) info_hash: String,
    /// Its size in bytes.
    pub(crate) length: u64,
}

/// What an origin says it has.
#[derive(Debug, Deserialize)]
struct Index {
    shared: Vec<Offer>,
}

/// Finds the swarm that is meant, calling others from `bind`.
///
/// # Errors
/// When a file or URL is no torrent or cannot be had, an origin is out of reach or has several
/// things.
pub(crate) async fn resolve(
    what: What,
    bind: Option<IpAddr>,
    report: &Report,
) -> Result<Source, Failure> {
    match what {
        What::Ticket(ticket) => Ok(of_ticket(&ticket)),
        What::Magnet(magnet) => Ok(Source {
            dialect: Dialect::BitTorrent,
            info_hash: magnet.info_hash,
            metainfo: None,
            label: magnet
                .name
                .as_deref()
                .map_or_else(|| magnet.info_hash.to_base32(), |n| printable(n).into()),
            trackers: magnet.trackers.into_iter().map(|url| vec![url]).collect(),
            // They were checked when the link was read.
            peers: magnet.peers.iter().filter_map(|peer| peer.parse().ok()).collect(),
        }),
        What::TorrentFile(path) => {
            let torrent = crate::blocking(move || torrent_file::read_any(&path)).await?;
            of_torrent(torrent)
        }
        What::TorrentUrl(url) => {
            let accept = "application/x-bittorrent, */*";
            let wanted = Wanted { accept, limit: MAX_METAINFO, patience: SERVER, bind };
            let bytes = fetch::get(&url, wanted).await?;
            of_torrent(torrent_file::decode_any(&bytes, &url)?)
        }
        What::Origin(address) => ask_origin(address, bind, report).await,
        What::Chunk(address) => Ok(of_servers(vec![address])),
        What::Raw(address) | What::Framed(address) => {
            Err(Failure::new(Exit::Failed, format!("what {address} serves that way has no swarm")))
        }
    }
}

/// Looks up the addresses of a host.
///
/// # Errors
/// When there is no such host.
pub(crate) async fn look_up(address: &Address) -> Result<Vec<SocketAddr>, Failure> {
    let unknown = |why: String| {
        Failure::new(Exit::Unreachable, format!("cannot find the host {}: {why}", address.host))
            .tip("check the name, or give its IP address")
    };
    let found = timeout(LOOKUP, lookup_host((address.host.as_str(), address.port))).await;
    match found {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(unknown(error.to_string())),
        Err(_) => Err(unknown("no answer from the name service".to_owned())),
    }
}

/// What an origin says it has.
///
/// # Errors
/// When it is out of reach, or does not answer as an origin does.
pub(crate) async fn offers(address: &Address, bind: Option<IpAddr>) -> Result<Vec<Offer>, Failure> {
    let url = format!("http://{address}/");
    let wanted = Wanted { accept: "application/json", limit: MAX_INDEX, patience: PATIENCE, bind };
    let bytes = fetch::get(&url, wanted).await?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|_| {
        Failure::new(
            Exit::Failed,
            format!("{address} answers, but is no origin that can be asked what it has"),
        )
        .tip("use a ticket, a magnet link or a .torrent")
    })?;
    Ok(index.shared)
}

/// The origin that a ticket names has a tracker on the same port. A URL cannot name a link-local
/// address's interface.
fn of_ticket(ticket: &Ticket) -> Source {
    let address = ticket.address();
    let tracker = (!address.host.contains('%')).then(|| vec![format!("http://{address}/announce")]);
    Source {
        dialect: Dialect::BitTorrent,
        info_hash: ticket.info_hash,
        metainfo: None,
        label: ticket.info_hash.to_base32(),
        trackers: tracker.into_iter().collect(),
        peers: vec![address],
    }
}

/// The servers of document 1's P2P all have the same file; which one, they say themselves.
pub(crate) fn of_servers(servers: Vec<Address>) -> Source {
    let names: Vec<String> = servers.iter().map(|server| format!("chunk://{server}")).collect();
    let label = names.join(" ");
    Source {
        dialect: Dialect::Chunk,
        info_hash: InfoHash(sow_content::hash::sha1(label.as_bytes())),
        metainfo: None,
        label,
        trackers: Vec::new(),
        peers: servers,
    }
}

fn of_torrent(torrent: Torrent) -> Result<Source, Failure> {
    match torrent {
        Torrent::BitTorrent(metainfo) => Ok(of_metainfo(*metainfo)),
        Torrent::Json(torrent) => of_json(&torrent),
    }
}

/// Document 2's torrent: the same content in other words, and a tracker of its own kind.
///
/// # Errors
/// When the content cannot be.
pub(crate) fn of_json(torrent: &JsonTorrent) -> Result<Source, Failure> {
    let JsonTorrent { file_name, geometry, piece_hashes, announce, port, .. } = torrent;
    let info = Info::from_parts(file_name, *geometry, Files::Single, piece_hashes.clone(), false)
        .map_err(|error| Failure::new(Exit::Failed, crate::exit::chain(&error)))?;
    let tracker = Address { host: announce.clone(), port: *port };
    let source = of_metainfo(Metainfo::new(info));
    let trackers = vec![vec![format!("{JSON_TRACKER}{tracker}")]];
    Ok(Source { dialect: Dialect::JsonTorrent, trackers, ..source })
}

fn of_metainfo(metainfo: Metainfo) -> Source {
    Source {
        dialect: Dialect::BitTorrent,
        info_hash: metainfo.info_hash,
        label: printable(&metainfo.info.name).into(),
        trackers: metainfo.trackers.clone(),
        peers: Vec::new(),
        metainfo: Some(metainfo),
    }
}

async fn ask_origin(
    address: Address,
    bind: Option<IpAddr>,
    report: &Report,
) -> Result<Source, Failure> {
    let since = Instant::now();
    let offers = loop {
        match offers(&address, bind).await {
            // It may still be hashing.
            Ok(offers) if offers.is_empty() && since.elapsed() < PATIENCE => {}
            Err(failure) if failure.exit() == Exit::Unreachable && since.elapsed() < PATIENCE => {}
            ended => break ended?,
        }
        sleep(Duration::from_millis(500)).await;
    };
    let offer = the_only(&address, &offers)?;
    let info_hash = offer.info_hash.parse().map_err(|_| {
        Failure::new(Exit::Failed, format!("{address} offers something with an unreadable hash"))
    })?;
    let ticket = Ticket { host: address.host.clone(), port: address.port, info_hash };
    report.note(format_args!(
        "trusting {address} for what to get: {} ({}), {ticket}",
        printable(&offer.name),
        Size(offer.length)
    ));
    Ok(Source { label: printable(&offer.name).into(), ..of_ticket(&ticket) })
}

fn the_only<'a>(address: &Address, offers: &'a [Offer]) -> Result<&'a Offer, Failure> {
    match offers {
        [offer] => Ok(offer),
        [] => {
            Err(Failure::new(Exit::Unfinished, format!("{address} shares nothing at the moment"))
                .tip("run `sow send PATH` there"))
        }
        several => {
            let lines = several.iter().map(|offer| in_line(address, offer)).collect::<String>();
            Err(Failure::usage(format!(
                "{address} shares {} things; name one of them:{lines}",
                several.len()
            )))
        }
    }
}

/// A line with the ticket of an offer.
pub(crate) fn in_line(address: &Address, offer: &Offer) -> String {
    let hash =
        offer.info_hash.parse::<InfoHash>().map_or_else(|_| "?".to_owned(), InfoHash::to_base32);
    format!("\n  sow get {address}/{hash}    {} ({})", printable(&offer.name), Size(offer.length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        Address { host: "10.0.0.1".into(), port: 52000 }
    }

    fn offer(name: &str) -> Offer {
        Offer { name: name.into(), info_hash: "00".repeat(20), length: 1 << 20 }
    }

    #[test]
    fn an_origin_s_index_is_read() {
        let text = r#"{"program":"sow","shared":[{"name":"a","info_hash":"x","length":5,"files":1,"more":[]}]}"#;
        let index: Index = serde_json::from_str(text).unwrap();
        assert_eq!(index.shared, [Offer { name: "a".into(), info_hash: "x".into(), length: 5 }]);
    }

    #[test]
    fn one_offer_is_taken_and_several_are_listed() {
        assert_eq!(the_only(&address(), &[offer("a")]), Ok(&offer("a")));
        assert_eq!(the_only(&address(), &[]).unwrap_err().exit(), Exit::Unfinished);
        let several = the_only(&address(), &[offer("a"), offer("b\u{1b}[2J")]).unwrap_err();
        assert_eq!(several.exit(), Exit::Usage);
        let text = several.to_string();
        assert!(
            text.contains("sow get 10.0.0.1:52000/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa    a (1.0 MiB)"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
