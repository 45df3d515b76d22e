//! The info dictionary, fetched from peers (BEP 9): all of it from one peer, with two attempts at a
//! time. No messages.
//!
//! The pieces of two peers are never mixed, so that a wrong hash has one source.

use std::{collections::BTreeMap, time::Duration};

use bytes::{Bytes, BytesMut};
use sow_content::InfoHash;

use crate::{
    io::{ConnId, Time},
    session::bittorrent::METADATA_PIECE_LENGTH,
};

/// The longest info dictionary that is accepted, in bytes: a peer cannot make us hold more.
pub(crate) const MAX_METADATA: u32 = 32 * 1024 * 1024;

/// An attempt without progress for this long is joined by a second one, and may be replaced.
const METADATA_STALL: Duration = Duration::from_millis(500);

/// An attempt that takes longer than this is joined by a second one, whatever its progress.
const SLOW_ATTEMPT: Duration = Duration::from_secs(2);

/// An attempt may be replaced after this long and a second for each megabyte, whatever its
/// progress.
const MIN_ATTEMPT_TIME: Duration = Duration::from_secs(10);

/// Attempts at the same time.
const MAX_ATTEMPTS: usize = 2;

/// Requests that are in flight to one peer.
const MAX_REQUESTS: u32 = 16;

/// The info dictionary while it is fetched.
#[derive(Debug)]
pub(crate) struct MetadataFetch {
    info_hash: InfoHash,
    attempts: BTreeMap<ConnId, Attempt>,
}

#[derive(Debug)]
struct Attempt {
    size: u32,
    pieces: Vec<Option<Bytes>>,
    asked: u32,
    started: Time,
    progress: Time,
}

/// What a piece of metadata led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Ask this peer for these pieces.
    Ask(Vec<u32>),
    /// It is whole and has the right hash.
    Done(Bytes),
    /// It is whole and wrong.
    Wrong,
    /// It was not requested, or has the wrong length.
    Bad,
}

impl MetadataFetch {
    pub(crate) fn new(info_hash: InfoHash) -> Self {
        Self { info_hash, attempts: BTreeMap::new() }
    }

    /// A peer offers the dictionary, of `size` bytes. The pieces to request of it: none while other
    /// attempts are under way.
    pub(crate) fn on_offer(&mut self, now: Time, conn: ConnId, size: u32) -> Vec<u32> {
        if size == 0 || size > MAX_METADATA || self.attempts.contains_key(&conn) {
            return Vec::new();
        }
        if !self.attempts.values().all(|attempt| attempt.is_slow(now)) {
            return Vec::new();
        }
        if self.attempts.len() >= MAX_ATTEMPTS {
            let spent = self.attempts.iter().filter(|(_, attempt)| attempt.is_spent(now));
            let Some(conn) =
                spent.min_by_key(|(_, attempt)| attempt.progress).map(|(&conn, _)| conn)
            else {
                return Vec::new();
            };
            self.attempts.remove(&conn);
        }
        let count = size.div_ceil(METADATA_PIECE_LENGTH);
        let asked = count.min(MAX_REQUESTS);
        let attempt = Attempt {
            size,
            pieces: vec![None; count as usize],
            asked,
            started: now,
            progress: now,
        };
        self.attempts.insert(conn, attempt);
        (0..asked).collect()
    }

    /// A peer sent a piece.
    pub(crate) fn on_piece(
        &mut self,
        now: Time,
        conn: ConnId,
        piece: u32,
        data: Bytes,
    ) -> Progress {
        let Some(attempt) = self.attempts.get_mut(&conn) else {
            // A late answer to an attempt that was given up.
            return Progress::Ask(Vec::new());
        };
        let due = attempt
            .size
            .saturating_sub(piece.saturating_mul(METADATA_PIECE_LENGTH))
            .min(METADATA_PIECE_LENGTH);
        match attempt.pieces.get_mut(piece as usize) {
            Some(slot @ None) if data.len() == due as usize => *slot = Some(data),
            // The answer to an attempt that was given up and begun again.
            Some(Some(_)) if data.len() == due as usize => return Progress::Ask(Vec::new()),
            _ => {
                self.attempts.remove(&conn);
                return Progress::Bad;
            }
        }
        attempt.progress = now;
        if attempt.pieces.iter().any(Option::is_none) {
            let next = attempt.asked;
            let more = next < attempt.pieces.len() as u32;
            attempt.asked += u32::from(more);
            return Progress::Ask(if more { vec![next] } else { Vec::new() });
        }
        let mut whole = BytesMut::with_capacity(attempt.size as usize);
        attempt.pieces.iter().flatten().for_each(|piece| whole.extend_from_slice(piece));
        self.attempts.remove(&conn);
        if sow_content::hash::sha1(&whole) == self.info_hash.0 {
            Progress::Done(whole.freeze())
        } else {
            Progress::Wrong
        }
    }

