//! The known addresses: which to dial next, when to retry, which never. No connections, no
//! messages.
//!
//! A source that names many addresses displaces its own, and a host without peers is tried a few
//! times only: `allowance` has the limits, `source` says who may name what.

mod allowance;
mod source;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sow_wire::bittorrent::PeerId;

pub(crate) use self::source::{Source, reaches};
use self::{
    allowance::Allowance,
    source::{Host, SourceKey},
};
use crate::io::{Dialect, PeerSource, Time};

/// The limit of addresses that are remembered.
const MAX_KNOWN_ADDRESSES: usize = 2000;

/// Addresses that are remembered of one tracker.
const MAX_ADDRESSES_PER_TRACKER: usize = 500;

/// Addresses that are remembered of one peer, or of a magnet link.
const MAX_ADDRESSES_PER_PEER: usize = 100;

/// Hosts, and sources, whose allowance is remembered.
const MAX_ALLOWANCES: usize = 4096;

/// Bans that are remembered.
const MAX_BANS: usize = 4096;

/// All that an address book holds, beside the addresses that the user named: addresses, our own
/// ones, hosts and sources, and three kinds of bans.
pub const MAX_REMEMBERED: usize = 2 * MAX_KNOWN_ADDRESSES + 2 * MAX_ALLOWANCES + 3 * MAX_BANS;

/// Bans of peers on one host, other than this machine, after which the host is banned.
const MAX_BANS_PER_HOST: u32 = 3;

const FIRST_RETRY_DELAY: Duration = Duration::from_millis(250);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);
/// How long an address waits after its first fault; twice as long after each further one.
const FIRST_FAULT_DELAY: Duration = Duration::from_millis(500);

/// Faults after which an address is given up. There may be two connections to it, with a fault on
/// each.
const MAX_FAULTS: u32 = 6;

/// Failures in a row after which a confirmed address counts as any other.
const MAX_CONFIRMED_FAILURES: u32 = 3;

/// The longest delay for an address that the user named, which is worth more attempts.
const MAX_RETRY_DELAY_NAMED: Duration = Duration::from_secs(2);

/// The addresses of a swarm.
#[derive(Debug, Default)]
pub(crate) struct AddressBook {
    known: BTreeMap<SocketAddr, Entry>,
    hosts: BTreeMap<Host, Allowance>,
    sources: BTreeMap<SourceKey, Allowance>,
    /// Dials under way that [`AddressBook::next`] began, each with the source that it counts for.
    dialing: BTreeMap<SocketAddr, Option<SourceKey>>,
    /// Addresses that were forgotten while they were dialed.
    unwanted: BTreeSet<SocketAddr>,
    /// Our own addresses, as far as they were dialed.
    ours: BTreeSet<SocketAddr>,
    banned: BTreeSet<SocketAddr>,
    /// Peer ids, each with its host: any peer can claim any peer id.
    banned_identities: BTreeSet<(IpAddr, PeerId)>,
    bans_of_host: BTreeMap<IpAddr, u32>,
    /// The result of [`AddressBook::next_due`] since the last change.
    due: Cell<Option<Option<Time>>>,
}

#[derive(Debug)]
struct Entry {
    kind: PeerSource,
    source: SourceKey,
    /// Another source that named it, too.
    second: Option<SourceKey>,
    dialect: Dialect,
    state: State,
    added_at: Time,
    failures: u32,
    faults: u32,
    /// A peer of the swarm was reached there.
    is_confirmed: bool,
}

impl Entry {
    /// Whether it is dialed whatever its host and its source are allowed.
    fn is_exempt(&self) -> bool {
        self.kind == PeerSource::Named || self.is_confirmed
    }

    fn due_at(&self) -> Option<Time> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Busy | State::GivenUp => None,
        }
    }

    fn sources(&self) -> impl Iterator<Item = SourceKey> {
        std::iter::once(self.source).chain(self.second)
    }
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

/// The order in which addresses are dialed: those that the user named, then confirmed ones, then
/// those that failed least, that two sources named, and whose source has named the fewest that led
/// to no peer; then by trust in the kind of source, and at random.
type Rank = (u8, u32, bool, u32, PeerSource, u32);

impl AddressBook {
    /// Adds an address; a more trusted source replaces a less trusted one.
    pub(crate) fn add(&mut self, now: Time, addr: SocketAddr, source: &Source, dialect: Dialect) {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        if !source.may_name(addr) || self.ours.contains(&addr) {
            return;
        }
        self.due.set(None);
        if let Some(entry) = self.known.get_mut(&addr) {
            if entry.source != source.key && source.kind < entry.kind {
                entry.second = Some(std::mem::replace(&mut entry.source, source.key));
            } else if entry.source != source.key {
                entry.second.get_or_insert(source.key);
            }
            entry.kind = entry.kind.min(source.kind);
            return;
        }
        if !self.make_room(source) {
            return;
        }
        let entry = Entry {
            kind: source.kind,
            source: source.key,
            second: None,
            dialect,
            state: State::Waiting { until: now },
            added_at: now,
            failures: 0,
            faults: 0,
            is_confirmed: false,
        };
        self.known.insert(addr, entry);
    }

