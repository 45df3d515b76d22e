//! The connections of a swarm: which are open, which addresses are dialed next, which peers are
//! admitted and which are banned. What is transferred on them is not here.

mod connection;
mod identity;
mod places;
mod room;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sow_wire::bittorrent::PeerId;

pub(crate) use self::connection::{Connection, Distrusted};
pub use self::places::network_of;
pub(crate) use self::room::Use;
use crate::{
    address_book::{AddressBook, Source},
    config::Config,
    disconnect::{DisconnectReason, Misbehavior},
    io::{ConnId, Dialect, Direction, PeerHandshake, Time},
};

/// Dials under way at the same time.
const MAX_CONCURRENT_DIALS: usize = 10;

/// Further dials that are for peers that the user named: others may take long to fail.
const DIALS_KEPT_FOR_NAMED: usize = 4;

/// Identities that are remembered beyond their connections, to ban peers that have left.
const MAX_REMEMBERED_IDENTITIES: usize = 4096;

/// How long an address waits after a connection to it was in use.
const RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// How long an address waits after a refusal that will be the same at once.
const REFUSED_DELAY: Duration = Duration::from_secs(30);

/// Connections to one peer, in the dialects that request one piece at a time.
const MAX_CONNECTIONS_PER_PEER: usize = 2;

/// With more dialed peers than this each gets one connection only: they keep each other busy.
const MAX_PEERS_WITH_SECOND_CONNECTION: usize = 16;

/// Peers that are dialed while parents deliver, those included: one more than the parents and the
/// origin, to go on with when a parent fails.
const MAX_DIALED_BESIDE_PARENTS: usize = 5;

/// A connection that makes room for another one, and why.
pub(crate) type Replaced = (ConnId, DisconnectReason);

/// The open connections and the addresses of the swarm.
#[derive(Debug)]
pub(crate) struct Connections {
    peer_id: PeerId,
    listen_port: u16,
    max_peers: usize,
    max_dialed: usize,
    kept_for_dialing: usize,
    open: BTreeMap<ConnId, Connection>,
    address_book: AddressBook,
    /// Dials under way.
    dialing: usize,
    /// Addresses to which a second connection was dialed.
    second_dials: BTreeSet<SocketAddr>,
    identities: BTreeMap<ConnId, (SocketAddr, PeerId)>,
    /// Our own address as the peers see it, where a dialect needs it.
    own_host: Option<IpAddr>,
    /// Parents deliver, so that few other peers are of use.
    needs_few: bool,
    /// When a connection that is in use may make room for another one.
    next_rotation: Time,
}

