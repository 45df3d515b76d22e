//! The receivers of an origin: every one that was ever connected, its progress, and whether it
//! holds a complete copy. Shows nothing.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sow_content::Geometry;
use sow_engine::PeerStatus;
use sow_wire::bittorrent::PeerId;

use super::Receiver;
use crate::report::ReceiverState;

/// The limit of receivers that are known. At the limit a new one displaces one that is not
/// connected, of the host with the most, so that a host that floods displaces its own.
const MAX_RECEIVERS: usize = 10_000;

/// The time over which the rate of a receiver is taken.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// The interval between two samples for the rate.
const RATE_SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// Every receiver that was ever connected, by its peer ID.
#[derive(Debug)]
pub(crate) struct Receivers {
    geometry: Geometry,
    known: BTreeMap<PeerId, Entry>,
    limit: usize,
}

#[derive(Debug)]
struct Entry {
    record: Receiver,
    /// The number of status updates that contained it. It is reported with the first: by then the
    /// port on which it listens is known.
    updates: u32,
    samples: VecDeque<(Duration, u64)>,
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
        Self { geometry, known: BTreeMap::new(), limit: MAX_RECEIVERS }
    }

    /// Updates the receivers from the peers that are connected now. Returns those that were
    /// connected, were disconnected or became complete since the last update. Every `now` is the
    /// time since the start of the run.
    pub(crate) fn update(&mut self, now: Duration, peers: &[PeerStatus]) -> Vec<Receiver> {
        let mut changed = Vec::new();
        for peer in peers {
            changed.extend(self.update_from_peer(now, peer));
        }
        let is_empty = self.geometry.total() == 0;
        let connected: BTreeSet<PeerId> = peers.iter().map(|peer| peer.peer_id).collect();
        for (id, entry) in &mut self.known {
            let record = &mut entry.record;
            if record.is_connected && !connected.contains(id) {
                record.is_connected = false;
                record.rate = 0;
                entry.samples.clear();
                if record.state == ReceiverState::Connected {
                    record.state =
                        if is_empty { ReceiverState::Complete } else { ReceiverState::Gone };
                    record.finished = is_empty.then_some(now);
                    changed.push(record.clone());
                }
            }
        }
        for peer in peers {
            self.forget_predecessors(peer.listen_addr.unwrap_or(peer.addr), peer.peer_id);
        }
        changed
    }

    /// A receiver was connected. If it disconnects before the next update, that update reports it.
    pub(crate) fn on_connected(&mut self, now: Duration, id: PeerId, addr: SocketAddr) {
        self.entry(now, id, addr).record.is_connected = true;
    }

    /// A receiver has announced that it is complete; it may have disconnected since. Returns it if
    /// that is new.
    pub(crate) fn on_complete(
        &mut self,
        now: Duration,
        id: PeerId,
        addr: SocketAddr,
    ) -> Option<Receiver> {
        let total = self.geometry.total();
        self.forget_predecessors(addr, id);
        let record = &mut self.entry(now, id, addr).record;
        if record.is_complete() || total == 0 {
            return None;
        }
        record.move_to(addr);
        record.complete(now);
        Some(record.clone())
    }

    /// A receiver has told a tracker that it is complete, which proves nothing by itself: it counts
    /// only for a receiver that was connected. Returns it if that is new.
    ///
    /// # Errors
    /// When it was never connected.
    pub(crate) fn on_announced(
        &mut self,
        now: Duration,
        id: PeerId,
        addr: SocketAddr,
    ) -> Result<Option<Receiver>, NeverConnected> {
        // Some programs use another peer ID for each connection.
        let same =
            |(other, entry): &(&PeerId, &Entry)| **other == id || entry.record.addr == Some(addr);
        let known = self.known.iter().find(same);
        let known = known.map(|(known, entry)| (*known, entry.record.addr.unwrap_or(addr)));
        let (known, addr) = known.ok_or(NeverConnected)?;
        Ok(self.on_complete(now, known, addr))
    }

    /// All receivers, including disconnected ones.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Receiver> {
        self.known.values().map(|entry| &entry.record)
    }

    /// All receivers as they are now, in the order of their names and addresses.
    pub(crate) fn snapshot(&self) -> Vec<Receiver> {
        let mut all: Vec<Receiver> = self.iter().cloned().collect();
        all.sort_by(|one, other| {
            // Names that are addresses have the order of addresses.
            let key = |it: &Receiver| (it.name != it.peer()).then(|| it.name.clone());
            key(one).cmp(&key(other)).then(one.addr.cmp(&other.addr))
        });
        all
    }

    /// Removes disconnected receivers at the same address: some programs, such as libtorrent, use a
    /// new peer ID for each connection.
    fn forget_predecessors(&mut self, addr: SocketAddr, id: PeerId) {
        self.known.retain(|other, entry| {
            *other == id || entry.record.is_connected || entry.record.addr != Some(addr)
        });
    }

    fn entry(&mut self, now: Duration, id: PeerId, addr: SocketAddr) -> &mut Entry {
        if !self.known.contains_key(&id) && self.known.len() >= self.limit {
            self.displace();
        }
        let total = self.geometry.total();
        self.known.entry(id).or_insert_with(|| Entry::new(now, addr, total))
    }

    /// Forgets a receiver that is not connected, of the host with the most of them: one that is not
    /// complete rather than one that is, and the one that was seen last the longest ago.
    fn displace(&mut self) {
        let mut counts: BTreeMap<Option<IpAddr>, usize> = BTreeMap::new();
        self.iter().for_each(|one| *counts.entry(one.host()).or_default() += 1);
        let candidates = self.known.iter().filter(|(_, entry)| !entry.record.is_connected);
        let worst = candidates.max_by_key(|(_, entry)| {
            let record = &entry.record;
            let count = counts.get(&record.host()).copied().unwrap_or(0);
            (count, !record.is_complete(), std::cmp::Reverse(record.last_seen))
        });
        if let Some(id) = worst.map(|(id, _)| *id) {
            self.known.remove(&id);
        }
    }

    fn update_from_peer(&mut self, now: Duration, peer: &PeerStatus) -> Option<Receiver> {
        let addr = peer.listen_addr.unwrap_or(peer.addr);
        let geometry = self.geometry;
        let entry = self.entry(now, peer.peer_id, addr);
        let is_new = entry.updates == 0 && entry.record.state == ReceiverState::Connected;
        entry.updates += 1;
        let has_all =
            peer.complete && (geometry.total() > 0 || entry.updates >= UPDATES_FOR_EMPTY_CONTENT);
        let record = &mut entry.record;
        let was = record.state;
        record.move_to(addr);
        record.is_connected = true;
        record.last_seen = Some(now);
        if has_all || was == ReceiverState::Complete {
            record.complete(now);
        } else {
            record.state = ReceiverState::Connected;
            let bytes = bytes_of(&geometry, peer.have);
            entry.progress(now, bytes);
        }
        let record = &entry.record;
        (is_new || record.state != was).then(|| record.clone())
    }
}

