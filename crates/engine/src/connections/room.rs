//! How a new connection gets a place: while there is room it takes a free one, and then one of the
//! least useful connections. The choice is in `places`.

use std::net::SocketAddr;

use super::{
    Connection, Connections, Replaced,
    places::{Occupant, ROTATION_INTERVAL, is_active, least_useful, network_of},
};
use crate::{
    disconnect::DisconnectReason,
    io::{ConnId, Direction, Time},
};

/// What the other parts know of a connection, for the choice of the one that makes room.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Use {
    /// One of both sides is interested.
    pub(crate) is_wanted: bool,
    /// Bytes a second, in both directions.
    pub(crate) rate: u64,
}

impl Connections {
    /// A connection that was removed is kept all the same.
    pub(crate) fn put_back(&mut self, connection: Connection) {
        self.open.insert(connection.conn(), connection);
    }

    /// The dialed connections that count for the limit: a peer that is of no use does not keep us
    /// from dialing another one.
    pub(super) fn dialed_count(&self) -> usize {
        let counts = |other: &&Connection| {
            other.direction() == Direction::Dialed && !other.is_unproductive()
        };
        self.iter().filter(counts).count()
    }

    /// The connection that makes room for a new one, if there is no free place for it.
    pub(super) fn make_room(
        &mut self,
        now: Time,
        addr: SocketAddr,
        direction: Direction,
        is_complete: bool,
        use_of: impl Fn(ConnId) -> Use,
    ) -> Result<Option<Replaced>, DisconnectReason> {
        // Peers that connect to us must not keep us from dialing.
        let kept = if is_complete { 0 } else { self.kept_for_dialing };
        let is_dialed = direction == Direction::Dialed;
        let accepted = self.open.len() - self.dialed_count();
        let has_room = self.open.len() < self.max_peers
            && (is_dialed || accepted < self.max_peers.saturating_sub(kept));
        if has_room {
            return Ok(None);
        }
        let may_go = |other: &&Connection| is_dialed || other.direction() == Direction::Accepted;
        let occupants: Vec<Occupant> = self
            .iter()
            .filter(|other| kept == 0 || may_go(other))
            .map(|other| self.occupant(other, use_of(other.conn())))
            .collect();
        let may_rotate = now >= self.next_rotation;
        let network = network_of(addr.ip());
        let replaced = least_useful(&occupants, network, self.max_peers, may_rotate, now)
            .ok_or(DisconnectReason::TooManyConnections)?;
        if occupants.iter().any(|other| other.conn == replaced && is_active(other, now)) {
            self.next_rotation = now + ROTATION_INTERVAL;
        }
        Ok(Some((replaced, DisconnectReason::Replaced)))
    }

    fn occupant(&self, connection: &Connection, used: Use) -> Occupant {
        Occupant {
            conn: connection.conn(),
            network: network_of(connection.addr().ip()),
            is_named: connection.direction() == Direction::Dialed
                && self.address_book.is_named(connection.addr()),
            is_introduced: connection.session().is_introduced(),
            is_wanted: used.is_wanted,
            connected_at: connection.connected_at(),
            exchanged_at: connection.exchanged_at(),
            rate: used.rate,
        }
    }
}
