//! The receivers of an origin: every one that was ever connected, its progress, and whether it
//! holds a complete copy. Shows nothing.

use std::{collections::BTreeMap, net::SocketAddr};

use sow_content::Geometry;
use sow_engine::PeerStatus;
use sow_wire::bittorrent::PeerId;

use crate::report::ReceiverState;

/// Every receiver that was ever connected, by its peer ID.
#[derive(Debug)]
pub(crate) struct Receivers {
    geometry: Geometry,
    known: BTreeMap<PeerId, Receiver>,
}

/// One receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receiver {
    /// The address on which it listens, or else from which it connected.
    pub(crate) addr: SocketAddr,
    /// The bytes of the pieces that it says it has verified.
    pub(crate) bytes: u64,
    /// What it is doing.
    pub(crate) state: ReceiverState,
    /// It is connected.
    pub(crate) is_connected: bool,
    /// The rate at which this origin sends to it, in bytes per second.
    pub(crate) rate: u64,
    /// The number of status updates that contained it. It is reported with the first: by then the
    /// port on which it listens is known.
    updates: u32,
}

/// No receiver of that name or address was ever connected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NeverConnected;

/// The number of status updates, over two seconds, after which a receiver of empty content counts
/// as complete. Empty content has no pieces to announce, but the receiver needs time to request the
/// metadata.
const UPDATES_FOR_EMPTY_CONTENT: u32 = 8;

impl Receivers {
    /// No receivers yet.
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self { geometry, known: BTreeMap::new() }
    }

    /// Updates the receivers from the peers that are connected now. Returns those that were
    /// connected, were disconnected or became complete since the last update.
    pub(crate) fn update(&mut self, peers: &[PeerStatus]) -> Vec<Receiver> {
        let mut changed = Vec::new();
        for peer in peers {
            changed.extend(self.update_from_peer(peer));
        }
        let is_empty = self.geometry.total() == 0;
        for (id, receiver) in &mut self.known {
            let is_still_connected = peers.iter().any(|peer| peer.peer_id == *id);
            if receiver.is_connected && !is_still_connected {
                receiver.is_connected = false;
                receiver.rate = 0;
                if receiver.state == ReceiverState::Connected {
                    receiver.state =
                        if is_empty { ReceiverState::Complete } else { ReceiverState::Gone };
                    changed.push(receiver.clone());
                }
            }
        }
        for peer in peers {
            self.forget_predecessors(peer.listen_addr.unwrap_or(peer.addr), peer.peer_id);
        }
        changed
    }

    /// A receiver was connected. If it disconnects before the next update, that update reports it.
    pub(crate) fn on_connected(&mut self, id: PeerId, addr: SocketAddr) {
        self.known.entry(id).or_insert(Receiver::at(addr)).is_connected = true;
    }

    /// A receiver has announced that it is complete; it may have disconnected since. Returns it if
    /// that is new.
    pub(crate) fn on_complete(&mut self, id: PeerId, addr: SocketAddr) -> Option<Receiver> {
        let total = self.geometry.total();
        self.forget_predecessors(addr, id);
        let receiver = self.known.entry(id).or_insert(Receiver::at(addr));
        if receiver.state == ReceiverState::Complete || total == 0 {
            return None;
        }
        receiver.addr = addr;
        receiver.bytes = total;
        receiver.state = ReceiverState::Complete;
        Some(receiver.clone())
    }

    /// A receiver has told a tracker that it is complete, which proves nothing by itself: it counts
    /// only for a receiver that was connected. Returns it if that is new.
    ///
    /// # Errors
    /// When it was never connected.
    pub(crate) fn on_announced(
        &mut self,
        id: PeerId,
        addr: SocketAddr,
    ) -> Result<Option<Receiver>, NeverConnected> {
        // Some programs use another peer ID for each connection.
        let same =
            |(other, receiver): &(&PeerId, &Receiver)| **other == id || receiver.addr == addr;
        let known = self.known.iter().find(same).map(|(known, receiver)| (*known, receiver.addr));
        let (known, addr) = known.ok_or(NeverConnected)?;
        Ok(self.on_complete(known, addr))
    }

    /// The number of receivers with a complete copy.
    pub(crate) fn complete_count(&self) -> usize {
        self.known.values().filter(|receiver| receiver.state == ReceiverState::Complete).count()
    }

    /// All receivers in the order of their addresses, including disconnected ones.
    pub(crate) fn all(&self) -> Vec<&Receiver> {
        let mut all: Vec<_> = self.known.values().collect();
        all.sort_by_key(|receiver| receiver.addr);
        all
    }

    /// Removes disconnected receivers at the same address: some programs, such as libtorrent, use a
    /// new peer ID for each connection.
    fn forget_predecessors(&mut self, addr: SocketAddr, id: PeerId) {
        self.known.retain(|other, receiver| {
            *other == id || receiver.is_connected || receiver.addr != addr
        });
    }

    fn update_from_peer(&mut self, peer: &PeerStatus) -> Option<Receiver> {
        let addr = peer.listen_addr.unwrap_or(peer.addr);
        let receiver = self.known.entry(peer.peer_id).or_insert(Receiver::at(addr));
        let is_new = receiver.updates == 0 && receiver.state == ReceiverState::Connected;
        let was = receiver.state;
        receiver.addr = addr;
        receiver.is_connected = true;
        receiver.rate = peer.rate_up;
        receiver.updates += 1;
        let has_all = peer.complete
            && (self.geometry.total() > 0 || receiver.updates >= UPDATES_FOR_EMPTY_CONTENT);
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
    /// A receiver that was just connected.
    fn at(addr: SocketAddr) -> Self {
        Self {
            addr,
            bytes: 0,
            state: ReceiverState::Connected,
            is_connected: true,
            rate: 0,
            updates: 0,
        }
    }
}