impl Entry {
    /// A receiver that was just connected.
    fn new(now: Duration, addr: SocketAddr, total: u64) -> Self {
        let name = addr.to_string();
        let record = Receiver {
            id: name.clone(),
            addr: Some(addr),
            state: ReceiverState::Connected,
            is_connected: true,
            first_seen: Some(now),
            last_seen: Some(now),
            last_progress: Some(now),
            ..Receiver::missing(&name, total)
        };
        Self { record, updates: 0, samples: VecDeque::new() }
    }

    /// The receiver has this number of verified bytes.
    fn progress(&mut self, now: Duration, bytes: u64) {
        if bytes > self.record.bytes {
            self.record.last_progress = Some(now);
        }
        self.record.bytes = bytes;
        let is_due = |&(at, _): &(Duration, u64)| now >= at + RATE_SAMPLE_INTERVAL;
        if self.samples.back().is_none_or(is_due) {
            self.samples.push_back((now, bytes));
        }
        while self.samples.len() > 2 && self.samples[1].0 + RATE_WINDOW <= now {
            self.samples.pop_front();
        }
        if let Some(&(since, from)) = self.samples.front() {
            let seconds = now.saturating_sub(since).as_secs_f64();
            let grown = bytes.saturating_sub(from) as f64;
            self.record.rate = if seconds < 0.2 { 0 } else { (grown / seconds) as u64 };
        }
    }
}

