//! The packets of BEP 15, and the option that carries the path and query of a tracker's URL
//! (BEP 41). Timeouts and retransmission are `exchange`.
//!
//! Requests and responses are both encoded and decoded, for clients, servers and tests. A datagram
//! that is too short is rejected; bytes after the known fields are ignored.

use std::net::{IpAddr, SocketAddr};

use sow_content::InfoHash;

use crate::{
    bittorrent::PeerId,
    compact,
    tracker::{
        AnnounceEvent, AnnounceRequest, AnnounceResponse, MAX_RESPONSE_PEERS, MAX_SCRAPE,
        SwarmCount, TrackedPeer, interval_from_wire, left_from_wire, left_to_wire, printable_text,
    },
};

/// The constant in place of the connection id in a connect request (BEP 15).
const PROTOCOL_ID: u64 = 0x0417_2710_1980;

const ACTION_CONNECT: u32 = 0;
const ACTION_ANNOUNCE: u32 = 1;
const ACTION_SCRAPE: u32 = 2;
const ACTION_ERROR: u32 = 3;

/// Option types of BEP 41.
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_URL_DATA: u8 = 2;

/// The longest path and query of a tracker URL that is sent or kept, in bytes.
const MAX_URL_DATA: usize = 1024;

/// The address family of the tracker, which is also that of all addresses in its response (BEP 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4: 6 bytes per peer.
    V4,
    /// IPv6: 18 bytes per peer.
    V6,
}

/// A packet from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Requests a connection id.
    Connect {
        /// Chosen by the client; the response repeats it.
        transaction: u32,
    },
    /// Announces a peer.
    Announce {
        /// The connection id of a connect response.
        connection: u64,
        /// Chosen by the client; the response repeats it.
        transaction: u32,
        /// The announce.
        announce: AnnounceRequest,
        /// Path and query of the tracker's URL, such as a passkey (BEP 41). At most 1,024 bytes are
        /// sent.
        url_data: Vec<u8>,
    },
    /// Requests the counters of swarms.
    Scrape {
        /// The connection id of a connect response.
        connection: u64,
        /// Chosen by the client; the response repeats it.
        transaction: u32,
        /// The swarms; at most [`MAX_SCRAPE`] are sent.
        info_hashes: Vec<InfoHash>,
    },
}

/// A packet from a tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// A connection id, valid for a minute.
    Connect {
        /// As in the request.
        transaction: u32,
        /// The connection id.
        connection: u64,
    },
    /// Peers of one address family, without peer ids; no `min_interval` and no texts.
    Announce {
        /// As in the request.
        transaction: u32,
        /// The response.
        response: AnnounceResponse,
    },
    /// Counters, in the order of the request.
    Scrape {
        /// As in the request.
        transaction: u32,
        /// At most [`MAX_SCRAPE`] swarms.
        swarms: Vec<SwarmCount>,
    },
    /// The tracker reports an error.
    Error {
        /// As in the request.
        transaction: u32,
        /// The error message, printable.
        message: String,
    },
}

/// Why a datagram is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// The datagram is too short for its action.
    #[error("the tracker packet is too short")]
    Short,
    /// The action is not one of BEP 15.
    #[error("tracker action {0} is unknown")]
    Action(u32),
    /// A connect request without the constant of BEP 15.
    #[error("the connect request is not of BEP 15")]
    Protocol,
}

impl Family {
    /// The family of an address. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn of(ip: IpAddr) -> Self {
        if ip.to_canonical().is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl Request {
    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(98);
        match self {
            Self::Connect { transaction } => {
                head(&mut out, PROTOCOL_ID, ACTION_CONNECT, *transaction)
            }
            Self::Announce { connection, transaction, announce, url_data } => {
                head(&mut out, *connection, ACTION_ANNOUNCE, *transaction);
                put_announce(&mut out, announce);
                put_url_data(&mut out, url_data);
            }
            Self::Scrape { connection, transaction, info_hashes } => {
                head(&mut out, *connection, ACTION_SCRAPE, *transaction);
                for hash in info_hashes.iter().take(MAX_SCRAPE) {
                    out.extend_from_slice(&hash.0);
                }
            }
        }
        out
    }

