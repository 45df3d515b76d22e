//! Announces, scrapes and their responses, independent of the transport: the types that
//! [`crate::tracker_http`] and [`crate::tracker_udp`] share. No encoding here.

use std::{net::SocketAddr, time::Duration};

use sow_content::{InfoHash, untrusted::replaced};

use crate::bittorrent::PeerId;

/// The number of peers that are kept of one response; later ones are ignored.
pub const MAX_RESPONSE_PEERS: usize = 1000;

/// The number of peers with a host name that are kept of one response.
pub const MAX_RESPONSE_NAMES: usize = 50;

/// The largest number of swarms in one scrape: as many as fit in a UDP response (BEP 15).
pub const MAX_SCRAPE: usize = 74;

/// The longest text from a tracker that is kept, in characters.
pub const MAX_TRACKER_TEXT: usize = 256;

/// The value of `left` on the wire while the size is unknown. Many trackers read the field of
/// BEP 15 as a signed number, so this is the largest signed one.
pub(crate) const LEFT_UNKNOWN: u64 = i64::MAX as u64;

/// Why an announce is sent (BEP 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnounceEvent {
    /// The interval has passed.
    Periodic,
    /// The peer joins the swarm: its first announce.
    Started,
    /// The peer has verified its last piece.
    Completed,
    /// The peer leaves the swarm: its last announce.
    Stopped,
}

/// An announce (BEP 3). It has no IP address: the tracker uses the source address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// The swarm.
    pub info_hash: InfoHash,
    /// The peer id.
    pub peer_id: PeerId,
    /// The port that the peer listens on; 0 when it does not listen.
    pub port: u16,
    /// Payload bytes sent so far.
    pub uploaded: u64,
    /// Payload bytes received so far.
    pub downloaded: u64,
    /// Bytes still missing; [`u64::MAX`] while the size is unknown.
    pub left: u64,
    /// Why the peer announces.
    pub event: AnnounceEvent,
    /// The number of peers to return; `None` leaves it to the tracker.
    pub numwant: Option<u32>,
    /// A number that identifies the peer when its address changes; 0 for none.
    pub key: u32,
}

/// A peer in a tracker's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackedPeer {
    /// The address that the peer listens on.
    pub addr: SocketAddr,
    /// The peer id, if the response has it.
    pub peer_id: Option<PeerId>,
}

/// The response to an announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnounceResponse {
    /// The time until the next announce: whole seconds, 1 s to 1 day.
    pub interval: Duration,
    /// The minimum time until the next announce: whole seconds, 1 s to 1 day.
    pub min_interval: Option<Duration>,
    /// The number of seeds, if known.
    pub complete: Option<u32>,
    /// The number of leechers, if known.
    pub incomplete: Option<u32>,
    /// Other peers of the swarm, at most [`MAX_RESPONSE_PEERS`].
    pub peers: Vec<TrackedPeer>,
    /// Peers whose host is a name: the names and ports, at most [`MAX_RESPONSE_NAMES`].
    pub named_peers: Vec<(String, u16)>,
    /// A warning for the user.
    pub warning: Option<String>,
    /// An opaque id to send with the next announce (HTTP only).
    pub tracker_id: Option<Vec<u8>>,
}

/// The scrape counters of one swarm (BEP 15, BEP 48).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SwarmCount {
    /// The number of seeds.
    pub complete: u32,
    /// The number of `completed` events.
    pub downloaded: u32,
    /// The number of leechers.
    pub incomplete: u32,
}

/// An announce interval from the wire, in seconds: half an hour if it is not positive, at most a
/// day.
pub(crate) fn interval_from_wire(seconds: i64) -> Duration {
    const DEFAULT_SECONDS: i64 = 30 * 60;
    const MAX_SECONDS: i64 = 24 * 60 * 60;
    let seconds = if seconds < 1 { DEFAULT_SECONDS } else { seconds.min(MAX_SECONDS) };
    Duration::from_secs(seconds.unsigned_abs())
}

/// Bytes left, from the wire: a negative number and the largest signed number mean unknown.
pub(crate) fn left_from_wire(left: u64) -> u64 {
    if left >= LEFT_UNKNOWN { u64::MAX } else { left }
}

/// Bytes left, for the wire.
pub(crate) fn left_to_wire(left: u64) -> u64 {
    left.min(LEFT_UNKNOWN)
}

/// A printable text from a tracker: at most [`MAX_TRACKER_TEXT`] characters, with
/// unprintable characters replaced.
pub(crate) fn printable_text(bytes: &[u8]) -> String {
    replaced(bytes, MAX_TRACKER_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_clamped() {
        for (seconds, want) in [(i64::MIN, 1800), (0, 1800), (1, 1), (30, 30), (i64::MAX, 86_400)] {
            assert_eq!(interval_from_wire(seconds), Duration::from_secs(want));
        }
    }

    #[test]
    fn an_unknown_size_is_sent_as_the_largest_signed_number() {
        assert_eq!(left_to_wire(u64::MAX), i64::MAX as u64);
        for left in [0, 1, i64::MAX as u64 - 1, u64::MAX] {
            assert_eq!(left_from_wire(left_to_wire(left)), left);
        }
        assert_eq!(left_from_wire(-1i64 as u64), u64::MAX);
    }

    #[test]
    fn texts_are_bounded_and_printable() {
        assert_eq!(printable_text(b"unregistered torrent"), "unregistered torrent");
        assert_eq!(printable_text(b"\x1b[2J\xff"), "\u{fffd}[2J\u{fffd}");
        assert_eq!(printable_text(&[b'a'; 5000]).len(), MAX_TRACKER_TEXT);
        let wide = "\u{10ffff}".repeat(300);
        assert_eq!(printable_text(wide.as_bytes()).chars().count(), MAX_TRACKER_TEXT);
    }
}