    /// Makes room for an address of a source: it displaces an address of the same source if that
    /// has its share, and one of the source with the most addresses if the book is full. Whether
    /// there is room.
    fn make_room(&mut self, source: &Source) -> bool {
        let limit = match source.kind {
            PeerSource::Named => return true,
            PeerSource::Tracker => MAX_ADDRESSES_PER_TRACKER,
            PeerSource::Link | PeerSource::Pex | PeerSource::Incoming => MAX_ADDRESSES_PER_PEER,
        };
        let own = self.known.values().filter(|entry| entry.source == source.key).count();
        if own >= limit {
            return self.displace(source.key);
        }
        if self.known.len() < MAX_KNOWN_ADDRESSES {
            return true;
        }
        let mut counts: BTreeMap<SourceKey, usize> = BTreeMap::new();
        for entry in self.known.values().filter(|entry| !entry.is_exempt()) {
            *counts.entry(entry.source).or_default() += 1;
        }
        let largest = counts.into_iter().max_by_key(|&(_, count)| count);
        largest.is_some_and(|(key, count)| count > own && self.displace(key))
            || self.displace(source.key)
    }

    /// Forgets an address of a source that waits: the one that failed most often, then the oldest.
    fn displace(&mut self, source: SourceKey) -> bool {
        let waiting = self.known.iter().filter(|(_, entry)| {
            entry.source == source && !entry.is_exempt() && entry.due_at().is_some()
        });
        let worst = waiting
            .max_by_key(|(_, entry)| (entry.failures, std::cmp::Reverse(entry.added_at)))
            .map(|(&addr, _)| addr);
        worst.is_some_and(|addr| self.known.remove(&addr).is_some())
    }

    /// How many addresses, identities, hosts and sources are remembered.
    pub(crate) fn len(&self) -> usize {
        let banned = self.banned.len() + self.banned_identities.len() + self.bans_of_host.len();
        let allowances = self.hosts.len() + self.sources.len();
        self.known.len() + self.ours.len() + banned + allowances
    }

    /// Whether the user named an address.
    pub(crate) fn is_named(&self, addr: SocketAddr) -> bool {
        self.known.get(&addr).is_some_and(|entry| entry.kind == PeerSource::Named)
    }

    /// Whether the user named any address of a peer that speaks BitTorrent.
    pub(crate) fn is_any_named(&self) -> bool {
        self.known
            .values()
            .any(|entry| entry.kind == PeerSource::Named && entry.dialect == Dialect::BitTorrent)
    }

    /// Whether the user named an address on a host; any host counts where the user named none.
    pub(crate) fn is_on_named_host(&self, host: IpAddr) -> bool {
        let named = self.known.iter().filter(|(_, entry)| entry.kind == PeerSource::Named);
        let mut hosts = named.map(|(addr, _)| addr.ip()).peekable();
        hosts.peek().is_none() || hosts.any(|named| named == host.to_canonical())
    }

    /// The address to dial now, by its rank. It counts as busy from here on.
    pub(crate) fn next(
        &mut self,
        now: Time,
        rng: &mut fastrand::Rng,
    ) -> Option<(SocketAddr, Dialect)> {
        let mut best: Option<(Rank, SocketAddr, Option<SourceKey>)> = None;
        let after_now = Time(now.0.saturating_add(1));
        for (&addr, entry) in &self.known {
            let Some((_, source)) = self.ready_at(addr, entry, after_now) else { continue };
            let choice = (self.rank(entry, source, rng), addr, source);
            best = Some(best.map_or(choice, |best| best.min(choice)));
        }
        let (_, addr, source) = best?;
        Some((addr, self.begin_dial(now, addr, source)?))
    }

    /// The address to dial now among those that the user named. It counts as busy from here on.
    pub(crate) fn next_named(&mut self, now: Time) -> Option<(SocketAddr, Dialect)> {
        let due = |entry: &Entry| entry.due_at().is_some_and(|until| until <= now);
        let named = |entry: &Entry| entry.kind == PeerSource::Named && due(entry);
        let (&addr, _) =
            self.known.iter().find(|(addr, entry)| named(entry) && !self.banned.contains(addr))?;
        Some((addr, self.begin_dial(now, addr, None)?))
    }