impl Receiver {
    /// It is at another address now, which is its name as long as it has no other.
    fn move_to(&mut self, addr: SocketAddr) {
        if self.addr == Some(addr) {
            return;
        }
        let was = self.peer();
        self.addr = Some(addr);
        for text in [&mut self.name, &mut self.id] {
            if *text == was {
                *text = addr.to_string();
            }
        }
    }

    /// It holds a verified copy.
    fn complete(&mut self, now: Duration) {
        if !self.is_complete() {
            self.finished = Some(now);
        }
        self.state = ReceiverState::Complete;
        self.bytes = self.total;
        self.rate = 0;
        self.last_seen = Some(now);
    }

    fn host(&self) -> Option<IpAddr> {
        self.addr.map(|addr| addr.ip())
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

    const NOW: Duration = Duration::ZERO;

    fn complete_count(receivers: &Receivers) -> usize {
        receivers.iter().filter(|receiver| receiver.is_complete()).count()
    }

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
        assert_eq!(states(receivers.update(NOW, &[peer(1, 0)])), [ReceiverState::Connected]);
        assert_eq!(states(receivers.update(NOW, &[peer(1, 5)])), []);
        assert_eq!(receivers.snapshot()[0].bytes, 50);
        assert_eq!(states(receivers.update(NOW, &[])), [ReceiverState::Gone]);
        assert_eq!(states(receivers.update(NOW, &[])), []);
        assert_eq!(states(receivers.update(NOW, &[peer(1, 6)])), [ReceiverState::Connected]);
        assert_eq!(states(receivers.update(NOW, &[peer(1, 10)])), [ReceiverState::Complete]);
        assert_eq!(states(receivers.update(NOW, &[])), []);
        assert_eq!((complete_count(&receivers), receivers.snapshot()[0].bytes), (1, 95));
    }

    #[test]
    fn a_complete_receiver_stays_complete() {
        let mut receivers = receivers();
        receivers.update(NOW, &[peer(1, 9)]);
        assert!(receivers.on_complete(NOW, PeerId([1; 20]), peer(1, 10).addr).is_some());
        assert!(receivers.on_complete(NOW, PeerId([1; 20]), peer(1, 10).addr).is_none());
        // The status may be older than the event.
        assert!(receivers.update(NOW, &[peer(1, 9)]).is_empty());
        assert!(receivers.update(NOW, &[]).is_empty());
        assert_eq!(complete_count(&receivers), 1);
    }

    #[test]
    fn an_announce_counts_only_for_a_receiver_that_was_connected() {
        let mut receivers = receivers();
        for name in 0..5 {
            let announced = receivers.on_announced(NOW, PeerId([name; 20]), peer(name, 0).addr);
            assert_eq!(announced, Err(NeverConnected));
        }
        assert_eq!(complete_count(&receivers), 0);
        receivers.update(NOW, &[peer(1, 4), peer(2, 4)]);
        receivers.update(NOW, &[]);
        assert!(receivers.on_announced(NOW, PeerId([1; 20]), peer(1, 4).addr).unwrap().is_some());
        assert!(receivers.on_announced(NOW, PeerId([1; 20]), peer(1, 4).addr).unwrap().is_none());
        let listening = peer(2, 4).listen_addr.unwrap();
        assert!(receivers.on_announced(NOW, PeerId([9; 20]), listening).unwrap().is_some());
        assert_eq!((complete_count(&receivers), receivers.snapshot().len()), (2, 2));
    }

    #[test]
    fn a_short_connection_is_noticed() {
        let mut receivers = receivers();
        receivers.on_connected(NOW, PeerId([1; 20]), peer(1, 0).addr);
        assert_eq!(receivers.update(NOW, &[])[0].state, ReceiverState::Gone);
        receivers.on_connected(NOW, PeerId([2; 20]), peer(2, 0).addr);
        let changed = receivers.update(NOW, &[peer(2, 3)]);
        assert_eq!(
            (changed.len(), changed[0].addr.unwrap().port(), changed[0].bytes),
            (1, 6881, 30)
        );
    }

