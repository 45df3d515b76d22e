//! Which connections are to the same peer, and which of them is kept. An identity is what a peer
//! says: any other peer that has seen it can say the same.

use std::{net::SocketAddr, time::Duration};

use sow_wire::bittorrent::PeerId;

use super::{Connection, Connections, places::is_in_use};
use crate::{
    disconnect::DisconnectReason,
    io::{ConnId, Direction, Time},
};

/// A peer that sent nothing for this long may have lost the connection without notice, so a new one
/// of the same identity is let in.
const STALE_AFTER: Duration = Duration::from_secs(3);

impl Connections {
    /// Of two connections between the same two peers one is kept. `Ok`: the one that is closed.
    /// Other dialects have no identities by which that could be known.
    pub(super) fn check_duplicate(
        &self,
        now: Time,
        addr: SocketAddr,
        direction: Direction,
        peer_id: PeerId,
    ) -> Result<Option<ConnId>, DisconnectReason> {
        // An identity proves nothing: a peer that claims another's must neither take its place nor
        // keep us from it.
        let is_same = |other: &&Connection| {
            other.peer_id() == peer_id
                && (direction == Direction::Accepted || other.addr().ip() == addr.ip())
        };
        let is_elsewhere = |other: &Connection| other.addr().ip() != addr.ip();
        let same = self
            .iter()
            .filter(is_same)
            .max_by_key(|other| (!is_elsewhere(other), other.last_received()));
        let Some(same) = same else { return Ok(None) };
        let is_elsewhere = is_elsewhere(same);
        // A machine with two addresses needs one connection, but one that is of no use may be
        // there only to keep the owner of the identity out.
        if is_elsewhere && !is_in_use(same, now) {
            return Ok(None);
        }
        // The path may be dead, or the peer may have a new address. At another address the identity
        // may be claimed, so the other connection stays until it ends by itself.
        if now.since(same.last_received()) >= STALE_AFTER {
            return Ok((!is_elsewhere).then_some(same.conn()));
        }
        // When both dial at the same time, both keep the connection that the lower identity
        // dialed.
        let kept = if self.peer_id < peer_id { Direction::Dialed } else { Direction::Accepted };
        if is_elsewhere || same.direction() == kept || direction != kept {
            return Err(DisconnectReason::DuplicateConnection);
        }
        Ok(Some(same.conn()))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Use,
            tests::{NOW, addr, admit, bittorrent, connect, connections},
        },
        *,
    };

    #[test]
    fn of_two_connections_between_two_peers_both_keep_the_one_that_the_lower_identity_dialed() {
        let mut ours = connections();
        assert_eq!(connect(&mut ours, 1, 9, Direction::Accepted), Ok(None));
        let replaced = Some((ConnId(1), DisconnectReason::DuplicateConnection));
        assert_eq!(connect(&mut ours, 2, 9, Direction::Dialed), Ok(replaced));
        let mut ours = connections();
        assert_eq!(connect(&mut ours, 1, 2, Direction::Accepted), Ok(None));
        let refused = Err(DisconnectReason::DuplicateConnection);
        assert_eq!(connect(&mut ours, 2, 2, Direction::Dialed), refused);
    }

    #[test]
    fn a_claimed_identity_takes_no_place() {
        let mut ours = connections();
        assert_eq!(connect(&mut ours, 1, 2, Direction::Dialed), Ok(None));
        let claimed = admit(&mut ours, 3, Direction::Accepted, 2);
        assert_eq!(claimed, Err(DisconnectReason::DuplicateConnection));
        assert_eq!(admit(&mut ours, 3, Direction::Dialed, 2), Ok(None));
    }

    #[test]
    fn a_new_connection_of_a_peer_that_is_silent_is_let_in() {
        let later = NOW + STALE_AFTER;
        let mut ours = connections();
        assert_eq!(connect(&mut ours, 1, 2, Direction::Accepted), Ok(None));
        let admit = |ours: &mut Connections, now, host| {
            ours.admit(now, addr(host), Direction::Accepted, bittorrent(2), false, |_| {
                Use::default()
            })
        };
        let refused = Err(DisconnectReason::DuplicateConnection);
        assert_eq!(admit(&mut ours, NOW, 2), refused);
        let replaced = Some((ConnId(1), DisconnectReason::DuplicateConnection));
        assert_eq!(admit(&mut ours, later, 2), Ok(replaced));
        assert_eq!(admit(&mut ours, later, 3), Ok(None), "its address may have changed");
        ours.get_mut(ConnId(1)).unwrap().on_received(later);
        assert_eq!(admit(&mut ours, later, 2), refused);
    }

    #[test]
    fn a_claimed_identity_that_is_of_no_use_keeps_its_owner_out_for_a_moment() {
        let refused = Err(DisconnectReason::DuplicateConnection);
        for (moves_data, expected) in [(false, Ok(None)), (true, refused.clone())] {
            let mut ours = connections();
            assert_eq!(connect(&mut ours, 1, 2, Direction::Accepted), Ok(None));
            assert_eq!(admit(&mut ours, 3, Direction::Accepted, 2), refused);
            let later = NOW + STALE_AFTER;
            let claimed = ours.get_mut(ConnId(1)).unwrap();
            claimed.on_received(later);
            if moves_data {
                claimed.on_exchanged(later);
            }
            let owner = (addr(3), bittorrent(2));
            let admitted =
                ours.admit(later, owner.0, Direction::Accepted, owner.1, false, |_| Use::default());
            assert_eq!(admitted, expected);
        }
    }
}