    /// Decodes a packet from a client.
    ///
    /// # Errors
    /// When the datagram is too short or not a request of BEP 15.
    pub fn decode(datagram: &[u8]) -> Result<Self, PacketError> {
        let mut fields = Fields(datagram);
        let (connection, action, transaction) = (fields.u64()?, fields.u32()?, fields.u32()?);
        match action {
            ACTION_CONNECT if connection == PROTOCOL_ID => Ok(Self::Connect { transaction }),
            ACTION_CONNECT => Err(PacketError::Protocol),
            ACTION_ANNOUNCE => {
                let announce = read_announce(&mut fields)?;
                Ok(Self::Announce {
                    connection,
                    transaction,
                    announce,
                    url_data: read_url_data(fields.0),
                })
            }
            ACTION_SCRAPE => {
                let (hashes, _) = fields.0.as_chunks::<20>();
                let info_hashes = hashes.iter().take(MAX_SCRAPE).copied().map(InfoHash).collect();
                Ok(Self::Scrape { connection, transaction, info_hashes })
            }
            other => Err(PacketError::Action(other)),
        }
    }
}

impl Response {
    /// The datagram. An announce response has the peers of `family` only.
    pub fn encode(&self, family: Family) -> Vec<u8> {
        let mut out = Vec::with_capacity(20);
        match self {
            Self::Connect { transaction, connection } => {
                put_u32s(&mut out, &[ACTION_CONNECT, *transaction]);
                out.extend_from_slice(&connection.to_be_bytes());
            }
            Self::Announce { transaction, response } => {
                let seconds = u32::try_from(response.interval.as_secs()).unwrap_or(u32::MAX);
                let (leechers, seeds) =
                    (response.incomplete.unwrap_or(0), response.complete.unwrap_or(0));
                put_u32s(&mut out, &[ACTION_ANNOUNCE, *transaction, seconds, leechers, seeds]);
                let (mut v4, mut v6) = (Vec::new(), Vec::new());
                for peer in response.peers.iter().take(MAX_RESPONSE_PEERS) {
                    compact::append(peer.addr, &mut v4, &mut v6);
                }
                out.append(if family == Family::V4 { &mut v4 } else { &mut v6 });
            }
            Self::Scrape { transaction, swarms } => {
                put_u32s(&mut out, &[ACTION_SCRAPE, *transaction]);
                for swarm in swarms.iter().take(MAX_SCRAPE) {
                    put_u32s(&mut out, &[swarm.complete, swarm.downloaded, swarm.incomplete]);
                }
            }
            Self::Error { transaction, message } => {
                put_u32s(&mut out, &[ACTION_ERROR, *transaction]);
                out.extend_from_slice(message.as_bytes());
            }
        }
        out
    }

    /// Decodes a packet from a tracker at an address of `family`.
    ///
    /// # Errors
    /// When the datagram is too short or not a response of BEP 15.
    pub fn decode(datagram: &[u8], family: Family) -> Result<Self, PacketError> {
        let mut fields = Fields(datagram);
        let (action, transaction) = (fields.u32()?, fields.u32()?);
        match action {
            ACTION_CONNECT => Ok(Self::Connect { transaction, connection: fields.u64()? }),
            ACTION_ANNOUNCE => {
                Ok(Self::Announce { transaction, response: read_response(&mut fields, family)? })
            }
            ACTION_SCRAPE => {
                let (entries, _) = fields.0.as_chunks::<12>();
                let swarms = entries.iter().take(MAX_SCRAPE).map(read_count).collect();
                Ok(Self::Scrape { transaction, swarms })
            }
            ACTION_ERROR => Ok(Self::Error { transaction, message: printable_text(fields.0) }),
            other => Err(PacketError::Action(other)),
        }
    }

    /// The transaction id of the request that this is the response to.
    pub fn transaction(&self) -> u32 {
        match self {
            Self::Connect { transaction, .. }
            | Self::Announce { transaction, .. }
            | Self::Scrape { transaction, .. }
            | Self::Error { transaction, .. } => *transaction,
        }
    }
}

/// The unread rest of a datagram.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], PacketError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(PacketError::Short)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u16(&mut self) -> Result<u16, PacketError> {
        self.bytes().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, PacketError> {
        self.bytes().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, PacketError> {
        self.bytes().map(u64::from_be_bytes)
    }
}

fn head(out: &mut Vec<u8>, connection: u64, action: u32, transaction: u32) {
    out.extend_from_slice(&connection.to_be_bytes());
    put_u32s(out, &[action, transaction]);
}

