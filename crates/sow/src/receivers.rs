//! The origin's book of receivers: who was ever here, how far each is, who holds a whole copy.
//! Counts and names; shows nothing.

use std::{collections::BTreeMap, net::SocketAddr};

use sow_content::Geometry;
use sow_engine::PeerStatus;
use sow_wire::bittorrent::PeerId;

use crate::report::ReceiverState;

/// Everybody who was ever connected, by the name that each run of a program gives itself.
#[derive(Debug)]
pub(crate) struct Receivers {
    geometry: Geometry,
    known: BTreeMap<PeerId, Receiver>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receiver {
    /// Where others reach it, or else where it called from.
    pub(crate) addr: SocketAddr,
    /// Bytes that it has verified, as far as it says; whole pieces.
    pub(crate) bytes: u64,
    /// What it is doing.
    pub(crate) state: ReceiverState,
    /// It is connected.
    pub(crate) is_here: bool,
    /// Bytes a second that we send it.
    pub(crate) rate: u64,
    /// In how many pictures it was there. In the first one it is told of: by then its own port is
    /// known.
    looks: u32,
}

/// In how many pictures somebody must have been there to have got what has no bytes: two seconds'
/// worth. He never says that he has a piece of it, as there is none; but he does have to ask for
/// its description.
const LOOKS_FOR_NOTHING: u32 = 8;

impl Receivers {
    /// Nobody yet.
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self { geometry, known: BTreeMap::new() }
    }

    /// Takes in who is connected now. Returns those that came, left or became complete.
    pub(crate) fn observe(&mut self, peers: &[PeerStatus]) -> Vec<Receiver> {
        let mut changed = Vec::new();
        for peer in peers {
            changed.extend(self.note(peer));
        }
        let nothing_to_have = self.geometry.total() == 0;
        for (id, receiver) in &mut self.known {
            let stays = peers.iter().any(|peer| peer.peer_id == *id);
            if receiver.is_here && !stays {
                receiver.is_here = false;
                receiver.rate = 0;
                if receiver.state == ReceiverState::Connected {
                    receiver.state =
                        if nothing_to_have { ReceiverState::Complete } else { ReceiverState::Gone };
                    changed.push(receiver.clone());
                }
            }
        }
        for peer in peers {
            self.forget_who_was_at(peer.listen_addr.unwrap_or(peer.addr), peer.peer_id);
        }
        changed
    }

    /// A receiver has come. It may have left again before the next picture is taken; then it is
    /// told of that.
    pub(crate) fn arrived(&mut self, id: PeerId, addr: SocketAddr) {
        self.known.entry(id).or_insert(Receiver::at(addr)).is_here = true;
    }

    /// A receiver has everything; it may have left since. Returns it when that is news.
    pub(crate) fn completed(&mut self, id: PeerId, addr: SocketAddr) -> Option<Receiver> {
        let total = self.geometry.total();
        self.forget_who_was_at(addr, id);
        let receiver = self.known.entry(id).or_insert(Receiver::at(addr));
        if receiver.state == ReceiverState::Complete || total == 0 {
            return None;
        }
        receiver.addr = addr;
        receiver.bytes = total;
        receiver.state = ReceiverState::Complete;
        Some(receiver.clone())
    }

    /// How many hold whole copies.
    pub(crate) fn complete(&self) -> usize {
        self.known.values().filter(|receiver| receiver.state == ReceiverState::Complete).count()
    }

    /// Everybody, in the order of their addresses; those who left among them.
    pub(crate) fn all(&self) -> Vec<&Receiver> {
        let mut all: Vec<_> = self.known.values().collect();
        all.sort_by_key(|receiver| receiver.addr);
        all
    }

    /// Some programs take a new name for each connection (libtorrent does): whoever left the
    /// address is the same one.
    fn forget_who_was_at(&mut self, addr: SocketAddr, id: PeerId) {
        self.known
            .retain(|other, receiver| *other == id || receiver.is_here || receiver.addr != addr);
    }

    fn note(&mut self, peer: &PeerStatus) -> Option<Receiver> {
        let addr = peer.listen_addr.unwrap_or(peer.addr);
        let receiver = self.known.entry(peer.peer_id).or_insert(Receiver::at(addr));
        let is_new = receiver.looks == 0 && receiver.state == ReceiverState::Connected;
        let was = receiver.state;
        receiver.addr = addr;
        receiver.is_here = true;
        receiver.rate = peer.rate_up;
        receiver.looks += 1;
        let has_all =
            peer.complete && (self.geometry.total() > 0 || receiver.looks >= LOOKS_FOR_NOTHING);
        if has_all || was == ReceiverState::Complete {
            receiver.state = ReceiverState::Complete;
            receiver.bytes = self.geometry.total();
        } else {
            receiver.state = ReceiverState::Connected;
            receiver.bytes = bytes_of(&self.geometry, peer.have);
        }
        (is_new || receiver.state != was).then(|| receiver.clone())
    }
}

impl Receiver {
    /// One that has just come.
    fn at(addr: SocketAddr) -> Self {
        Self { addr, bytes: 0, state: ReceiverState::Connected, is_here: true, rate: 0, looks: 0 }
    }
}

