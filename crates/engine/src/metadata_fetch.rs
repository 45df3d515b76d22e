//! The info dictionary, fetched from peers (BEP 9): all of it from one peer, with several attempts
//! at a time. No messages.
//!
//! The pieces of two peers are never mixed, so that a wrong hash has one source. The first piece
//! alone is requested of more and more peers until one answers, the least recently asked first; the
//! rest is requested of those that answered, the shortest dictionary first: what a peer claims
//! costs at most what it claims. No claim is believed before the hash is right.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use sow_content::InfoHash;

use crate::{
    io::{ConnId, Time},
    session::bittorrent::METADATA_PIECE_LENGTH,
};

/// The longest info dictionary that is accepted, in bytes: a peer cannot make us hold more.
pub(crate) const MAX_METADATA: u32 = 32 * 1024 * 1024;

/// Bytes of dictionaries that are held at once, of all peers together.
const MAX_HELD_BYTES: u64 = 64 * 1024 * 1024;

/// Without an answer for this long, twice as many peers are asked for their first piece.
const FIRST_ANSWER_STALL: Duration = Duration::from_millis(250);

/// Peers that are asked for their first piece at the same time, at first and at most.
const FIRST_QUESTIONS: usize = 2;
const MAX_QUESTIONS: usize = 64;

/// An attempt without progress for this long is not waited for; for twice as long after each stall.
const METADATA_STALL: Duration = Duration::from_secs(1);

/// The doublings of [`METADATA_STALL`].
const MAX_STALL_DOUBLINGS: u32 = 3;

/// An attempt that takes longer than this, and a second for each 256 KiB, is joined by another one,
/// whatever its progress.
const SLOW_ATTEMPT: Duration = Duration::from_secs(2);
const SLOW_ATTEMPT_RATE: u32 = 256 * 1024;

/// Whole dictionaries that are fetched at the same time: this many, or more while they are short.
const MAX_ATTEMPTS: usize = 2;

/// The sum of the lengths of dictionaries that are fetched at the same time, in bytes: at first,
/// and at most. It doubles with each second.
const FIRST_ATTEMPT_BYTES: u64 = 128 * 1024;
const MAX_ATTEMPT_BYTES: u64 = 2 * 1024 * 1024;

/// Requests that are in flight to one peer.
const MAX_REQUESTS: u32 = 16;

/// The info dictionary while it is fetched.
#[derive(Debug)]
pub(crate) struct MetadataFetch {
    info_hash: InfoHash,
    sources: BTreeMap<ConnId, Source>,
    /// When a peer was first asked.
    began: Option<Time>,
    /// When a first piece was received last, the number of peers that are asked was doubled, or
    /// there was no peer to ask.
    answered: Time,
    /// How many peers may be asked for their first piece at the same time.
    questions: usize,
    held_bytes: u64,
}

/// A peer that offers the dictionary, and what it sent of it.
#[derive(Debug)]
struct Source {
    size: u32,
    /// Pieces that are here.
    pieces: BTreeMap<u32, Bytes>,
    /// Pieces that were requested and are not here.
    requested: BTreeSet<u32>,
    /// How often the peer did not answer in time.
    stalls: u32,
    state: SourceState,
    /// When the state began.
    since: Time,
    progress: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SourceState {
    /// Nothing is requested of it; it may have sent its first piece.
    Idle,
    /// Its first piece is requested.
    Asked,
    /// All that is missing of its dictionary is requested.
    Fetching,
}

/// What a piece of metadata led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More may be [requested](MetadataFetch::requests).
    Partial,
    /// It is whole and has the right hash.
    Done(Bytes),
    /// It is whole and wrong.
    Wrong,
    /// It was not requested, or has the wrong length.
    Bad,
}

impl MetadataFetch {
    pub(crate) fn new(info_hash: InfoHash) -> Self {
        Self {
            info_hash,
            sources: BTreeMap::new(),
            began: None,
            answered: Time::default(),
            questions: FIRST_QUESTIONS,
            held_bytes: 0,
        }
    }

    /// A peer offers the dictionary, of `size` bytes.
    pub(crate) fn on_offer(&mut self, now: Time, conn: ConnId, size: u32) {
        if self.sources.get(&conn).is_some_and(|source| source.size == size) {
            return;
        }
        self.on_peer_gone(conn);
        if size > 0 && size <= MAX_METADATA {
            self.sources.insert(conn, Source::new(now, size));
        }
    }

