//! The receivers of an origin: every one that was ever connected, its progress, and whether it
//! holds a complete copy. Shows nothing.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sow_content::Geometry;
use sow_engine::PeerStatus;
use sow_wire::bittorrent::{CopyId, CopyState, PeerId, ReceiverReport};

use super::Receiver;
use crate::{engine_config::is_same_program, report::ReceiverState};

/// The limit of receivers that are known. At the limit a new one displaces one that is not
/// connected, of the host with the most, so that a host that floods displaces its own.
const MAX_RECEIVERS: usize = 10_000;

/// The time over which the rate of a receiver is taken.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// The interval between two samples for the rate.
const RATE_SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// The number of status updates after which a receiver is reported: the first, by which the port on
/// which it listens is known.
const UPDATES_BEFORE_REPORT: u32 = 1;

/// The same, over five seconds, for this same program: it says which copy it makes as soon as it
/// knows the name of the content.
const UPDATES_BEFORE_COPY: u32 = 20;

/// The number of status updates, over two seconds, after which a receiver that was complete and
/// downloads again counts as not complete. One that finds its copy is complete again before.
const UPDATES_BEFORE_RESTART: u32 = 8;

/// The number of status updates, over two seconds, after which a receiver of empty content counts
/// as complete. Empty content has no pieces to announce, but the receiver needs time to request the
/// metadata.
const UPDATES_FOR_EMPTY_CONTENT: u32 = 8;

/// The peer IDs that are remembered of one copy: one for each run of the program.
const MAX_PEERS_PER_COPY: usize = 8;

/// Every receiver that was ever connected: by its copy if it has said which that is, or else by its
/// peer ID.
#[derive(Debug)]
pub(crate) struct Receivers {
    geometry: Geometry,
    known: BTreeMap<Key, Entry>,
    /// The copies that peers have reported.
    copies: BTreeMap<PeerId, CopyId>,
    limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Copy(CopyId),
    Peer(PeerId),
}

#[derive(Debug)]
struct Entry {
    record: Receiver,
    /// The peer IDs under which it has reported its copy, the last one last.
    peers: VecDeque<PeerId>,
    /// Those of them that are connected.
    live: Vec<PeerId>,
    /// The state in which it was reported last.
    reported_as: Option<ReceiverState>,
    /// The number of status updates that contained it.
    updates: u32,
    /// The number of them since it said that it downloads although it was complete.
    updates_of_restart: u32,
    samples: VecDeque<(Duration, u64)>,
}

/// No receiver of that name or address was ever connected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NeverConnected;