    /// A peer is gone, or has no metadata.
    pub(crate) fn on_peer_gone(&mut self, conn: ConnId) {
        self.attempts.remove(&conn);
    }
}

impl Attempt {
    /// Whether another peer may be asked at the same time.
    fn is_slow(&self, now: Time) -> bool {
        now.since(self.progress) >= METADATA_STALL || now.since(self.started) >= SLOW_ATTEMPT
    }

    /// Whether another peer may be asked instead.
    fn is_spent(&self, now: Time) -> bool {
        let due = MIN_ATTEMPT_TIME + Duration::from_micros(u64::from(self.size));
        now.since(self.progress) >= METADATA_STALL || now.since(self.started) >= due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);
    const C: ConnId = ConnId(3);

    fn dictionary(length: usize) -> (Bytes, InfoHash) {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
        let hash = InfoHash(sow_content::hash::sha1(&bytes));
        (bytes.into(), hash)
    }

    fn slice(whole: &Bytes, piece: u32) -> Bytes {
        let start = (piece * METADATA_PIECE_LENGTH) as usize;
        whole.slice(start..whole.len().min(start + METADATA_PIECE_LENGTH as usize))
    }

    #[test]
    fn pieces_make_the_whole() {
        let (whole, hash) = dictionary(40 * METADATA_PIECE_LENGTH as usize + 5);
        let mut fetch = MetadataFetch::new(hash);
        let mut asked = fetch.on_offer(Time(0), A, whole.len() as u32);
        assert_eq!(asked.len(), MAX_REQUESTS as usize);
        while let Some(piece) = asked.pop() {
            match fetch.on_piece(Time(0), A, piece, slice(&whole, piece)) {
                Progress::Ask(more) => asked.extend(more),
                Progress::Done(bytes) => {
                    assert_eq!(bytes, whole);
                    return;
                }
                bad => panic!("{bad:?}"),
            }
        }
        panic!("never done");
    }

    #[test]
    fn a_wrong_hash_and_a_wrong_piece_are_reported() {
        let (whole, _) = dictionary(100);
        let mut fetch = MetadataFetch::new(InfoHash([0; 20]));
        assert_eq!(fetch.on_offer(Time(0), A, 100), [0]);
        assert_eq!(fetch.on_piece(Time(0), A, 0, whole.clone()), Progress::Wrong);
        assert_eq!(fetch.on_offer(Time(0), A, 100), [0]);
        assert_eq!(fetch.on_piece(Time(0), A, 0, whole.slice(1..)), Progress::Bad);
        assert_eq!(fetch.on_offer(Time(0), A, 100), [0]);
        assert_eq!(fetch.on_piece(Time(0), A, 7, whole), Progress::Bad);
    }

    #[test]
    fn a_stalled_peer_is_joined_then_replaced() {
        let mut fetch = MetadataFetch::new(InfoHash([0; 20]));
        assert_eq!(fetch.on_offer(Time(0), A, 100).len(), 1);
        assert!(fetch.on_offer(Time(100), B, 100).is_empty(), "A was only just asked");
        assert_eq!(fetch.on_offer(Time(0) + METADATA_STALL, B, 100).len(), 1);
        assert_eq!(fetch.on_offer(Time(0) + 2 * METADATA_STALL, C, 100).len(), 1);
        assert_eq!(fetch.attempts.keys().copied().collect::<Vec<_>>(), [B, C]);
    }

    #[test]
    fn absurd_sizes_are_not_fetched() {
        let mut fetch = MetadataFetch::new(InfoHash([0; 20]));
        assert!(fetch.on_offer(Time(0), A, 0).is_empty());
        assert!(fetch.on_offer(Time(0), A, MAX_METADATA + 1).is_empty());
    }
}
