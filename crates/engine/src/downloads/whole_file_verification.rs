//! Verifies a file without piece hashes as a whole: its MD5 is taken, a server is asked whether it
//! is right, and if not, suspect chunks are fetched again. Plain data in, plain data out.
//!
//! A chunk that came from a server is right; one that came from a peer, or from an earlier run, is
//! suspect. Suspects are fetched again in random order; once one differed, the other chunks of the
//! same peer come first, and then the MD5 is taken again.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use sow_content::Bitfield;

use crate::{disconnect::Misbehavior, io::ConnId};

/// The source of a chunk that came from a server.
const SERVER_SOURCE: u16 = 0;

/// The source of a chunk of which that is not known.
const UNKNOWN_SOURCE: u16 = 1;

/// The source number of the first peer.
const FIRST_PEER_SOURCE: u16 = 2;

/// How far the verification of a file is.
#[derive(Debug)]
pub(crate) struct WholeFileVerification {
    stage: Stage,
    /// The MD5 of what is here, as it was taken last.
    digest: Option<[u8; 16]>,
    /// The MD5 that a server named.
    expected: Option<[u8; 16]>,
    /// The source of each chunk.
    sources: Vec<u16>,
    peers: Vec<SocketAddr>,
    /// Chunks to fetch again.
    queue: VecDeque<u32>,
    under_way: BTreeMap<u32, ConnId>,
    /// The source of a chunk that differed: its other chunks come first.
    suspect: Option<u16>,
    /// Chunks of servers were fetched again too.
    is_last_attempt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Something is missing.
    Gathering,
    /// The MD5 is being taken.
    Digesting,
    /// The MD5 is known. `is_asked`: a server was asked whether it is right.
    Checking { is_asked: bool },
    /// It is wrong: chunks are fetched again.
    Correcting,
    /// It is right.
    Verified,
}

/// What to ask a server for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VerificationStep {
    /// Whether this MD5 is that of its file.
    Check([u8; 16]),
    /// A chunk that is suspect.
    Fetch(u32),
}

/// What follows when a server says that the MD5 is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MismatchOutcome {
    /// Nothing: it was not asked.
    Ignored,
    /// Suspect chunks are fetched again.
    Correcting,
    /// Everything came from servers, twice: they have another file.
    Hopeless,
}

impl WholeFileVerification {
    /// `have`: what an earlier run left.
    pub(crate) fn new(have: &Bitfield) -> Self {
        Self {
            stage: Stage::Gathering,
            digest: None,
            expected: None,
            sources: vec![UNKNOWN_SOURCE; have.len() as usize],
            peers: Vec::new(),
            queue: VecDeque::new(),
            under_way: BTreeMap::new(),
            suspect: None,
            is_last_attempt: false,
        }
    }

    pub(crate) fn is_verified(&self) -> bool {
        self.stage == Stage::Verified
    }

    /// The MD5 of what is here, as it was taken last.
    pub(crate) fn digest(&self) -> Option<[u8; 16]> {
        self.digest
    }

    /// A chunk arrived from a server (`None`) or a peer.
    pub(crate) fn on_chunk(&mut self, piece: u32, peer: Option<SocketAddr>) {
        let Some(source) = self.sources.get_mut(piece as usize) else { return };
        *source = match peer {
            None => SERVER_SOURCE,
            Some(addr) => {
                let at = self.peers.iter().position(|known| *known == addr).unwrap_or_else(|| {
                    self.peers.push(addr);
                    self.peers.len() - 1
                });
                // There are more peers than numbers.
                u16::try_from(at)
                    .ok()
                    .and_then(|at| at.checked_add(FIRST_PEER_SOURCE))
                    .unwrap_or(UNKNOWN_SOURCE)
            }
        };
    }

    /// Begins to take the MD5 if it is time. Whether it was. `is_full`: every chunk is here.
    pub(crate) fn begin_digest(&mut self, is_full: bool) -> bool {
        let is_due = match self.stage {
            Stage::Gathering => is_full,
            Stage::Correcting => self.is_corrected(),
            Stage::Digesting | Stage::Checking { .. } | Stage::Verified => false,
        };
        if is_due {
            self.stage = Stage::Digesting;
            self.digest = None;
        }
        is_due
    }

    /// The MD5 was taken. True when a server has named it before, so that the file is verified.
    pub(crate) fn on_digest(&mut self, md5: [u8; 16]) -> bool {
        if self.stage != Stage::Digesting {
            return false;
        }
        self.digest = Some(md5);
        let is_expected = self.expected == Some(md5);
        self.stage =
            if is_expected { Stage::Verified } else { Stage::Checking { is_asked: false } };
        is_expected
    }