/// The size of a number of pieces. The last piece may be shorter; it counts as a full piece until
/// the total is reached.
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

    fn receivers() -> Receivers {
        Receivers::new(Geometry::new(95, 10).unwrap())
    }

    #[test]
    fn every_change_is_returned_once() {
        let mut receivers = receivers();
        let states =
            |changed: Vec<Receiver>| changed.into_iter().map(|one| one.state).collect::<Vec<_>>();
        assert_eq!(states(receivers.update(&[peer(1, 0)])), [ReceiverState::Connected]);
        assert_eq!(states(receivers.update(&[peer(1, 5)])), []);
        assert_eq!(receivers.all()[0].bytes, 50);
        assert_eq!(states(receivers.update(&[])), [ReceiverState::Gone]);
        assert_eq!(states(receivers.update(&[])), []);
        assert_eq!(states(receivers.update(&[peer(1, 6)])), [ReceiverState::Connected]);
        assert_eq!(states(receivers.update(&[peer(1, 10)])), [ReceiverState::Complete]);
        assert_eq!(states(receivers.update(&[])), []);
        assert_eq!((receivers.complete_count(), receivers.all()[0].bytes), (1, 95));
    }

    #[test]
    fn a_complete_receiver_stays_complete() {
        let mut receivers = receivers();
        receivers.update(&[peer(1, 9)]);
        assert!(receivers.on_complete(PeerId([1; 20]), peer(1, 10).addr).is_some());
        assert!(receivers.on_complete(PeerId([1; 20]), peer(1, 10).addr).is_none());
        // The status may be older than the event.
        assert!(receivers.update(&[peer(1, 9)]).is_empty());
        assert!(receivers.update(&[]).is_empty());
        assert_eq!(receivers.complete_count(), 1);
    }

    #[test]
    fn an_announce_counts_only_for_a_receiver_that_was_connected() {
        let mut receivers = receivers();
        for name in 0..5 {
            let announced = receivers.on_announced(PeerId([name; 20]), peer(name, 0).addr);
            assert_eq!(announced, Err(NeverConnected));
        }
        assert_eq!(receivers.complete_count(), 0);
        receivers.update(&[peer(1, 4), peer(2, 4)]);
        receivers.update(&[]);
        assert!(receivers.on_announced(PeerId([1; 20]), peer(1, 4).addr).unwrap().is_some());
        assert!(receivers.on_announced(PeerId([1; 20]), peer(1, 4).addr).unwrap().is_none());
        let listening = peer(2, 4).listen_addr.unwrap();
        assert!(receivers.on_announced(PeerId([9; 20]), listening).unwrap().is_some());
        assert_eq!((receivers.complete_count(), receivers.all().len()), (2, 2));
    }

    #[test]
    fn a_short_connection_is_noticed() {
        let mut receivers = receivers();
        receivers.on_connected(PeerId([1; 20]), peer(1, 0).addr);
        assert_eq!(receivers.update(&[])[0].state, ReceiverState::Gone);
        receivers.on_connected(PeerId([2; 20]), peer(2, 0).addr);
        let changed = receivers.update(&[peer(2, 3)]);
        assert_eq!((changed.len(), changed[0].addr.port(), changed[0].bytes), (1, 6881, 30));
    }

    #[test]
    fn a_receiver_of_empty_content_is_complete_after_a_connection() {
        let empty = || Receivers::new(Geometry::new(0, 10).unwrap());
        let mut receivers = empty();
        receivers.on_connected(PeerId([1; 20]), peer(1, 0).addr);
        assert_eq!(receivers.complete_count(), 0);
        assert_eq!(receivers.update(&[])[0].state, ReceiverState::Complete);
        let mut receivers = empty();
        for update in 0..UPDATES_FOR_EMPTY_CONTENT {
            assert_eq!(receivers.complete_count(), 0, "{update}");
            receivers.update(&[peer(1, 10)]);
        }
        assert_eq!(receivers.complete_count(), 1);
    }

    #[test]
    fn a_new_peer_id_at_the_address_of_a_disconnected_receiver_is_the_same_receiver() {
        let mut receivers = receivers();
        let mut again = peer(1, 10);
        again.peer_id = PeerId([9; 20]);
        receivers.update(&[peer(1, 10)]);
        receivers.update(&[]);
        receivers.update(std::slice::from_ref(&again));
        assert_eq!((receivers.complete_count(), receivers.all().len()), (1, 1));
        receivers.update(&[]);
        again.peer_id = PeerId([8; 20]);
        receivers.on_connected(again.peer_id, peer(1, 10).listen_addr.unwrap());
        receivers.on_complete(again.peer_id, peer(1, 10).listen_addr.unwrap());
        assert_eq!((receivers.complete_count(), receivers.all().len()), (1, 1));
    }

    #[test]
    fn a_receiver_that_disconnects_before_the_first_update_is_known_by_its_listening_address() {
        let mut receivers = receivers();
        let mut again = peer(1, 10);
        again.peer_id = PeerId([9; 20]);
        receivers.on_connected(PeerId([1; 20]), peer(1, 10).addr);
        assert!(receivers.on_complete(PeerId([1; 20]), peer(1, 10).listen_addr.unwrap()).is_some());
        receivers.update(&[]);
        // The origin connects to it, and it uses another peer ID.
        receivers.on_connected(again.peer_id, again.listen_addr.unwrap());
        receivers.on_complete(again.peer_id, again.listen_addr.unwrap());
        receivers.update(&[again]);
        assert_eq!((receivers.complete_count(), receivers.all().len()), (1, 1));
    }

    #[test]
    fn two_connected_receivers_may_share_an_address() {
        let mut receivers = receivers();
        let mut other = peer(1, 10);
        other.peer_id = PeerId([9; 20]);
        receivers.update(&[peer(1, 10), other]);
        assert_eq!(receivers.complete_count(), 2);
    }
}