    /// What is to be requested of which peer now.
    pub(crate) fn requests(&mut self, now: Time) -> Vec<(ConnId, Vec<u32>)> {
        self.sources.values_mut().for_each(|source| source.check_stall(now));
        let mut requests = Vec::new();
        while let Some(conn) = self.next_attempt(now) {
            let Some(source) = self.sources.get_mut(&conn) else { break };
            // What was requested before a stall is requested again.
            source.requested.clear();
            source.enter(now, SourceState::Fetching);
        }
        for (&conn, source) in &mut self.sources {
            let pieces = source.request_more();
            if !pieces.is_empty() {
                requests.push((conn, pieces));
            }
        }
        while let Some(conn) = self.next_question(now) {
            let Some(source) = self.sources.get_mut(&conn) else { break };
            source.enter(now, SourceState::Asked);
            source.requested.insert(0);
            requests.push((conn, vec![0]));
        }
        requests
    }

    /// A peer that answered its first piece and of which the rest may be requested: the one with
    /// the shortest dictionary among those that stalled least.
    fn next_attempt(&self, now: Time) -> Option<ConnId> {
        let is_waiting =
            |source: &Source| source.state == SourceState::Idle && source.pieces.contains_key(&0);
        let (&conn, next) = self
            .sources
            .iter()
            .filter(|(_, source)| is_waiting(source))
            .min_by_key(|(conn, source)| (source.stalls, source.size, **conn))?;
        let promising = || self.sources.values().filter(|source| source.is_promising(now));
        let bytes: u64 = promising().map(|source| u64::from(source.size)).sum();
        let is_shorter = next.size <= self.shorter_than_promising(now);
        let seconds = self.began.map_or(0, |began| now.since(began).as_secs());
        let limit = (FIRST_ATTEMPT_BYTES << seconds.min(8)).min(MAX_ATTEMPT_BYTES);
        let has_room = promising().count() < MAX_ATTEMPTS || bytes + u64::from(next.size) <= limit;
        (has_room || is_shorter).then_some(conn)
    }

    /// A peer to be asked for its first piece: the least recently asked of those that stalled
    /// least. While an attempt is promising, only one whose dictionary is much shorter.
    fn next_question(&mut self, now: Time) -> Option<ConnId> {
        let limit = self.shorter_than_promising(now);
        let idle = |source: &Source| {
            source.state == SourceState::Idle
                && !source.pieces.contains_key(&0)
                && source.size <= limit
        };
        let next = self
            .sources
            .iter()
            .filter(|(_, source)| idle(source))
            .min_by_key(|(conn, source)| (source.stalls, source.since, source.size, **conn))
            .map(|(&conn, _)| conn);
        if next.is_none() || self.began.is_none() {
            self.began.get_or_insert(now);
            self.answered = now;
        }
        if now.since(self.answered) >= FIRST_ANSWER_STALL {
            self.answered = now;
            self.questions = (self.questions * 2).min(MAX_QUESTIONS);
        }
        let asked = |source: &&Source| source.state == SourceState::Asked;
        let questions = self.sources.values().filter(asked).count();
        next.filter(|_| questions < self.questions)
    }

    /// The length that a dictionary may have to be fetched beside the promising attempts whatever
    /// their number: what it costs is little beside what they cost.
    fn shorter_than_promising(&self, now: Time) -> u32 {
        let promising = self.sources.values().filter(|source| source.is_promising(now));
        promising.map(|source| source.size / 2).min().unwrap_or(MAX_METADATA)
    }

    /// A peer sent a piece.
    pub(crate) fn on_piece(
        &mut self,
        now: Time,
        conn: ConnId,
        piece: u32,
        data: Bytes,
    ) -> Progress {
        let Some(source) = self.sources.get_mut(&conn) else {
            // A late answer to what was requested before the peer withdrew its offer.
            return Progress::Partial;
        };
        if data.len() != source.length_of(piece) as usize {
            self.on_peer_gone(conn);
            return Progress::Bad;
        }
        if !source.requested.remove(&piece) {
            return match source.pieces.contains_key(&piece) {
                // The answer to a question that was asked again.
                true => Progress::Partial,
                false => {
                    self.on_peer_gone(conn);
                    Progress::Bad
                }
            };
        }
        self.held_bytes += data.len() as u64;
        // The copy holds no more memory than its own length.
        source.pieces.insert(piece, Bytes::copy_from_slice(&data));
        source.progress = now;
        source.stalls = 0;
        if source.state == SourceState::Asked {
            source.enter(now, SourceState::Idle);
            self.answered = now;
        }
        if source.pieces.len() < source.count() as usize {
            self.limit_held_bytes(conn);
            return Progress::Partial;
        }
        let mut whole = BytesMut::with_capacity(source.size as usize);
        source.pieces.values().for_each(|piece| whole.extend_from_slice(piece));
        self.on_peer_gone(conn);
        if sow_content::hash::sha1(&whole) == self.info_hash.0 {
            Progress::Done(whole.freeze())
        } else {
            Progress::Wrong
        }
    }