    /// What to ask a server for, if anything.
    pub(crate) fn next_step(&mut self, conn: ConnId) -> Option<VerificationStep> {
        match (self.stage, self.digest) {
            (Stage::Checking { is_asked: false }, Some(md5)) => {
                self.stage = Stage::Checking { is_asked: true };
                Some(VerificationStep::Check(md5))
            }
            (Stage::Correcting, _) => self.next_suspect(conn).map(VerificationStep::Fetch),
            _ => None,
        }
    }

    /// A server confirms an MD5. True when the file is verified by that.
    ///
    /// # Errors
    /// When the server was asked about another one.
    pub(crate) fn on_confirmed(&mut self, md5: [u8; 16]) -> Result<bool, Misbehavior> {
        if self.digest != Some(md5) {
            self.ask_again();
            let text = "CHECK of another sum than was asked for".to_owned();
            return Err(Misbehavior::unexpected(text));
        }
        let is_verified = matches!(self.stage, Stage::Checking { .. });
        if is_verified {
            self.stage = Stage::Verified;
        }
        Ok(is_verified)
    }

    /// A server says that the MD5 is wrong, and may name the right one.
    pub(crate) fn on_mismatch(
        &mut self,
        expected: Option<[u8; 16]>,
        rng: &mut fastrand::Rng,
    ) -> MismatchOutcome {
        self.expected = expected;
        if !matches!(self.stage, Stage::Checking { .. }) {
            return MismatchOutcome::Ignored;
        }
        if self.begin_correction(rng) {
            MismatchOutcome::Correcting
        } else {
            MismatchOutcome::Hopeless
        }
    }

    /// A chunk was stored. The peer that had sent it wrong, if it was fetched again and differed.
    pub(crate) fn on_stored(&mut self, piece: u32, differed: bool) -> Option<SocketAddr> {
        if self.stage != Stage::Correcting {
            return None;
        }
        self.on_corrected(piece, differed)
    }

    /// A connection is gone: what was asked on it is asked on another one. `was_checking`: a server
    /// was asked on it whether the MD5 is right.
    pub(crate) fn on_peer_gone(
        &mut self,
        conn: ConnId,
        was_checking: bool,
        is_here: impl Fn(u32) -> bool,
    ) {
        let is_lost = |(piece, by): &(&u32, &ConnId)| **by == conn && !is_here(**piece);
        let back: Vec<u32> =
            self.under_way.iter().filter(is_lost).map(|(&piece, _)| piece).collect();
        for piece in back {
            self.under_way.remove(&piece);
            if self.suspect.is_some_and(|suspect| self.sources[piece as usize] == suspect) {
                self.queue.push_front(piece);
            } else {
                self.queue.push_back(piece);
            }
        }
        if was_checking {
            self.ask_again();
        }
    }

    fn ask_again(&mut self) {
        if self.stage == (Stage::Checking { is_asked: true }) {
            self.stage = Stage::Checking { is_asked: false };
        }
    }

    /// Puts the chunks to fetch again in order. False when everything came from servers, twice.
    fn begin_correction(&mut self, rng: &mut fastrand::Rng) -> bool {
        if self.sources.iter().all(|&source| source == SERVER_SOURCE) {
            if std::mem::replace(&mut self.is_last_attempt, true) {
                return false;
            }
            // The file may have changed at the server while it was fetched.
            self.sources.fill(UNKNOWN_SOURCE);
        }
        let mut suspects: Vec<u32> = (0..)
            .zip(&self.sources)
            .filter(|(_, source)| **source != SERVER_SOURCE)
            .map(|(piece, _)| piece)
            .collect();
        rng.shuffle(&mut suspects);
        self.queue = suspects.into();
        self.suspect = None;
        self.stage = Stage::Correcting;
        true
    }

    /// The next chunk to fetch again on a connection to a server.
    fn next_suspect(&mut self, conn: ConnId) -> Option<u32> {
        if self.suspect.is_some_and(|suspect| !self.is_next_from(suspect)) {
            return None;
        }
        let piece = self.queue.pop_front()?;
        self.under_way.insert(piece, conn);
        Some(piece)
    }

    fn on_corrected(&mut self, piece: u32, differed: bool) -> Option<SocketAddr> {
        self.under_way.remove(&piece);
        let source = std::mem::replace(self.sources.get_mut(piece as usize)?, SERVER_SOURCE);
        if !differed || source < FIRST_PEER_SOURCE {
            return None;
        }
        self.suspect = Some(source);
        let (first, later): (VecDeque<u32>, VecDeque<u32>) =
            self.queue.iter().partition(|&&piece| self.sources[piece as usize] == source);
        self.queue = first.into_iter().chain(later).collect();
        self.peers.get(usize::from(source - FIRST_PEER_SOURCE)).copied()
    }

