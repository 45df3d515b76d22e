//! The known addresses: which to dial next, when to retry, which never. No connections, no
//! messages.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sow_wire::bittorrent::PeerId;

use crate::io::{Dialect, PeerSource, Time};

/// The limit of addresses that are remembered.
const MAX_KNOWN_ADDRESSES: usize = 2000;

/// Bans of peers on one host, other than this machine, after which the host is banned.
const MAX_BANS_PER_HOST: u32 = 3;

const FIRST_RETRY_DELAY: Duration = Duration::from_millis(250);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);
/// How long an address waits after its first fault; twice as long after each further one.
const FIRST_FAULT_DELAY: Duration = Duration::from_millis(500);

/// Faults after which an address is given up. There may be two connections to it, with a fault on
/// each.
const MAX_FAULTS: u32 = 6;

/// The longest delay for an address that the user named, which is worth more attempts.
const MAX_RETRY_DELAY_NAMED: Duration = Duration::from_secs(2);

/// The addresses of a swarm.
#[derive(Debug, Default)]
pub(crate) struct AddressBook {
    known: BTreeMap<SocketAddr, Entry>,
    /// Our own addresses, as far as they were dialed.
    ours: BTreeSet<SocketAddr>,
    banned: BTreeSet<SocketAddr>,
    /// Peer ids, each with its host: any peer can claim any peer id.
    banned_identities: BTreeSet<(IpAddr, PeerId)>,
    bans_of_host: BTreeMap<IpAddr, u32>,
}

#[derive(Debug)]
struct Entry {
    source: PeerSource,
    dialect: Dialect,
    state: State,
    failures: u32,
    faults: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting {
        until: Time,
    },
    Busy,
    /// It violated its protocol too often, and is not dialed any more.
    GivenUp,
}

impl AddressBook {
    /// Adds an address; a more trusted source replaces a less trusted one.
    pub(crate) fn add(
        &mut self,
        now: Time,
        addr: SocketAddr,
        source: PeerSource,
        dialect: Dialect,
    ) {
        let nowhere = addr.port() == 0 || addr.ip().is_unspecified() || addr.ip().is_multicast();
        if nowhere || self.ours.contains(&addr) {
            return;
        }
        if let Some(entry) = self.known.get_mut(&addr) {
            entry.source = entry.source.min(source);
            return;
        }
        if self.known.len() >= MAX_KNOWN_ADDRESSES {
            self.make_room(source);
        }
        if self.known.len() < MAX_KNOWN_ADDRESSES || source == PeerSource::Named {
            self.known.insert(
                addr,
                Entry {
                    source,
                    dialect,
                    state: State::Waiting { until: now },
                    failures: 0,
                    faults: 0,
                },
            );
        }
    }

    /// Forgets an address that waits and whose source is less trusted than `source`.
    fn make_room(&mut self, source: PeerSource) {
        let waiting = self
            .known
            .iter()
            .filter(|(_, entry)| entry.state != State::Busy && entry.source > source);
        let worst =
            waiting.max_by_key(|(_, entry)| (entry.source, entry.failures)).map(|(&addr, _)| addr);
        worst.map(|addr| self.known.remove(&addr));
    }

    /// How many addresses and identities are remembered.
    pub(crate) fn len(&self) -> usize {
        let banned = self.banned.len() + self.banned_identities.len() + self.bans_of_host.len();
        self.known.len() + self.ours.len() + banned
    }

    /// Whether the user named an address.
    pub(crate) fn is_named(&self, addr: SocketAddr) -> bool {
        self.known.get(&addr).is_some_and(|entry| entry.source == PeerSource::Named)
    }

    /// The address to dial now: by trust in its source, ties at random. It counts as busy
    /// from here on.
    pub(crate) fn next(
        &mut self,
        now: Time,
        rng: &mut fastrand::Rng,
    ) -> Option<(SocketAddr, Dialect)> {
        let mut best: Option<(PeerSource, u32, SocketAddr)> = None;
        for (&addr, entry) in &self.known {
            let due = matches!(entry.state, State::Waiting { until } if until <= now);
            if due && !self.banned.contains(&addr) {
                let rank = (entry.source, rng.u32(..), addr);
                best = Some(best.map_or(rank, |best| best.min(rank)));
            }
        }
        let (_, _, addr) = best?;
        self.connected(addr);
        self.known.get(&addr).map(|entry| (addr, entry.dialect))
    }

