//! What a tracker is asked and what it answers, whichever way it travels: the types that
//! [`crate::tracker_http`] and [`crate::tracker_udp`] share. No bytes here.

use std::{net::SocketAddr, time::Duration};

use sow_content::InfoHash;

use crate::bittorrent::PeerId;

/// How many peers of one answer are kept; what follows is passed over.
pub const MAX_PEERS: usize = 1000;

/// How many swarms one scrape may ask for. Of a UDP answer, 74 are all that fit (BEP 15).
pub const MAX_SCRAPE: usize = 74;

/// The longest text of a tracker that is kept, in characters.
pub const MAX_TEXT: usize = 256;

/// What stands for "unknown" where bytes left are told: the largest number that every tracker can
/// hold, as the field of BEP 15 is taken for a signed one by many.
pub(crate) const LEFT_UNKNOWN: u64 = i64::MAX as u64;

/// Why an announce is sent (BEP 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnounceEvent {
    /// At the interval.
    Periodic,
    /// The first one.
    Started,
    /// The last piece is verified.
    Completed,
    /// The last one.
    Stopped,
}

/// What a peer tells a tracker of itself. Its address is the one that the tracker sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// The swarm.
    pub info_hash: InfoHash,
    /// The peer's name.
    pub peer_id: PeerId,
    /// Where it listens; 0 when it cannot be called.
    pub port: u16,
    /// Payload bytes sent so far.
    pub uploaded: u64,
    /// Payload bytes received so far.
    pub downloaded: u64,
    /// Bytes still missing; [`u64::MAX`] while the size is unknown.
    pub left: u64,
    /// Why it announces.
    pub event: AnnounceEvent,
    /// How many peers it wants; `None` leaves it to the tracker.
    pub numwant: Option<u32>,
    /// What tells the peer from another one at a new address; 0 when it says nothing.
    pub key: u32,
}

/// A peer as a tracker names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackedPeer {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its name, where the tracker gives it.
    pub peer_id: Option<PeerId>,
}

/// A tracker's answer to an announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnounceResponse {
    /// When the tracker wants to hear from the peer again: whole seconds, 1 s to 1 day.
    pub interval: Duration,
    /// Before which it does not want to: whole seconds, 1 s to 1 day.
    pub min_interval: Option<Duration>,
    /// How many peers have everything, where it says so.
    pub complete: Option<u32>,
    /// How many have not, where it says so.
    pub incomplete: Option<u32>,
    /// Others in the swarm, at most [`MAX_PEERS`].
    pub peers: Vec<TrackedPeer>,
    /// Something that the tracker wants people to know.
    pub warning: Option<String>,
    /// What it wants to be told in the next announce (HTTP alone).
    pub tracker_id: Option<Vec<u8>>,
}

/// What a scrape tells of one swarm (BEP 15, BEP 48).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SwarmCount {
    /// Peers that have everything.
    pub complete: u32,
    /// How often a peer said that it completed.
    pub downloaded: u32,
    /// Peers that have not everything.
    pub incomplete: u32,
}

/// An interval as a tracker spells it, in seconds, made usable: half an hour where it is nonsense,
/// a day at most.
pub(crate) fn interval(seconds: i64) -> Duration {
    const DEFAULT: i64 = 30 * 60;
    const LONGEST: i64 = 24 * 60 * 60;
    let seconds = if seconds < 1 { DEFAULT } else { seconds.min(LONGEST) };
    Duration::from_secs(seconds.unsigned_abs())
}

/// Bytes left, from the wire: what is negative or as large as it can be is unknown.
pub(crate) fn left_from_wire(left: u64) -> u64 {
    if left >= LEFT_UNKNOWN { u64::MAX } else { left }
}

/// Bytes left, for the wire.
pub(crate) fn left_to_wire(left: u64) -> u64 {
    left.min(LEFT_UNKNOWN)
}

/// A text of a tracker, made fit to be shown: at most [`MAX_TEXT`] characters, none of them a
/// control character.
pub(crate) fn text(bytes: &[u8]) -> String {
    // Four bytes a character at most: what is behind cannot count.
    let head = &bytes[..bytes.len().min(MAX_TEXT * 4)];
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(head).chars().take(MAX_TEXT).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_made_usable() {
        for (seconds, want) in [(i64::MIN, 1800), (0, 1800), (1, 1), (30, 30), (i64::MAX, 86_400)] {
            assert_eq!(interval(seconds), Duration::from_secs(want));
        }
    }

    #[test]
    fn an_unknown_size_travels_as_a_number_that_all_can_hold() {
        assert_eq!(left_to_wire(u64::MAX), i64::MAX as u64);
        for left in [0, 1, i64::MAX as u64 - 1, u64::MAX] {
            assert_eq!(left_from_wire(left_to_wire(left)), left);
        }
        assert_eq!(left_from_wire(-1i64 as u64), u64::MAX);
    }

    #[test]
    fn texts_are_bounded_and_clean() {
        assert_eq!(text(b"unregistered torrent"), "unregistered torrent");
        assert_eq!(text(b"\x1b[2J\xff"), "\u{fffd}[2J\u{fffd}");
        assert_eq!(text(&[b'a'; 5000]).len(), MAX_TEXT);
        assert_eq!(text("\u{10ffff}".repeat(300).as_bytes()).chars().count(), MAX_TEXT);
    }
}