    #[test]
    fn a_receiver_of_empty_content_is_complete_after_a_connection() {
        let empty = || Receivers::new(Geometry::new(0, 10).unwrap());
        let mut receivers = empty();
        receivers.on_connected(NOW, PeerId([1; 20]), peer(1, 0).addr);
        assert_eq!(complete_count(&receivers), 0);
        assert_eq!(receivers.update(NOW, &[])[0].state, ReceiverState::Complete);
        let mut receivers = empty();
        for update in 0..UPDATES_FOR_EMPTY_CONTENT {
            assert_eq!(complete_count(&receivers), 0, "{update}");
            receivers.update(NOW, &[peer(1, 10)]);
        }
        assert_eq!(complete_count(&receivers), 1);
    }

    #[test]
    fn a_new_peer_id_at_the_address_of_a_disconnected_receiver_is_the_same_receiver() {
        let mut receivers = receivers();
        let mut again = peer(1, 10);
        again.peer_id = PeerId([9; 20]);
        receivers.update(NOW, &[peer(1, 10)]);
        receivers.update(NOW, &[]);
        receivers.update(NOW, std::slice::from_ref(&again));
        assert_eq!((complete_count(&receivers), receivers.snapshot().len()), (1, 1));
        receivers.update(NOW, &[]);
        again.peer_id = PeerId([8; 20]);
        receivers.on_connected(NOW, again.peer_id, peer(1, 10).listen_addr.unwrap());
        receivers.on_complete(NOW, again.peer_id, peer(1, 10).listen_addr.unwrap());
        assert_eq!((complete_count(&receivers), receivers.snapshot().len()), (1, 1));
    }

    #[test]
    fn a_receiver_that_disconnects_before_the_first_update_is_known_by_its_listening_address() {
        let mut receivers = receivers();
        let mut again = peer(1, 10);
        again.peer_id = PeerId([9; 20]);
        receivers.on_connected(NOW, PeerId([1; 20]), peer(1, 10).addr);
        assert!(
            receivers.on_complete(NOW, PeerId([1; 20]), peer(1, 10).listen_addr.unwrap()).is_some()
        );
        receivers.update(NOW, &[]);
        // The origin connects to it, and it uses another peer ID.
        receivers.on_connected(NOW, again.peer_id, again.listen_addr.unwrap());
        receivers.on_complete(NOW, again.peer_id, again.listen_addr.unwrap());
        receivers.update(NOW, &[again]);
        assert_eq!((complete_count(&receivers), receivers.snapshot().len()), (1, 1));
    }

    #[test]
    fn two_connected_receivers_may_share_an_address() {
        let mut receivers = receivers();
        let mut other = peer(1, 10);
        other.peer_id = PeerId([9; 20]);
        receivers.update(NOW, &[peer(1, 10), other]);
        assert_eq!(complete_count(&receivers), 2);
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut receivers = Receivers::new(Geometry::new(10_000, 10).unwrap());
        let mut at = |second: u64, have| {
            receivers.update(Duration::from_secs(second), &[peer(1, have)]);
            let now = receivers.snapshot().remove(0);
            (now.rate, now.last_progress.unwrap().as_secs())
        };
        assert_eq!(at(1, 0), (0, 1));
        assert_eq!(at(2, 1), (10, 2));
        assert_eq!(at(3, 5), (25, 3));
        assert_eq!((4..20).map(|second| at(second, 5)).last(), Some((0, 3)));
    }

    #[test]
    fn a_host_that_floods_displaces_its_own_receivers() {
        let mut receivers = Receivers { limit: 20, ..receivers() };
        for name in 1..=10 {
            receivers.update(NOW, &[peer(name, 10)]);
        }
        for name in 100..200 {
            let mut other = peer(name, 0);
            other.addr.set_ip([10, 0, 9, 9].into());
            other.listen_addr = Some(([10, 0, 9, 9], name.into()).into());
            receivers.update(NOW, &[other]);
        }
        assert_eq!((receivers.snapshot().len(), complete_count(&receivers)), (20, 10));
    }
}