    /// Whether it is time to take the MD5 again.
    fn is_corrected(&self) -> bool {
        let is_tried = self.queue.is_empty()
            || self.suspect.is_some_and(|suspect| !self.is_next_from(suspect));
        is_tried && self.under_way.is_empty()
    }

    /// Whether the next chunk to fetch again came from a source.
    fn is_next_from(&self, source: u16) -> bool {
        self.queue.front().is_some_and(|&piece| self.sources[piece as usize] == source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: ConnId = ConnId(1);

    fn peer(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 51000))
    }

    /// Ten chunks: 0–3 from a server, 4–6 from one peer, 7–9 from another.
    fn verification() -> WholeFileVerification {
        let mut verification = WholeFileVerification::new(&Bitfield::new(10));
        (0..4).for_each(|piece| verification.on_chunk(piece, None));
        (4..7).for_each(|piece| verification.on_chunk(piece, Some(peer(1))));
        (7..10).for_each(|piece| verification.on_chunk(piece, Some(peer(2))));
        verification
    }

    #[test]
    fn the_other_chunks_of_a_peer_come_first_once_one_differed() {
        for seed in 0..50 {
            let mut verification = verification();
            assert!(verification.begin_correction(&mut fastrand::Rng::with_seed(seed)));
            let (mut tried, mut found) = (Vec::new(), None);
            while let Some(piece) = verification.next_suspect(SERVER) {
                assert!(!verification.is_corrected());
                let suspect = verification.on_corrected(piece, piece >= 7);
                assert_eq!(suspect.is_some(), piece >= 7);
                found = found.or(suspect.map(|_| tried.len()));
                tried.push(piece);
            }
            assert!(verification.is_corrected());
            let after: Vec<u32> = tried.split_off(found.expect("a suspect"));
            assert_eq!(
                after.len(),
                3,
                "nothing else is fetched before the MD5 is taken again: {after:?}"
            );
            assert!(
                after.iter().all(|&piece| piece >= 7)
                    && tried.iter().all(|&piece| (4..7).contains(&piece))
            );
        }
    }

    #[test]
    fn chunks_under_way_on_a_lost_connection_are_fetched_again() {
        let mut verification = verification();
        verification.begin_correction(&mut fastrand::Rng::with_seed(1));
        let first = verification.next_suspect(SERVER).unwrap();
        verification.on_peer_gone(SERVER, false, |_| false);
        let rest: Vec<u32> = std::iter::from_fn(|| verification.next_suspect(ConnId(2))).collect();
        assert_eq!((rest.len(), rest.last()), (6, Some(&first)));
        // It does not come before the chunks of the suspect.
        let mut verification = self::verification();
        verification.begin_correction(&mut fastrand::Rng::with_seed(1));
        let all: Vec<u32> = std::iter::from_fn(|| verification.next_suspect(SERVER)).collect();
        let (suspects, others): (Vec<u32>, Vec<u32>) =
            all.into_iter().partition(|piece| *piece >= 7);
        verification.on_corrected(suspects[0], true);
        verification.on_peer_gone(SERVER, false, |_| false);
        assert!(!verification.is_corrected(), "the suspect's other chunks are to be fetched");
        let next: Vec<u32> = std::iter::from_fn(|| verification.next_suspect(ConnId(2))).collect();
        assert!(
            next.len() == 2 && next.iter().all(|piece| suspects.contains(piece)),
            "{next:?}, not {others:?}"
        );
    }

    #[test]
    fn a_chunk_that_is_here_is_not_asked_for_again_when_its_server_leaves() {
        let mut verification = self::verification();
        verification.begin_correction(&mut fastrand::Rng::with_seed(1));
        let (here, lost) = (
            verification.next_suspect(SERVER).unwrap(),
            verification.next_suspect(SERVER).unwrap(),
        );
        verification.on_peer_gone(SERVER, false, |piece| piece == here);
        let rest: Vec<u32> = std::iter::from_fn(|| verification.next_suspect(ConnId(2))).collect();
        assert!(rest.contains(&lost) && !rest.contains(&here), "{rest:?}");
    }

    #[test]
    fn chunks_of_servers_are_fetched_again_once() {
        let mut verification = WholeFileVerification::new(&Bitfield::new(3));
        let mut rng = fastrand::Rng::with_seed(1);
        (0..3).for_each(|piece| verification.on_chunk(piece, None));
        assert!(verification.begin_correction(&mut rng));
        while let Some(piece) = verification.next_suspect(SERVER) {
            assert_eq!(verification.on_corrected(piece, true), None, "no peer sent it");
        }
        assert!(verification.is_corrected());
        assert!(!verification.begin_correction(&mut rng));
    }
}