impl Connections {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            peer_id: config.peer_id,
            listen_port: config.listen_port,
            max_peers: config.max_peers,
            max_dialed: config.max_dialed,
            kept_for_dialing: config.places_kept_for_dialing(),
            open: BTreeMap::new(),
            address_book: AddressBook::default(),
            dialing: 0,
            second_dials: BTreeSet::new(),
            identities: BTreeMap::new(),
            own_host: None,
            needs_few: false,
            next_rotation: Time::default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn get(&self, conn: ConnId) -> Option<&Connection> {
        self.open.get(&conn)
    }

    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.open.get_mut(&conn)
    }

    /// The open connections, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.open.values()
    }

    /// The identifiers of all connections, oldest first.
    pub(crate) fn ids(&self) -> Vec<ConnId> {
        self.open.keys().copied().collect()
    }

    /// The identifiers of the connections in a dialect, oldest first.
    pub(crate) fn ids_in(&self, dialect: Dialect) -> Vec<ConnId> {
        let speaking = self.iter().filter(|connection| connection.dialect() == dialect);
        speaking.map(Connection::conn).collect()
    }

    /// How many addresses and identities are remembered.
    pub(crate) fn remembered(&self) -> usize {
        self.address_book.len() + self.identities.len() + self.second_dials.len()
    }

    /// The connections that we dialed to an address, in a dialect.
    pub(crate) fn dialed_to(
        &self,
        addr: SocketAddr,
        dialect: Dialect,
    ) -> impl Iterator<Item = &Connection> {
        self.iter().filter(move |connection| {
            connection.addr() == addr
                && connection.direction() == Direction::Dialed
                && connection.dialect() == dialect
        })
    }

    /// The connections whose peer is reached at an address.
    pub(crate) fn ids_reached_at(&self, addr: SocketAddr) -> Vec<ConnId> {
        let reached = self.iter().filter(|connection| connection.listen_addr() == Some(addr));
        reached.map(Connection::conn).collect()
    }

    /// Where the peers in a dialect are reached, but for one connection's.
    pub(crate) fn listen_addrs_but(
        &self,
        conn: ConnId,
        dialect: Dialect,
    ) -> impl Iterator<Item = SocketAddr> {
        self.iter()
            .filter(move |other| other.conn() != conn && other.dialect() == dialect)
            .filter(|other| other.distrusted().is_none())
            .filter_map(Connection::listen_addr)
    }

    /// Our own address as the peers see it, if that is known.
    pub(crate) fn own_addr(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.own_host?, self.listen_port))
    }

    /// Whether a dialed connection to an address is open, so that the address is in use.
    /// Dials a parent that the origin named, unless it is dialed already or its address may not be
    /// dialed now. The address to dial.
    pub(crate) fn dial_parent(
        &mut self,
        now: Time,
        addr: SocketAddr,
        source: &Source,
    ) -> Option<SocketAddr> {
        self.address_book.add(now, addr, source, Dialect::BitTorrent);
        if self.dialing >= MAX_CONCURRENT_DIALS + DIALS_KEPT_FOR_NAMED {
            return None;
        }
        let addr = self.address_book.next_at(now, addr)?;
        self.dialing += 1;
        Some(addr)
    }

    /// Whether the user named a peer that speaks BitTorrent.
    pub(crate) fn is_any_named(&self) -> bool {
        self.address_book.is_any_named()
    }

    /// Whether few peers are to be dialed, because parents deliver.
    pub(crate) fn limit_dials(&mut self, needs_few: bool) {
        self.needs_few = needs_few;
    }

    /// The connection to a peer that relays, and that others reach at an address.
    pub(crate) fn relay_at(&self, addr: SocketAddr) -> Option<ConnId> {
        let is_relay = |connection: &&Connection| {
            let session = connection.session().bittorrent();
            connection.listen_addr() == Some(addr)
                && session.is_some_and(|session| session.extension().relays())
        };
        self.iter().find(is_relay).map(Connection::conn)
    }

    fn is_dialed(&self, addr: SocketAddr) -> bool {
        self.iter().any(|other| other.addr() == addr && other.direction() == Direction::Dialed)
    }

    /// Decides for each connection whether its peer is of no use.
    pub(crate) fn mark_unproductive(&mut self, is_unproductive: impl Fn(&Connection) -> bool) {
        for connection in self.open.values_mut() {
            connection.set_unproductive(is_unproductive(connection));
        }
    }

    fn may_dial(&self) -> bool {
        let max_dialed = match self.needs_few {
            true => self.max_dialed.min(MAX_DIALED_BESIDE_PARENTS),
            false => self.max_dialed,
        };
        self.dialing < MAX_CONCURRENT_DIALS
            && self.dialed_count() + self.dialing < max_dialed
            && self.open.len() + self.dialing < self.max_peers
    }

    /// Takes note of an address of a peer.
    pub(crate) fn add_address(
        &mut self,
        now: Time,
        addr: SocketAddr,
        source: &Source,
        dialect: Dialect,
    ) {
        self.address_book.add(now, addr, source, dialect);
    }

    /// The swarm is private: addresses that only peers named are forgotten (BEP 27). The
    /// connections that were dialed to them.
    pub(crate) fn forget_exchanged(&mut self) -> Vec<ConnId> {
        let forgotten = self.address_book.forget_exchanged();
        let dialed = self.iter().filter(|connection| {
            connection.direction() == Direction::Dialed && forgotten.contains(&connection.addr())
        });
        dialed.map(Connection::conn).collect()
    }

    /// Whether the user named an address.
    pub(crate) fn is_named(&self, addr: SocketAddr) -> bool {
        self.address_book.is_named(addr)
    }

    /// Whether the user named an address on a host; any host counts where the user named none.
    pub(crate) fn is_on_named_host(&self, host: IpAddr) -> bool {
        self.address_book.is_on_named_host(host)
    }

    /// The address to dial next, if there is one and a connection is allowed. It counts as being
    /// dialed from here on.
    pub(crate) fn next_dial(
        &mut self,
        now: Time,
        rng: &mut fastrand::Rng,
    ) -> Option<(SocketAddr, Dialect)> {
        let next = if self.may_dial() {
            self.address_book.next(now, rng)
        } else if self.dialing < MAX_CONCURRENT_DIALS + DIALS_KEPT_FOR_NAMED {
            // A peer that the user named is dialed beyond the limits: another makes room for it.
            self.address_book.next_named(now)
        } else {
            None
        }?;
        self.dialing += 1;
        Some(next)
    }

    /// When the next address is due, if a connection is allowed.
    pub(crate) fn next_dial_due(&self) -> Option<Time> {
        // The address book remembers the answer; the connections have to be counted.
        self.address_book.next_due().filter(|_| self.may_dial())
    }

    /// A second connection to the peer of a dialed connection, if it is worth one: without it the
    /// link is idle for a round trip between two pieces.
    pub(crate) fn second_dial(&mut self, conn: ConnId) -> Option<(SocketAddr, Dialect)> {
        let connection = self.get(conn)?;
        let (addr, dialect) = (connection.addr(), connection.dialect());
        let to_it =
            |other: &&Connection| other.addr() == addr && other.direction() == Direction::Dialed;
        let is_wanted = connection.direction() == Direction::Dialed
            && self.iter().filter(to_it).count() < MAX_CONNECTIONS_PER_PEER
            && self.dialed_count() < MAX_PEERS_WITH_SECOND_CONNECTION
            && self.may_dial();
        if !is_wanted || !self.second_dials.insert(addr) {
            return None;
        }
        self.dialing += 1;
        Some((addr, dialect))
    }

    pub(crate) fn on_dial_failed(&mut self, now: Time, addr: SocketAddr) {
        self.dialing = self.dialing.saturating_sub(1);
        // A failed second connection is no failure of the address.
        if self.is_dialed(addr) {
            self.address_book.dialed(addr);
        } else {
            self.address_book.failed(now, addr);
        }
    }

    pub(crate) fn on_dialed_ourselves(&mut self, addr: SocketAddr) {
        self.dialing = self.dialing.saturating_sub(1);
        self.address_book.ours(addr);
    }

    /// A connection is open and may be admitted. `Ok`: the connection that is to be closed for it,
    /// if any. `is_complete`: we lack nothing.
    ///
    /// # Errors
    /// When it is not wanted; nothing is kept of it.
    pub(crate) fn admit(
        &mut self,
        now: Time,
        addr: SocketAddr,
        direction: Direction,
        handshake: PeerHandshake,
        is_complete: bool,
        use_of: impl Fn(ConnId) -> Use,
    ) -> Result<Option<Replaced>, DisconnectReason> {
        if let PeerHandshake::Chunk { local } | PeerHandshake::JsonTorrent { local } = handshake {
            self.own_host.get_or_insert(local);
        }
        if direction == Direction::Dialed {
            self.dialing = self.dialing.saturating_sub(1);
            if !self.address_book.dialed(addr) {
                return Err(DisconnectReason::PrivateSwarm);
            }
        }
        let replaced =
            self.check_admission(now, addr, direction, handshake).and_then(
                |replaced| match replaced {
                    None => self.make_room(now, addr, direction, is_complete, use_of),
                    replaced => Ok(replaced),
                },
            );
        if let (Err(reason), Direction::Dialed) = (&replaced, direction) {
            let is_reached = self.iter().any(|other| other.listen_addr() == Some(addr));
            match reason {
                DisconnectReason::Ourselves => self.address_book.ours(addr),
                // It counts as busy for as long as the other connection lasts.
                DisconnectReason::DuplicateConnection if is_reached => {}
                _ => self.address_book.released(now, addr, REFUSED_DELAY),
            }
        }
        // A handshake has the info-hash, so that what answers is a peer of the swarm.
        if handshake.dialect() == Dialect::BitTorrent
            && !matches!(replaced, Err(DisconnectReason::Ourselves | DisconnectReason::Banned))
        {
            match direction {
                Direction::Dialed => self.address_book.confirm(addr),
                Direction::Accepted => self.address_book.on_peer_at(addr),
            }
        }
        replaced
    }

    /// A message was received. The first one shows that what was dialed is a peer, where no
    /// handshake does.
    pub(crate) fn on_received(&mut self, now: Time, conn: ConnId) -> Option<&mut Connection> {
        let connection = self.open.get_mut(&conn)?;
        if connection.on_received(now) && connection.direction() == Direction::Dialed {
            self.address_book.confirm(connection.addr());
        }
        Some(connection)
    }

    /// `Ok`: another connection to the same peer that is replaced, if there is one.
    fn check_admission(
        &self,
        now: Time,
        addr: SocketAddr,
        direction: Direction,
        handshake: PeerHandshake,
    ) -> Result<Option<Replaced>, DisconnectReason> {
        let peer_id = connection::peer_id_of(handshake, addr);
        if peer_id == self.peer_id {
            return Err(DisconnectReason::Ourselves);
        }
        if self.address_book.is_banned(addr, peer_id) {
            return Err(DisconnectReason::Banned);
        }
        if handshake.dialect() != Dialect::BitTorrent {
            return Ok(None);
        }
        let other = self.check_duplicate(now, addr, direction, peer_id)?;
        Ok(other.map(|other| (other, DisconnectReason::DuplicateConnection)))
    }

    /// Adds a connection that was [admitted](Self::admit).
    pub(crate) fn insert(
        &mut self,
        now: Time,
        conn: ConnId,
        addr: SocketAddr,
        direction: Direction,
        handshake: PeerHandshake,
        pieces: Option<u32>,
    ) -> &mut Connection {
        let connection = Connection::new(now, conn, addr, direction, handshake, pieces);
        self.identities.insert(conn, (addr, connection.peer_id()));
        if self.identities.len() > MAX_REMEMBERED_IDENTITIES {
            let is_open = |id: &&ConnId| **id == conn || self.open.contains_key(id);
            let gone = self.identities.keys().find(|id| !is_open(id)).copied();
            gone.map(|gone| self.identities.remove(&gone));
        }
        // An identifier is never used twice, so that the entry is vacant.
        self.open.entry(conn).or_insert(connection)
    }

    /// A connection is over; what is known of it.
    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Connection> {
        self.open.remove(&conn)
    }

    /// A connection that was removed was closed by us for a reason, or by the peer. Decides when
    /// its address is dialed again. Returns the misbehavior for which the address is given up.
    pub(crate) fn release_address(
        &mut self,
        now: Time,
        gone: &Connection,
        reason: Option<&DisconnectReason>,
    ) -> Option<Misbehavior> {
        let misbehavior = reason.and_then(DisconnectReason::misbehavior);
        let is_persistent = misbehavior.is_some_and(Misbehavior::is_persistent);
        let is_dialed = gone.direction() == Direction::Dialed;
        let given_up = misbehavior
            .filter(|_| is_dialed && self.address_book.broke_protocol(gone.addr(), is_persistent));
        if is_dialed && !gone.has_received() && gone.dialect() != Dialect::BitTorrent {
            self.address_book.on_stranger_at(now, gone.addr());
        }
        if let Some(addr) = gone.listen_addr().filter(|addr| !self.is_dialed(*addr)) {
            self.second_dials.remove(&addr);
            match reason {
                Some(DisconnectReason::NothingToTrade | DisconnectReason::Ourselves) => {
                    self.address_book.forget(addr)
                }
                // Another connection would end in the same way. (Of the addresses that we dial the
                // address book counts the failures.)
                Some(
                    DisconnectReason::Replaced
                    | DisconnectReason::Misbehaved(Misbehavior::DifferentFile),
                ) => self.address_book.released(now, addr, REFUSED_DELAY),
                Some(_) if is_persistent && !is_dialed => {
                    self.address_book.released(now, addr, REFUSED_DELAY);
                }
                Some(DisconnectReason::PeerWithdrew) => {
                    self.address_book.released(now, addr, REFUSED_DELAY);
                }
                _ => self.address_book.released(now, addr, RECONNECT_DELAY),
            }
        }
        given_up.cloned()
    }

    /// A peer said where it accepts connections.
    ///
    /// # Errors
    /// When it is banned there.
    pub(crate) fn on_listen_addr_known(
        &mut self,
        now: Time,
        conn: ConnId,
    ) -> Result<(), DisconnectReason> {
        let Some(connection) = self.open.get(&conn) else { return Ok(()) };
        let (dialect, peer_id) = (connection.dialect(), connection.peer_id());
        if let Some(addr) = connection.listen_addr() {
            if self.address_book.is_banned(addr, peer_id) {
                return Err(DisconnectReason::Banned);
            }
            self.address_book.add(now, addr, &Source::incoming(connection.addr()), dialect);
            self.address_book.connected(addr);
        }
        Ok(())
    }

    /// Bans the peer of a connection that is or was open. Its address, if the ban is new: a peer
    /// may have two connections, or have sent several corrupt pieces.
    pub(crate) fn ban(&mut self, conn: ConnId) -> Option<SocketAddr> {
        let open = self.get(conn);
        let identity = open.map(|connection| (connection.addr(), connection.peer_id()));
        let (addr, peer_id) = identity.or_else(|| self.identities.get(&conn).copied())?;
        let listen_addr = open.and_then(Connection::listen_addr).unwrap_or(addr);
        self.address_book.ban(listen_addr, peer_id).then_some(addr)
    }

    /// Bans an address alone. False when it was named by the user, which is stronger.
    pub(crate) fn ban_address(&mut self, addr: SocketAddr) -> bool {
        self.address_book.ban_alone(addr)
    }
}