    /// Whether a peer did not answer in time.
    pub(crate) fn is_stalled(&self, conn: ConnId) -> bool {
        self.sources.get(&conn).is_some_and(|source| source.stalls > 0)
    }

    /// A peer is gone, or has no metadata.
    pub(crate) fn on_peer_gone(&mut self, conn: ConnId) {
        if let Some(source) = self.sources.remove(&conn) {
            self.held_bytes -= source.held_bytes();
        }
    }

    /// Drops what other peers sent of the longest dictionaries, when too much is held.
    fn limit_held_bytes(&mut self, conn: ConnId) {
        while self.held_bytes > MAX_HELD_BYTES {
            let others = self.sources.iter_mut().filter(|(other, _)| **other != conn);
            let longest = others.max_by_key(|(_, source)| (source.held_bytes(), source.size));
            let Some((_, source)) = longest.filter(|(_, source)| !source.pieces.is_empty()) else {
                return;
            };
            self.held_bytes -= source.held_bytes();
            source.pieces.clear();
            source.stalls += 1;
            source.state = SourceState::Idle;
        }
    }
}

impl Source {
    fn new(now: Time, size: u32) -> Self {
        Self {
            size,
            pieces: BTreeMap::new(),
            requested: BTreeSet::new(),
            stalls: 0,
            state: SourceState::Idle,
            since: now,
            progress: now,
        }
    }

    fn enter(&mut self, now: Time, state: SourceState) {
        self.state = state;
        self.since = now;
        self.progress = now;
    }

    fn count(&self) -> u32 {
        self.size.div_ceil(METADATA_PIECE_LENGTH)
    }

    /// The length of a piece in bytes; 0 when there is none.
    fn length_of(&self, piece: u32) -> u32 {
        let start = u64::from(piece) * u64::from(METADATA_PIECE_LENGTH);
        u64::from(self.size).saturating_sub(start).min(METADATA_PIECE_LENGTH.into()) as u32
    }

    fn held_bytes(&self) -> u64 {
        self.pieces.values().map(|piece| piece.len() as u64).sum()
    }

    fn stall_timeout(&self) -> Duration {
        METADATA_STALL * (1 << self.stalls.min(MAX_STALL_DOUBLINGS))
    }

    /// A peer that does not answer in time is asked again after all others; what it sends late is
    /// taken.
    fn check_stall(&mut self, now: Time) {
        if self.state != SourceState::Idle && now.since(self.progress) >= self.stall_timeout() {
            self.stalls += 1;
            self.enter(now, SourceState::Idle);
        }
    }

    /// Whether it may well be the first to be done.
    fn is_promising(&self, now: Time) -> bool {
        let due = SLOW_ATTEMPT + Duration::from_secs(u64::from(self.size / SLOW_ATTEMPT_RATE));
        self.state == SourceState::Fetching && now.since(self.since) < due
    }