    /// An address to dial now, if it may be dialed. It counts as busy from here on.
    pub(crate) fn next_at(&mut self, now: Time, addr: SocketAddr) -> Option<SocketAddr> {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let entry = self.known.get(&addr)?;
        let (_, source) = self.ready_at(addr, entry, Time(now.0.saturating_add(1)))?;
        self.begin_dial(now, addr, source).map(|_| addr)
    }

    fn rank(&self, entry: &Entry, source: Option<SourceKey>, rng: &mut fastrand::Rng) -> Rank {
        let class = match entry.kind {
            PeerSource::Named => 0,
            _ if entry.is_confirmed => 1,
            _ => 2,
        };
        let allowance = source.and_then(|source| self.sources.get(&source));
        let unproductive = allowance.map_or(0, Allowance::unproductive);
        let is_alone = entry.second.is_none();
        (class, entry.failures, is_alone, unproductive, entry.kind, rng.u32(..))
    }

    /// A dial begins: its host and its source have one attempt less.
    fn begin_dial(
        &mut self,
        now: Time,
        addr: SocketAddr,
        source: Option<SourceKey>,
    ) -> Option<Dialect> {
        if let Some(source) = source {
            self.host_of(addr).spend(now);
            let quota = match source {
                SourceKey::Peer(_) | SourceKey::Incoming(_) => &allowance::PEER,
                SourceKey::Named | SourceKey::Link | SourceKey::Tracker(_) => &allowance::TRACKER,
            };
            limit_allowances(&mut self.sources);
            self.sources.entry(source).or_insert_with(|| Allowance::new(quota)).spend(now);
        }
        self.dialing.insert(addr, source);
        self.connected(addr);
        self.known.get(&addr).map(|entry| entry.dialect)
    }

    fn host_of(&mut self, addr: SocketAddr) -> &mut Allowance {
        limit_allowances(&mut self.hosts);
        let host = Host::of(addr.ip());
        self.hosts.entry(host).or_insert_with(|| Allowance::new(&allowance::HOST))
    }

    /// When a waiting address may be dialed, and the source for which that counts; no source for
    /// one that is exempt. `None` when it is not `before` a time, while it is banned, or when too
    /// many dials to its host or of its sources are under way.
    fn ready_at(
        &self,
        addr: SocketAddr,
        entry: &Entry,
        before: Time,
    ) -> Option<(Time, Option<SourceKey>)> {
        // There may be thousands, most of which rest or are not due yet: that is seen first.
        let until = entry.due_at().filter(|until| *until < before)?;
        if entry.is_exempt() {
            return (!self.banned.contains(&addr)).then_some((until, None));
        }
        let sources = entry.sources().filter_map(|source| {
            let (rests_until, dials) = limits_of(self.sources.get(&source), &allowance::TRACKER);
            let under_way = || self.dialing.values().filter(|dial| **dial == Some(source)).count();
            (rests_until < before && under_way() < dials).then_some((rests_until, source))
        });
        let (source_rests, source) = sources.min()?;
        let host = Host::of(addr.ip());
        let (host_rests, host_dials) = limits_of(self.hosts.get(&host), &allowance::HOST);
        if host_rests >= before || self.banned.contains(&addr) {
            return None;
        }
        let is_counted = |(addr, source): &(&SocketAddr, &Option<SourceKey>)| {
            source.is_some() && Host::of(addr.ip()) == host
        };
        let to_host = self.dialing.iter().filter(is_counted).count();
        let ready = until.max(host_rests).max(source_rests);
        (to_host < host_dials).then_some((ready, Some(source)))
    }

    /// When the next address is due.
    pub(crate) fn next_due(&self) -> Option<Time> {
        if let Some(due) = self.due.get() {
            return due;
        }
        let due = self.known.iter().fold(None, |earliest, (&addr, entry)| {
            let ready = self.ready_at(addr, entry, earliest.unwrap_or(Time(u64::MAX)));
            ready.map(|(time, _)| time).or(earliest)
        });
        self.due.set(Some(due));
        due
    }

    /// The address is in use: it is not dialed until it is released.
    pub(crate) fn connected(&mut self, addr: SocketAddr) {
        self.due.set(None);
        if let Some(entry) = self.known.get_mut(&addr) {
            entry.state = State::Busy;
        }
    }

    /// A dial led to a connection. False if the address was forgotten meanwhile.
    pub(crate) fn dialed(&mut self, addr: SocketAddr) -> bool {
        self.due.set(None);
        self.dialing.remove(&addr);
        !self.unwanted.remove(&addr)
    }

    /// A peer of the swarm answers at an address that was dialed.
    pub(crate) fn confirm(&mut self, addr: SocketAddr) {
        let Some(entry) = self.known.get_mut(&addr).filter(|entry| !entry.is_confirmed) else {
            return;
        };
        entry.is_confirmed = true;
        let source = entry.source;
        self.sources.entry(source).and_modify(Allowance::on_success);
        self.on_peer_at(addr);
    }

