//! Which machines fetch the same file from the same seed, as far as this engine knows, and which
//! pieces are left to which. How pieces are assigned is in `rendezvous`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use sow_content::Bitfield;

use super::{
    Downloads,
    rendezvous::{Machine, Rendezvous},
};
use crate::{
    connections::{Connection, Connections},
    io::{ConnId, Dialect, Direction},
    session::{Session, chunk::Role},
};

impl Downloads {
    /// Brings the assignment of the pieces of a seed up to date. False when there is none for this
    /// peer: it has not everything, so that rarity alone decides; or another program on this
    /// machine has our identity, so that both would fetch the same.
    pub(super) fn refresh_assignment(&mut self, connections: &Connections, conn: ConnId) -> bool {
        let Some(connection) = connections.get(conn).filter(|peer| peer.is_complete()) else {
            return false;
        };
        let (Some(addr), Some(have)) = (connections.own_addr(), connection.have()) else {
            return false;
        };
        let dialect = connection.dialect();
        let me = Machine::at(common_addr(dialect, addr));
        let others = machines_that_lack(connections, dialect);
        if others.contains(&me) {
            return false;
        }
        let pieces = have.len();
        if !self.rendezvous.as_ref().is_some_and(|known| known.is_of(me, &others, pieces)) {
            self.rendezvous = Rendezvous::new(me, others, pieces);
        }
        self.rendezvous.is_some()
    }

    /// The pieces that are left to their owners, which are about to fetch them.
    pub(super) fn left_to_owners(&mut self, connections: &Connections) -> BTreeSet<u32> {
        // Of several connections to one machine, the one that knows most.
        let mut haves: BTreeMap<Machine, &Bitfield> = BTreeMap::new();
        for connection in connections.iter() {
            let (Some(machine), Some(have)) = (machine_of(connection), connection.have()) else {
                continue;
            };
            let known = haves.entry(machine).or_insert(have);
            if have.count() > known.count() {
                *known = have;
            }
        }
        let lacks = |owner, piece| !haves.get(&owner).is_some_and(|have| have.get(piece));
        self.rendezvous.as_mut().map_or_else(BTreeSet::new, |shares| shares.next_of_others(lacks))
    }
}

/// The machines that speak a dialect, can be reached, and lack something. A machine that has
/// everything may seem to lack it on a connection on which it has not said so.
fn machines_that_lack(connections: &Connections, dialect: Dialect) -> BTreeSet<Machine> {
    let (mut lacking, mut complete) = (BTreeSet::new(), BTreeSet::new());
    for connection in connections.iter().filter(|other| other.dialect() == dialect) {
        let Some(machine) = machine_of(connection) else { continue };
        if connection.is_complete() || is_server(connection.session()) {
            complete.insert(machine);
        } else if is_proven(connection.session()) {
            lacking.insert(machine);
        }
    }
    lacking.retain(|machine| !complete.contains(machine));
    lacking
}

/// Whether a peer is known to be where it says. A chunk client may name any port as its own, so
/// that only one counts that we have dialed and that has answered.
fn is_proven(session: &Session) -> bool {
    match session.chunk() {
        Some(chunk) => chunk.requester().is_some_and(|peer| peer.role() == Role::Peer),
        None => session.have().is_some(),
    }
}

fn is_server(session: &Session) -> bool {
    let requester = session.chunk().and_then(|chunk| chunk.requester());
    requester.is_some_and(|requester| requester.is_server())
}

/// The machine at the other end of a connection, as every machine calls it.
fn machine_of(connection: &Connection) -> Option<Machine> {
    let addr = match (connection.dialect(), connection.direction()) {
        (Dialect::JsonTorrent, _) | (_, Direction::Dialed) => Some(connection.addr()),
        (_, Direction::Accepted) => connection.listen_addr(),
    };
    addr.map(|addr| Machine::at(common_addr(connection.dialect(), addr)))
}

/// The address by which every machine knows another one. json-torrent does not say the port of a
/// peer that connects, so its machines are known by their hosts alone.
fn common_addr(dialect: Dialect, addr: SocketAddr) -> SocketAddr {
    match dialect {
        Dialect::JsonTorrent => SocketAddr::new(addr.ip(), 0),
        Dialect::BitTorrent | Dialect::Chunk => addr,
    }
}