/// The size of so many pieces; the last one, which may be shorter, counts as the others until all
/// are there.
fn bytes_of(geometry: &Geometry, pieces: u32) -> u64 {
    (u64::from(pieces) * u64::from(geometry.piece_length())).min(geometry.total())
}

#[cfg(test)]
mod tests {
    use sow_engine::ConnId;

    use super::*;

    fn peer(name: u8, have: u32) -> PeerStatus {
        PeerStatus {
            conn: ConnId(name.into()),
            addr: ([10, 0, 0, name], 40_000).into(),
            listen_addr: Some(([10, 0, 0, name], 6881).into()),
            peer_id: PeerId([name; 20]),
            client: None,
            have,
            complete: have == 10,
            upload_only: false,
            downloaded: 0,
            uploaded: 0,
            rate_down: 0,
            rate_up: 5,
            dialed: false,
        }
    }

    fn book() -> Receivers {
        Receivers::new(Geometry::new(95, 10).unwrap())
    }

    #[test]
    fn comings_and_goings_are_told_once() {
        let mut book = book();
        let states =
            |changed: Vec<Receiver>| changed.into_iter().map(|one| one.state).collect::<Vec<_>>();
        assert_eq!(states(book.observe(&[peer(1, 0)])), [ReceiverState::Connected]);
        assert_eq!(states(book.observe(&[peer(1, 5)])), []);
        assert_eq!(book.all()[0].bytes, 50);
        assert_eq!(states(book.observe(&[])), [ReceiverState::Gone]);
        assert_eq!(states(book.observe(&[])), []);
        assert_eq!(states(book.observe(&[peer(1, 6)])), [ReceiverState::Connected]);
        assert_eq!(states(book.observe(&[peer(1, 10)])), [ReceiverState::Complete]);
        assert_eq!(states(book.observe(&[])), []);
        assert_eq!((book.complete(), book.all()[0].bytes), (1, 95));
    }

    #[test]
    fn whoever_was_complete_stays_so() {
        let mut book = book();
        book.observe(&[peer(1, 9)]);
        assert!(book.completed(PeerId([1; 20]), peer(1, 10).addr).is_some());
        assert!(book.completed(PeerId([1; 20]), peer(1, 10).addr).is_none());
        // The picture of the peers may be older than the news.
        assert!(book.observe(&[peer(1, 9)]).is_empty());
        assert!(book.observe(&[]).is_empty());
        assert_eq!(book.complete(), 1);
    }

    #[test]
    fn a_short_visit_is_noticed() {
        let mut book = book();
        book.arrived(PeerId([1; 20]), peer(1, 0).addr);
        assert_eq!(book.observe(&[])[0].state, ReceiverState::Gone);
        book.arrived(PeerId([2; 20]), peer(2, 0).addr);
        let news = book.observe(&[peer(2, 3)]);
        assert_eq!((news.len(), news[0].addr.port(), news[0].bytes), (1, 6881, 30));
    }

    #[test]
    fn of_nothing_all_is_had_by_who_has_been_here() {
        let empty = || Receivers::new(Geometry::new(0, 10).unwrap());
        let mut book = empty();
        book.arrived(PeerId([1; 20]), peer(1, 0).addr);
        assert_eq!(book.complete(), 0);
        assert_eq!(book.observe(&[])[0].state, ReceiverState::Complete);
        let mut book = empty();
        for look in 0..LOOKS_FOR_NOTHING {
            assert_eq!(book.complete(), 0, "{look}");
            book.observe(&[peer(1, 10)]);
        }
        assert_eq!(book.complete(), 1);
    }

    #[test]
    fn a_new_name_at_an_address_that_was_left_is_the_same_receiver() {
        let mut book = book();
        let mut again = peer(1, 10);
        again.peer_id = PeerId([9; 20]);
        book.observe(&[peer(1, 10)]);
        book.observe(&[]);
        book.observe(std::slice::from_ref(&again));
        assert_eq!((book.complete(), book.all().len()), (1, 1));
        book.observe(&[]);
        again.peer_id = PeerId([8; 20]);
        book.arrived(again.peer_id, peer(1, 10).listen_addr.unwrap());
        book.completed(again.peer_id, peer(1, 10).listen_addr.unwrap());
        assert_eq!((book.complete(), book.all().len()), (1, 1));
    }

    #[test]
    fn who_was_complete_and_gone_before_anybody_looked_is_known_by_where_it_listens() {
        let mut book = book();
        let mut again = peer(1, 10);
        again.peer_id = PeerId([9; 20]);
        book.arrived(PeerId([1; 20]), peer(1, 10).addr);
        assert!(book.completed(PeerId([1; 20]), peer(1, 10).listen_addr.unwrap()).is_some());
        book.observe(&[]);
        // We call it back, under another name.
        book.arrived(again.peer_id, again.listen_addr.unwrap());
        book.completed(again.peer_id, again.listen_addr.unwrap());
        book.observe(&[again]);
        assert_eq!((book.complete(), book.all().len()), (1, 1));
    }

    #[test]
    fn the_same_address_may_be_two_receivers() {
        let mut book = book();
        let mut other = peer(1, 10);
        other.peer_id = PeerId([9; 20]);
        book.observe(&[peer(1, 10), other]);
        assert_eq!(book.complete(), 2);
    }
}