fn put_u32s(out: &mut Vec<u8>, values: &[u32]) {
    for value in values {
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn put_announce(out: &mut Vec<u8>, announce: &AnnounceRequest) {
    out.extend_from_slice(&announce.info_hash.0);
    out.extend_from_slice(&announce.peer_id.0);
    for bytes in [announce.downloaded, left_to_wire(announce.left), announce.uploaded] {
        out.extend_from_slice(&bytes.to_be_bytes());
    }
    let event = match announce.event {
        AnnounceEvent::Periodic => 0,
        AnnounceEvent::Completed => 1,
        AnnounceEvent::Started => 2,
        AnnounceEvent::Stopped => 3,
    };
    // -1 leaves the number to the tracker. A larger unsigned number would be read as negative, too.
    let numwant = announce.numwant.map_or(u32::MAX, |number| number.min(i32::MAX as u32));
    // Address 0: the tracker uses the source address of the datagram.
    put_u32s(out, &[event, 0, announce.key, numwant]);
    out.extend_from_slice(&announce.port.to_be_bytes());
}

fn read_announce(fields: &mut Fields<'_>) -> Result<AnnounceRequest, PacketError> {
    let (info_hash, peer_id) = (InfoHash(fields.bytes()?), PeerId(fields.bytes()?));
    let (downloaded, left, uploaded) =
        (fields.u64()?, left_from_wire(fields.u64()?), fields.u64()?);
    let event = match fields.u32()? {
        1 => AnnounceEvent::Completed,
        2 => AnnounceEvent::Started,
        3 => AnnounceEvent::Stopped,
        _ => AnnounceEvent::Periodic,
    };
    let _address = fields.u32()?;
    let key = fields.u32()?;
    let numwant = Some(fields.u32()?).filter(|number| i32::try_from(*number).is_ok());
    let port = fields.u16()?;
    Ok(AnnounceRequest {
        info_hash,
        peer_id,
        port,
        uploaded,
        downloaded,
        left,
        event,
        numwant,
        key,
    })
}

fn put_url_data(out: &mut Vec<u8>, url_data: &[u8]) {
    for part in url_data[..url_data.len().min(MAX_URL_DATA)].chunks(255) {
        out.extend_from_slice(&[OPTION_URL_DATA, part.len() as u8]);
        out.extend_from_slice(part);
    }
}

/// Joins the URL data options (BEP 41). A truncated option ends the list.
fn read_url_data(mut options: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some((&option, rest)) = options.split_first() {
        options = match (option, rest) {
            (OPTION_NOP, rest) => rest,
            (OPTION_END, _) | (_, []) => break,
            (option, &[length, ref rest @ ..]) => {
                let Some((part, rest)) = rest.split_at_checked(length.into()) else { break };
                if option == OPTION_URL_DATA && data.len() + part.len() <= MAX_URL_DATA {
                    data.extend_from_slice(part);
                }
                rest
            }
        };
    }
    data
}

fn read_response(fields: &mut Fields<'_>, family: Family) -> Result<AnnounceResponse, PacketError> {
    // The interval is signed in BEP 15.
    let interval = interval_from_wire(i64::from(fields.u32()? as i32));
    let (leechers, seeds) = (fields.u32()?, fields.u32()?);
    let peer = |addr: SocketAddr| TrackedPeer { addr, peer_id: None };
    let peers = match family {
        Family::V4 => compact::read_v4(fields.0).take(MAX_RESPONSE_PEERS).map(peer).collect(),
        Family::V6 => compact::read_v6(fields.0).take(MAX_RESPONSE_PEERS).map(peer).collect(),
    };
    Ok(AnnounceResponse {
        interval,
        min_interval: None,
        complete: Some(seeds),
        incomplete: Some(leechers),
        peers,
        named_peers: Vec::new(),
        warning: None,
        tracker_id: None,
    })
}

fn read_count(entry: &[u8; 12]) -> SwarmCount {
    let field = |at: usize| u32::from_be_bytes(std::array::from_fn(|byte| entry[at + byte]));
    SwarmCount { complete: field(0), downloaded: field(4), incomplete: field(8) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn announce() -> AnnounceRequest {
        AnnounceRequest {
            info_hash: InfoHash([1; 20]),
            peer_id: PeerId([2; 20]),
            port: 0x1234,
            uploaded: 3,
            downloaded: 4,
            left: 5,
            event: AnnounceEvent::Started,
            numwant: None,
            key: 0xdead_beef,
        }
    }

    fn response_with(peers: &[&str]) -> AnnounceResponse {
        let peer = |text: &&str| TrackedPeer { addr: text.parse().unwrap(), peer_id: None };
        AnnounceResponse {
            interval: Duration::from_secs(30),
            min_interval: None,
            complete: Some(7),
            incomplete: Some(9),
            peers: peers.iter().map(peer).collect(),
            named_peers: Vec::new(),
            warning: None,
            tracker_id: None,
        }
    }

    #[test]
    fn requests_have_the_layout_of_bep_15() {
        let connect = Request::Connect { transaction: 0x0102_0304 }.encode();
        assert_eq!(connect, [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 1, 2, 3, 4]);
        let request = Request::Announce {
            connection: 6,
            transaction: 8,
            announce: announce(),
            url_data: vec![],
        };
        let bytes = request.encode();
        assert_eq!(bytes.len(), 98);
        assert_eq!(bytes[8..16], [0, 0, 0, 1, 0, 0, 0, 8]);
        assert_eq!((bytes[16], bytes[36]), (1, 2));
        assert_eq!((bytes[63], bytes[71], bytes[79]), (4, 5, 3), "downloaded, left, uploaded");
        assert_eq!(bytes[80..88], [0, 0, 0, 2, 0, 0, 0, 0], "event, address");
        assert_eq!(bytes[88..], [0xde, 0xad, 0xbe, 0xef, 0xff, 0xff, 0xff, 0xff, 0x12, 0x34]);
    }

    #[test]
    fn announce_responses_have_peers_of_one_family() {
        let response = response_with(&["10.0.0.1:80", "[2001:db8::1]:80"]);
        let packet = Response::Announce { transaction: 1, response };
        for (family, length, kept) in
            [(Family::V4, 26, "10.0.0.1:80"), (Family::V6, 38, "[2001:db8::1]:80")]
        {
            let bytes = packet.encode(family);
            assert_eq!(bytes.len(), length);
            let want = Response::Announce { transaction: 1, response: response_with(&[kept]) };
            assert_eq!(Response::decode(&bytes, family), Ok(want));
        }
    }

    #[test]
    fn a_negative_interval_becomes_the_default() {
        let bytes = [&[0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff][..], &[0; 8]].concat();
        let Ok(Response::Announce { response, .. }) = Response::decode(&bytes, Family::V4) else {
            panic!()
        };
        assert_eq!(response.interval, Duration::from_secs(1800));
    }

    #[test]
    fn short_and_unknown_packets_are_rejected() {
        let bytes = Request::Announce {
            connection: 6,
            transaction: 8,
            announce: announce(),
            url_data: vec![],
        }
        .encode();
        assert_eq!(Request::decode(&bytes[..97]), Err(PacketError::Short));
        assert_eq!(Request::decode(&[0; 16]), Err(PacketError::Protocol));
        assert_eq!(
            Response::decode(&[0, 0, 0, 9, 0, 0, 0, 0], Family::V4),
            Err(PacketError::Action(9))
        );
        assert_eq!(
            Response::decode(&[0, 0, 0, 0, 0, 0, 0, 0, 1], Family::V4),
            Err(PacketError::Short)
        );
        assert_eq!(Response::decode(&[], Family::V4), Err(PacketError::Short));
    }

    #[test]
    fn url_data_is_joined_and_truncated_options_are_ignored() {
        assert_eq!(read_url_data(b"\x02\x02/a\x01\x02\x02?b\x00\x02\x01c"), b"/a?b");
        assert_eq!(read_url_data(b"\x09\x01x\x02\x01y"), b"y");
        assert_eq!(read_url_data(b"\x02\x01a\x02\x05bc"), b"a");
        assert_eq!(read_url_data(b"\x02"), b"");
        let mut options = Vec::new();
        for _ in 0..100 {
            options.extend_from_slice(&[OPTION_URL_DATA, 255]);
            options.extend_from_slice(&[b'x'; 255]);
        }
        assert_eq!(read_url_data(&options).len(), 1020);
    }

    #[test]
    fn the_number_of_entries_is_limited() {
        let mut bytes = [vec![0; 8], vec![1; 12 * 200]].concat();
        bytes[3] = 2;
        let Ok(Response::Scrape { swarms, .. }) = Response::decode(&bytes, Family::V4) else {
            panic!()
        };
        assert_eq!(swarms.len(), MAX_SCRAPE);
        bytes = [vec![0; 20], vec![1; 6 * 5000]].concat();
        bytes[3] = 1;
        let Ok(Response::Announce { response, .. }) = Response::decode(&bytes, Family::V4) else {
            panic!()
        };
        assert_eq!(response.peers.len(), MAX_RESPONSE_PEERS);
    }
}