#[cfg(test)]
mod tests {
    use sow_content::InfoHash;
    use sow_wire::bittorrent::Handshake;

    use super::*;

    pub(super) const NOW: Time = Time(0);

    pub(super) fn connections() -> Connections {
        let mut config = Config::new(PeerId([5; 20]), 1000, 1);
        config.max_peers = 3;
        Connections::new(&config)
    }

    pub(super) fn addr(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 1000))
    }

    pub(super) fn bittorrent(identity: u8) -> PeerHandshake {
        let (info_hash, peer_id) = (InfoHash([0; 20]), PeerId([identity; 20]));
        PeerHandshake::BitTorrent(Handshake { info_hash, peer_id, fast: true, extended: true })
    }

    pub(super) fn admit(
        connections: &mut Connections,
        host: u8,
        direction: Direction,
        identity: u8,
    ) -> Result<Option<Replaced>, DisconnectReason> {
        let in_use = |_| Use { is_wanted: true, rate: 1 };
        connections.admit(NOW, addr(host), direction, bittorrent(identity), false, in_use)
    }

    pub(super) fn connect(
        connections: &mut Connections,
        conn: u64,
        host: u8,
        direction: Direction,
    ) -> Result<Option<Replaced>, DisconnectReason> {
        let (addr, handshake) = (addr(host), bittorrent(host));
        let replaced = admit(connections, host, direction, host)?;
        connections.insert(NOW, ConnId(conn), addr, direction, handshake, None);
        Ok(replaced)
    }

    #[test]
    fn connections_are_bounded_in_number() {
        let mut ours = connections();
        for host in 1..4 {
            assert_eq!(connect(&mut ours, host.into(), host, Direction::Accepted), Ok(None));
            ours.get_mut(ConnId(host.into())).unwrap().on_exchanged(NOW);
        }
        let refused = Err(DisconnectReason::TooManyConnections);
        assert_eq!(connect(&mut ours, 4, 4, Direction::Accepted), refused);
    }

    #[test]
    fn a_banned_peer_is_refused_after_it_has_left() {
        let mut ours = connections();
        connect(&mut ours, 1, 2, Direction::Accepted).unwrap();
        ours.remove(ConnId(1));
        assert_eq!(ours.ban(ConnId(1)), Some(addr(2)));
        assert_eq!(ours.ban(ConnId(1)), None, "it is banned already");
        let refused = Err(DisconnectReason::Banned);
        assert_eq!(connect(&mut ours, 2, 2, Direction::Accepted), refused);
    }

    #[test]
    fn a_second_connection_is_dialed_once() {
        let mut ours = connections();
        connect(&mut ours, 1, 2, Direction::Dialed).unwrap();
        let second = Some((addr(2), Dialect::BitTorrent));
        assert_eq!(ours.second_dial(ConnId(1)), second);
        assert_eq!(ours.second_dial(ConnId(1)), None);
        assert_eq!(ours.next_dial(NOW, &mut fastrand::Rng::with_seed(1)), None);
    }
}