    /// The address to dial now among those that the user named. It counts as busy from here on.
    pub(crate) fn next_named(&mut self, now: Time) -> Option<(SocketAddr, Dialect)> {
        let due = |entry: &Entry| matches!(entry.state, State::Waiting { until } if until <= now);
        let named = |entry: &Entry| entry.source == PeerSource::Named && due(entry);
        let (&addr, entry) =
            self.known.iter().find(|(addr, entry)| named(entry) && !self.banned.contains(addr))?;
        let dialect = entry.dialect;
        self.connected(addr);
        Some((addr, dialect))
    }

    /// When the next address is due.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.known
            .iter()
            .filter(|(addr, _)| !self.banned.contains(addr))
            .filter_map(|(_, entry)| match entry.state {
                State::Waiting { until } => Some(until),
                State::Busy | State::GivenUp => None,
            })
            .min()
    }

    /// The address is in use: it is not dialed until it is released.
    pub(crate) fn connected(&mut self, addr: SocketAddr) {
        if let Some(entry) = self.known.get_mut(&addr) {
            entry.state = State::Busy;
        }
    }

    /// A dial failed: the address waits twice as long as the last time.
    pub(crate) fn failed(&mut self, now: Time, addr: SocketAddr) {
        let Some(entry) = self.known.get_mut(&addr) else { return };
        entry.failures += 1;
        let named = entry.source == PeerSource::Named;
        if entry.failures > 8 && !named {
            self.known.remove(&addr);
            return;
        }
        let longest = if named { MAX_RETRY_DELAY_NAMED } else { MAX_RETRY_DELAY };
        let wait = FIRST_RETRY_DELAY.saturating_mul(1 << (entry.failures - 1).min(16)).min(longest);
        entry.state = State::Waiting { until: now + wait };
    }

    /// A connection is over: the address may be dialed again after `pause`.
    pub(crate) fn released(&mut self, now: Time, addr: SocketAddr, pause: Duration) {
        if let Some(entry) = self.known.get_mut(&addr).filter(|entry| entry.state != State::GivenUp)
        {
            entry.failures = 0;
            let rest = match entry.faults {
                0 => pause,
                faults => pause.max(FIRST_FAULT_DELAY.saturating_mul(1 << faults.min(MAX_FAULTS))),
            };
            entry.state = State::Waiting { until: now + rest };
        }
    }

    /// The peer at an address that was dialed violated its protocol. `is_persistent`: another
    /// connection is expected to end in the same way. True when that was too often, and the address
    /// is given up.
    pub(crate) fn broke_protocol(&mut self, addr: SocketAddr, is_persistent: bool) -> bool {
        let Some(entry) = self.known.get_mut(&addr).filter(|entry| entry.state != State::GivenUp)
        else {
            return false;
        };
        entry.faults += if is_persistent { 2 } else { 1 };
        let gives_up = entry.faults >= MAX_FAULTS;
        if gives_up {
            entry.state = State::GivenUp;
        }
        gives_up
    }

    /// The address is of no use: it is our own, or a second one of a connected peer.
    pub(crate) fn forget(&mut self, addr: SocketAddr) {
        self.known.remove(&addr);
    }

    /// The address is our own: it is never dialed again.
    pub(crate) fn ours(&mut self, addr: SocketAddr) {
        self.known.remove(&addr);
        // A machine has few addresses; a misbehaving peer must not fill this.
        if self.ours.len() < MAX_KNOWN_ADDRESSES {
            self.ours.insert(addr);
        }
    }

    /// Bans an address and a peer id; after three bans the whole host, unless it is this machine.
    /// Whether that is new.
    pub(crate) fn ban(&mut self, addr: SocketAddr, peer_id: PeerId) -> bool {
        let is_news = self.banned.insert(addr);
        self.banned_identities.insert((addr.ip(), peer_id));
        self.known.remove(&addr);
        *self.bans_of_host.entry(addr.ip()).or_default() += u32::from(is_news);
        is_news
    }

    /// Bans an address alone, unless the user named it: the peer may only have passed on what
    /// others sent.
    pub(crate) fn ban_alone(&mut self, addr: SocketAddr) -> bool {
        let bans = !self.is_named(addr);
        if bans {
            self.banned.insert(addr);
            self.known.remove(&addr);
        }
        bans
    }

    /// Whether a peer is banned by its address, peer id or host.
    pub(crate) fn is_banned(&self, addr: SocketAddr, peer_id: PeerId) -> bool {
        let host = self.bans_of_host.get(&addr.ip()).is_some_and(|&bans| bans >= MAX_BANS_PER_HOST);
        (host && !addr.ip().is_loopback())
            || self.banned.contains(&addr)
            || self.banned_identities.contains(&(addr.ip(), peer_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BT: Dialect = Dialect::BitTorrent;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn at(ms: u64) -> Time {
        Time(ms * 1000)
    }

    #[test]
    fn named_addresses_come_first_and_each_once() {
        let mut book = AddressBook::default();
        let mut rng = fastrand::Rng::with_seed(1);
        (1..5).for_each(|port| book.add(at(0), addr(port), PeerSource::Pex, BT));
        book.add(at(0), addr(9), PeerSource::Named, BT);
        book.add(at(0), addr(0), PeerSource::Named, BT);
        assert_eq!(book.next(at(0), &mut rng), Some((addr(9), BT)));
        let mut rest: Vec<_> =
            std::iter::from_fn(|| book.next(at(0), &mut rng)).map(|(addr, _)| addr).collect();
        rest.sort_unstable();
        assert_eq!(rest, (1..5).map(addr).collect::<Vec<_>>());
    }

    #[test]
    fn a_failing_address_backs_off_and_is_forgotten() {
        let mut book = AddressBook::default();
        let mut rng = fastrand::Rng::with_seed(1);
        book.add(at(0), addr(1), PeerSource::Tracker, BT);
        let mut now = at(0);
        let mut waits = Vec::new();
        while book.next(now, &mut rng).is_some() {
            book.failed(now, addr(1));
            let Some(due) = book.next_due() else { break };
            waits.push(due.since(now).as_millis());
            now = due;
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 32000]);
    }

    #[test]
    fn a_named_address_is_retried_without_end_at_short_intervals() {
        let mut book = AddressBook::default();
        let mut rng = fastrand::Rng::with_seed(1);
        book.add(at(0), addr(1), PeerSource::Named, BT);
        let mut now = at(0);
        for _ in 0..100 {
            assert_eq!(book.next(now, &mut rng), Some((addr(1), BT)));
            book.failed(now, addr(1));
            let due = book.next_due().unwrap();
            assert!(due.since(now) <= MAX_RETRY_DELAY_NAMED);
            now = due;
        }
    }

    #[test]
    fn an_address_with_faults_waits_longer_each_time_and_is_given_up() {
        let mut book = AddressBook::default();
        let mut rng = fastrand::Rng::with_seed(1);
        book.add(at(0), addr(1), PeerSource::Named, BT);
        let (mut now, mut rests) = (at(0), Vec::new());
        while book.next(now, &mut rng).is_some() {
            let given_up = book.broke_protocol(addr(1), false);
            book.released(now, addr(1), Duration::from_millis(500));
            assert_eq!(given_up, book.next_due().is_none());
            let Some(due) = book.next_due() else { break };
            rests.push(due.since(now).as_millis());
            now = due;
        }
        assert_eq!(rests, [1000, 2000, 4000, 8000, 16000]);
        // Nothing brings it back.
        book.add(now, addr(1), PeerSource::Named, BT);
        book.released(now, addr(1), Duration::ZERO);
        assert!(book.next_due().is_none() && book.next_named(now).is_none());
        assert!(book.is_named(addr(1)));
        book.add(now, addr(2), PeerSource::Tracker, BT);
        let faults = (0..9).position(|_| book.broke_protocol(addr(2), true));
        assert_eq!(faults, Some(2), "persistent misbehavior counts twice");
    }

    #[test]
    fn a_ban_holds_by_peer_id_and_address_and_three_by_host() {
        let mut book = AddressBook::default();
        let id = |n| PeerId([n; 20]);
        assert!(book.ban(addr(1), id(1)));
        assert!(!book.ban(addr(1), id(1)), "it is banned already");
        assert!(book.is_banned(addr(1), id(9)) && book.is_banned(addr(2), id(1)));
        assert!(!book.is_banned(addr(2), id(2)), "another peer on the same host is not banned");
        book.ban(addr(2), id(2));
        book.ban(addr(3), id(3));
        assert!(book.is_banned(addr(4), id(4)));
        let local = SocketAddr::from(([127, 0, 0, 1], 4));
        (0..5).for_each(|n| _ = book.ban(SocketAddr::new(local.ip(), 100 + n), id(100 + n as u8)));
        assert!(!book.is_banned(local, id(4)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut book = AddressBook::default();
        for n in 0..3000u32 {
            book.add(at(0), SocketAddr::from((n.to_be_bytes(), 1)), PeerSource::Pex, BT);
        }
        assert!(book.known.len() <= MAX_KNOWN_ADDRESSES);
        book.add(at(0), addr(7), PeerSource::Tracker, BT);
        assert!(
            book.known.contains_key(&addr(7)),
            "an exchanged peer makes room for one of a tracker"
        );
    }
}