impl Receivers {
    /// No receivers yet.
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self { geometry, known: BTreeMap::new(), copies: BTreeMap::new(), limit: MAX_RECEIVERS }
    }

    /// Updates the receivers from the peers that are connected now. Returns those that were
    /// connected, were disconnected or became complete since the last update. Every `now` is the
    /// time since the start of the run.
    pub(crate) fn update(&mut self, now: Duration, peers: &[PeerStatus]) -> Vec<Receiver> {
        let mut changed = Vec::new();
        for peer in peers {
            changed.extend(self.update_from_peer(now, peer));
        }
        let connected: BTreeSet<PeerId> = peers.iter().map(|peer| peer.peer_id).collect();
        self.known.retain(|key, entry| {
            if !entry.record.is_connected {
                return true;
            }
            entry.live.retain(|id| connected.contains(id));
            let is_connected = match key {
                Key::Copy(_) => !entry.live.is_empty(),
                Key::Peer(id) => connected.contains(id),
            };
            if is_connected {
                return true;
            }
            entry.disconnect(now);
            // A download of this program that ended before it could say what it was for.
            let is_unknown = matches!(key, Key::Peer(id) if is_same_program(*id));
            let is_unreported = entry.reported_as.is_none() && entry.record.bytes == 0;
            if is_unknown && is_unreported && entry.record.state == ReceiverState::Gone {
                return false;
            }
            changed.extend(entry.reported_change());
            true
        });
        for peer in peers {
            self.forget_predecessors(peer.listen_addr.unwrap_or(peer.addr), peer.peer_id);
        }
        changed
    }

    /// A receiver was connected. If it disconnects before the next update, that update reports it.
    pub(crate) fn on_connected(&mut self, now: Duration, id: PeerId, addr: SocketAddr) {
        self.entry(now, self.key_of(id), addr).record.is_connected = true;
    }

    /// A receiver has announced all pieces; it may have disconnected since. It is complete, unless
    /// it is to report that itself when the copy is in its place. Returns it if that is new.
    pub(crate) fn on_complete(
        &mut self,
        now: Duration,
        id: PeerId,
        addr: SocketAddr,
    ) -> Option<Receiver> {
        self.forget_predecessors(addr, id);
        let (key, total) = (self.key_of(id), self.geometry.total());
        let entry = self.entry(now, key, addr);
        entry.record.move_to(addr);
        if entry.record.is_complete() || total == 0 {
            return None;
        }
        entry.record.bytes = total;
        let reports_itself = match key {
            Key::Copy(_) => entry.record.is_connected,
            Key::Peer(id) => is_same_program(id) && entry.updates < UPDATES_BEFORE_COPY,
        };
        if reports_itself || entry.record.state == ReceiverState::Failed {
            return None;
        }
        entry.record.complete(now);
        entry.reported_change()
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
        let key = self.key_of(id);
        let same =
            |(other, entry): &(&Key, &Entry)| **other == key || entry.record.addr == Some(addr);
        let known = self.known.iter().find(same);
        let known = known.map(|(known, entry)| (*known, entry.record.addr.unwrap_or(addr)));
        match known.ok_or(NeverConnected)? {
            (Key::Peer(known), addr) => Ok(self.on_complete(now, known, addr)),
            (Key::Copy(_), addr) => Ok(self.on_complete(now, id, addr)),
        }
    }

    /// A receiver has reported which copy it makes, and what became of it. Returns it if it is new
    /// or its state has changed.
    pub(crate) fn on_report(
        &mut self,
        now: Duration,
        id: PeerId,
        addr: SocketAddr,
        report: &ReceiverReport,
    ) -> Option<Receiver> {
        let earlier = self.known.remove(&Key::Peer(id));
        let old = self.copies.insert(id, report.copy).filter(|old| *old != report.copy);
        if let Some(entry) = old.and_then(|old| self.known.get_mut(&Key::Copy(old))) {
            entry.forget_peer(id);
        }
        let entry = self.entry(now, Key::Copy(report.copy), addr);
        let forgotten = entry.add_peer(id);
        if let Some(earlier) = earlier {
            let record = &mut entry.record;
            record.first_seen = record.first_seen.min(earlier.record.first_seen);
            record.bytes = record.bytes.max(earlier.record.bytes);
        }
        entry.apply(now, id, addr, report);
        let changed = entry.reported_change();
        forgotten.map(|forgotten| self.copies.remove(&forgotten));
        changed
    }

    fn key_of(&self, id: PeerId) -> Key {
        self.copies.get(&id).map_or(Key::Peer(id), |copy| Key::Copy(*copy))
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
    /// new peer ID for each connection. A copy is known by more than its address.
    fn forget_predecessors(&mut self, addr: SocketAddr, id: PeerId) {
        self.known.retain(|key, entry| {
            let Key::Peer(other) = key else { return true };
            *other == id || entry.record.is_connected || entry.record.addr != Some(addr)
        });
    }

    fn entry(&mut self, now: Duration, key: Key, addr: SocketAddr) -> &mut Entry {
        if !self.known.contains_key(&key) && self.known.len() >= self.limit {
            self.displace();
        }
        let total = self.geometry.total();
        self.known.entry(key).or_insert_with(|| Entry::new(now, addr, total))
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
        if let Some(gone) = worst.map(|(key, _)| *key).and_then(|key| self.known.remove(&key)) {
            gone.peers.iter().for_each(|id| _ = self.copies.remove(id));
        }
    }

    fn update_from_peer(&mut self, now: Duration, peer: &PeerStatus) -> Option<Receiver> {
        let addr = peer.listen_addr.unwrap_or(peer.addr);
        let (geometry, key) = (self.geometry, self.key_of(peer.peer_id));
        let entry = self.entry(now, key, addr);
        entry.updates += 1;
        entry.record.move_to(addr);
        entry.record.is_connected = true;
        entry.record.last_seen = Some(now);
        let is_due = match key {
            Key::Copy(_) => true,
            Key::Peer(id) if is_same_program(id) => entry.updates >= UPDATES_BEFORE_COPY,
            Key::Peer(_) => entry.updates >= UPDATES_BEFORE_REPORT,
        };
        match entry.record.state {
            // Only a copy is known to be made anew.
            ReceiverState::Complete if peer.complete || matches!(key, Key::Peer(_)) => {}
            ReceiverState::Complete => entry.on_restart_update(),
            // It says so itself when it downloads again.
            ReceiverState::Failed => {}
            _ => {
                entry.record.state = ReceiverState::Connected;
                entry.progress(now, bytes_of(&geometry, peer.have));
                let needs_time = geometry.total() == 0 && entry.updates < UPDATES_FOR_EMPTY_CONTENT;
                // A copy is complete when it reports that.
                if peer.complete && !needs_time && is_due && matches!(key, Key::Peer(_)) {
                    entry.record.complete(now);
                }
            }
        }
        let may_report = is_due || entry.reported_as.is_some();
        if may_report { entry.reported_change() } else { None }
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
        Self {
            record,
            peers: VecDeque::new(),
            live: Vec::new(),
            reported_as: None,
            updates: 0,
            updates_of_restart: 0,
            samples: VecDeque::new(),
        }
    }

    /// The receiver, if it is to be reported: it is new or its state has changed.
    fn reported_change(&mut self) -> Option<Receiver> {
        let state = Some(self.record.state);
        (self.reported_as != state).then(|| {
            self.reported_as = state;
            self.record.clone()
        })
    }

    /// The copy is reported under a peer ID. Returns one that is not remembered any more.
    fn add_peer(&mut self, id: PeerId) -> Option<PeerId> {
        self.peers.retain(|other| *other != id);
        self.peers.push_back(id);
        if !self.live.contains(&id) {
            self.live.push(id);
        }
        let is_full = self.peers.len() > MAX_PEERS_PER_COPY;
        let forgotten = if is_full { self.peers.pop_front() } else { None };
        self.live.retain(|other| Some(*other) != forgotten);
        forgotten
    }

    /// The peer ID reports another copy from now on.
    fn forget_peer(&mut self, id: PeerId) {
        self.peers.retain(|other| *other != id);
        self.live.retain(|other| *other != id);
    }

    /// The receiver with a peer ID has reported its copy.
    fn apply(&mut self, now: Duration, id: PeerId, addr: SocketAddr, report: &ReceiverReport) {
        let is_made_elsewhere = self.live.iter().any(|other| *other != id);
        let record = &mut self.record;
        record.move_to(addr);
        record.id = report.copy.to_string();
        if let Some(name) = &report.name {
            record.name.clone_from(name);
        }
        record.is_connected = true;
        record.last_seen = Some(now);
        match &report.state {
            CopyState::Fetching if record.is_complete() => self.updates_of_restart = 0,
            CopyState::Fetching => record.state = ReceiverState::Connected,
            CopyState::Complete => record.complete(now),
            // The other one makes the copy, and this one was in its way.
            CopyState::Failed { .. } if is_made_elsewhere => {}
            CopyState::Failed { reason } => record.fail(reason),
        }
    }

    /// The receiver is not connected any more.
    fn disconnect(&mut self, now: Duration) {
        self.record.is_connected = false;
        self.record.rate = 0;
        self.samples.clear();
        if self.record.state != ReceiverState::Connected {
            return;
        }
        // It had all pieces, or there are none. One that reports its copy says when it is in place.
        if self.record.bytes == self.record.total && self.peers.is_empty() {
            self.record.complete(now);
        } else {
            self.record.state = ReceiverState::Gone;
        }
    }

    /// A receiver that was complete is connected and lacks pieces.
    fn on_restart_update(&mut self) {
        self.updates_of_restart += 1;
        if self.updates_of_restart >= UPDATES_BEFORE_RESTART {
            self.updates_of_restart = 0;
            self.record.state = ReceiverState::Connected;
            self.record.finished = None;
            self.record.bytes = 0;
        }
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
        self.last_error = None;
    }

    /// It has given up.
    fn fail(&mut self, reason: &str) {
        self.state = ReceiverState::Failed;
        self.rate = 0;
        self.finished = None;
        self.last_error = Some(reason.to_owned());
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