    /// The pieces to request next.
    fn request_more(&mut self) -> Vec<u32> {
        if self.state != SourceState::Fetching {
            return Vec::new();
        }
        let room = (MAX_REQUESTS as usize).saturating_sub(self.requested.len());
        let is_missing =
            |piece: &u32| !self.pieces.contains_key(piece) && !self.requested.contains(piece);
        let next: Vec<u32> = (0..self.count()).filter(is_missing).take(room).collect();
        self.requested.extend(&next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);

    fn dictionary(length: usize) -> (Bytes, InfoHash) {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
        let hash = InfoHash(sow_content::hash::sha1(&bytes));
        (bytes.into(), hash)
    }

    fn slice(whole: &Bytes, piece: u32) -> Bytes {
        let start = (piece * METADATA_PIECE_LENGTH) as usize;
        whole.slice(start..whole.len().min(start + METADATA_PIECE_LENGTH as usize))
    }

    fn at(ms: u64) -> Time {
        Time(ms * 1000)
    }

    fn wrong() -> MetadataFetch {
        MetadataFetch::new(InfoHash([0; 20]))
    }

    #[test]
    fn pieces_make_the_whole() {
        let (whole, hash) = dictionary(40 * METADATA_PIECE_LENGTH as usize + 5);
        let mut fetch = MetadataFetch::new(hash);
        fetch.on_offer(at(0), A, whole.len() as u32);
        assert_eq!(fetch.requests(at(0)), [(A, vec![0])]);
        let mut asked = vec![0];
        let mut most = 0;
        while let Some(piece) = asked.pop() {
            match fetch.on_piece(at(0), A, piece, slice(&whole, piece)) {
                Progress::Partial => {
                    asked.extend(fetch.requests(at(0)).into_iter().flat_map(|(_, pieces)| pieces));
                    most = most.max(asked.len());
                }
                Progress::Done(bytes) => {
                    assert_eq!(bytes, whole);
                    assert_eq!((most, fetch.held_bytes), (MAX_REQUESTS as usize, 0));
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
        let mut fetch = wrong();
        for (piece, data, progress) in [
            (0, whole.clone(), Progress::Wrong),
            (0, whole.slice(1..), Progress::Bad),
            (7, whole, Progress::Bad),
        ] {
            fetch.on_offer(at(0), A, 100);
            assert_eq!(fetch.requests(at(0)), [(A, vec![0])]);
            assert_eq!(fetch.on_piece(at(0), A, piece, data), progress);
        }
    }

    #[test]
    fn what_was_not_requested_is_not_held() {
        let mut fetch = wrong();
        let size = 1 << 20;
        fetch.on_offer(at(0), A, size);
        let data = Bytes::from(vec![1; METADATA_PIECE_LENGTH as usize]);
        assert_eq!(fetch.on_piece(at(0), A, 3, data), Progress::Bad);
        assert_eq!(fetch.held_bytes, 0);
    }

    #[test]
    fn soon_all_of_many_silent_peers_were_asked_once_and_none_twice() {
        let mut fetch = wrong();
        (0..51).for_each(|conn| fetch.on_offer(at(0), ConnId(conn), 100));
        let mut asked = BTreeSet::new();
        for step in 0..6 {
            for (conn, _) in fetch.requests(at(250 * step)) {
                let is_first = asked.insert(conn);
                assert!(is_first || asked.len() == 51, "{conn:?} was asked twice");
            }
            if step == 0 {
                assert_eq!(asked.len(), FIRST_QUESTIONS);
            }
        }
        assert_eq!(asked.len(), 51, "all were asked within 1.25 s");
    }

    #[test]
    fn a_peer_that_does_not_answer_is_asked_again_after_the_others() {
        let mut fetch = wrong();
        [A, B].into_iter().for_each(|conn| fetch.on_offer(at(0), conn, 100));
        assert_eq!(fetch.requests(at(0)), [(A, vec![0]), (B, vec![0])]);
        fetch.on_offer(at(500), ConnId(3), 100);
        assert_eq!(fetch.requests(at(999)), [(ConnId(3), vec![0])]);
        let again = fetch.requests(at(1000));
        assert_eq!(again, [(A, vec![0]), (B, vec![0])]);
        assert!(fetch.is_stalled(A) && !fetch.is_stalled(ConnId(3)));
        // A late answer is taken.
        let (whole, _) = dictionary(100);
        assert_eq!(fetch.on_piece(at(1500), A, 0, whole), Progress::Wrong);
    }

    #[test]
    fn the_shortest_dictionary_is_fetched_first_and_the_claims_of_others_cost_little() {
        let (whole, hash) = dictionary(3 * METADATA_PIECE_LENGTH as usize);
        let mut fetch = MetadataFetch::new(hash);
        let garbage = Bytes::from(vec![1; METADATA_PIECE_LENGTH as usize]);
        (0..30).for_each(|conn| fetch.on_offer(at(0), ConnId(conn), MAX_METADATA));
        let honest = ConnId(99);
        let mut now = 0;
        let mut received = 0;
        loop {
            now += 10;
            if now == 500 {
                fetch.on_offer(at(now), honest, whole.len() as u32);
            }
            for (conn, pieces) in fetch.requests(at(now)) {
                for piece in pieces {
                    received += 1;
                    let data = if conn == honest { slice(&whole, piece) } else { garbage.clone() };
                    if let Progress::Done(bytes) = fetch.on_piece(at(now), conn, piece, data) {
                        assert_eq!(bytes, whole);
                        assert!(now < 3000, "{now} ms");
                        return;
                    }
                    assert!(fetch.held_bytes <= MAX_HELD_BYTES, "{received} pieces");
                }
            }
            assert!(now < 10_000);
        }
    }

    #[test]
    fn absurd_sizes_are_not_fetched() {
        let mut fetch = wrong();
        fetch.on_offer(at(0), A, 0);
        fetch.on_offer(at(0), A, MAX_METADATA + 1);
        assert!(fetch.requests(at(0)).is_empty());
    }
}