    /// A peer of the swarm is on a host: it was dialed, or it connected to us.
    pub(crate) fn on_peer_at(&mut self, addr: SocketAddr) {
        self.due.set(None);
        self.host_of(addr).on_success();
    }

    /// A connection that was dialed ended before the peer had shown that it is one.
    pub(crate) fn on_stranger_at(&mut self, now: Time, addr: SocketAddr) {
        if self.known.get(&addr).is_some_and(|entry| !entry.is_exempt()) {
            self.due.set(None);
            self.host_of(addr).on_failure(now);
        }
    }

    /// A dial failed: the address waits twice as long as the last time.
    pub(crate) fn failed(&mut self, now: Time, addr: SocketAddr) {
        self.due.set(None);
        self.unwanted.remove(&addr);
        if let Some(Some(source)) = self.dialing.remove(&addr) {
            self.host_of(addr).on_failure(now);
            self.sources.entry(source).and_modify(|source| source.on_failure(now));
        }
        let Some(entry) = self.known.get_mut(&addr) else { return };
        entry.failures += 1;
        entry.is_confirmed &= entry.failures < MAX_CONFIRMED_FAILURES;
        let named = entry.kind == PeerSource::Named;
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
        self.due.set(None);
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
        self.due.set(None);
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
        self.due.set(None);
        self.known.remove(&addr);
    }

    /// Forgets the addresses that only peers named, and returns them. A private swarm takes peers
    /// from its trackers (BEP 27); its origin, the link to it, and those that connect to us are no
    /// exchange of peers.
    pub(crate) fn forget_exchanged(&mut self) -> BTreeSet<SocketAddr> {
        self.due.set(None);
        let mut forgotten = BTreeSet::new();
        let is_exchange = |key: &SourceKey| matches!(key, SourceKey::Peer(_));
        self.known.retain(|&addr, entry| {
            if entry.sources().all(|key| is_exchange(&key)) {
                forgotten.insert(addr);
                return false;
            }
            entry.second = entry.second.filter(|key| !is_exchange(key));
            if let (true, Some(second)) = (is_exchange(&entry.source), entry.second) {
                entry.source = second;
                entry.second = None;
            }
            true
        });
        self.unwanted =
            self.dialing.keys().filter(|addr| forgotten.contains(addr)).copied().collect();
        forgotten
    }

    /// The address is our own: it is never dialed again.
    pub(crate) fn ours(&mut self, addr: SocketAddr) {
        self.due.set(None);
        self.dialing.remove(&addr);
        self.known.remove(&addr);
        // A machine has few addresses; a misbehaving peer must not fill this.
        if self.ours.len() < MAX_KNOWN_ADDRESSES {
            self.ours.insert(addr);
        }
    }

    /// Bans an address and a peer id; after three bans the whole host, unless it is this machine.
    /// Whether that is new.
    pub(crate) fn ban(&mut self, addr: SocketAddr, peer_id: PeerId) -> bool {
        self.due.set(None);
        self.limit_bans();
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
            self.due.set(None);
            self.limit_bans();
            self.banned.insert(addr);
            self.known.remove(&addr);
        }
        bans
    }

    /// Makes room for another ban. Each costs the peer a corrupt piece.
    fn limit_bans(&mut self) {
        if self.banned.len() >= MAX_BANS {
            self.banned.pop_first();
        }
        if self.banned_identities.len() >= MAX_BANS {
            self.banned_identities.pop_first();
        }
        if self.bans_of_host.len() >= MAX_BANS {
            self.bans_of_host.pop_first();
        }
    }

    /// Whether a peer is banned by its address, peer id or host.
    pub(crate) fn is_banned(&self, addr: SocketAddr, peer_id: PeerId) -> bool {
        let host = self.bans_of_host.get(&addr.ip()).is_some_and(|&bans| bans >= MAX_BANS_PER_HOST);
        (host && !addr.ip().is_loopback())
            || self.banned.contains(&addr)
            || self.banned_identities.contains(&(addr.ip(), peer_id))
    }
}

/// Makes room for another host or source: the one that was tried the longest ago is forgotten.
fn limit_allowances<K: Ord + Copy>(allowances: &mut BTreeMap<K, Allowance>) {
    if allowances.len() >= MAX_ALLOWANCES {
        let oldest = allowances.iter().min_by_key(|(_, allowance)| allowance.used_at());
        oldest.map(|(&key, _)| key).map(|key| allowances.remove(&key));
    }
}

/// Until when a host or a source rests, and how many dials it may have under way.
fn limits_of(allowance: Option<&Allowance>, quota: &allowance::Quota) -> (Time, usize) {
    allowance.map_or((Time::default(), quota.concurrent), |allowance| {
        (allowance.rests_until(), allowance.concurrent())
    })
}

#[cfg(test)]
mod tests;
