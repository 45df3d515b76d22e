//! Relaying (`sow_relay`): the origin tells the members of a crowd their parents for each
//! stripe, a receiver does as it is told by an origin that the user named.

use std::{net::SocketAddr, time::Duration};

use sow_wire::bittorrent::RelayMessage;

use super::super::Engine;
use crate::{
    address_book::Source,
    config::{Choking, Integrity},
    connections::Connection,
    io::{ConnId, Dialect, Output, PeerSource, Time},
    relay::{Orphaned, Plan, Progress},
};

/// A parent may have this part less of all pieces than its child.
const SLACK_SHARE: u32 = 32;

/// The same in pieces, at least.
const MIN_SLACK: u32 = 8;

/// An origin names parents within this time after a download has begun.
const ASSIGNMENT_TIME: Duration = Duration::from_secs(1);

impl Engine {
    /// Whether requests for pieces that are not here yet are kept.
    pub(super) fn relays(&self) -> bool {
        self.may_relay() && self.is_content_ready()
    }

    fn may_relay(&self) -> bool {
        self.config.relays
            && self.config.choking == Choking::Cooperative
            && self.downloads.integrity() == Integrity::PieceHashes
    }

    /// Whether a peer is to name our parents: the user named it, and something is
    /// missing.
    pub(super) fn joins_relay(&self, connection: &Connection) -> bool {
        let is_named = connection.listen_addr().is_some_and(|addr| self.connections.is_named(addr));
        let planner = self.downloads.planner();
        is_named
            && self.may_relay()
            && !self.is_complete()
            && planner.is_none_or(|planner| planner == connection.conn())
    }

    /// Whether a peer may become a member of our crowd, so that it is offered nothing.
    pub(super) fn may_be_member(&self, conn: ConnId) -> bool {
        let Some(connection) = self.connections.get(conn).filter(|_| self.plan.is_some()) else {
            return false;
        };
        connection.session().bittorrent().is_some_and(|session| {
            let is_unknown = !session.extension().is_known()
                && session.is_extended()
                && connection.is_same_client(self.config.peer_id);
            is_unknown || session.extension().joins_relay()
        })
    }

    /// A peer said in its extension handshake whether it relays: it may be a parent that we wait
    /// for, or a member of our crowd.
    pub(super) fn on_relay_known(&mut self, now: Time, conn: ConnId) {
        let Some(connection) = self.connections.get(conn) else { return };
        let Some(session) = connection.session().bittorrent() else { return };
        let (relays, joins) = (session.extension().relays(), session.extension().joins_relay());
        let (listen_addr, have) = (connection.listen_addr(), connection.have().cloned());
        if relays
            && let Some(addr) = listen_addr
            && self.downloads.on_relay_connected(now, conn, addr)
        {
            self.begin_parent(now, conn);
        }
        if !self.may_be_member(conn) {
            self.begin_offers(now, conn);
        }
        if relays && joins && self.plan.is_some() {
            self.uploads.on_member(conn, Plan::STRIPES, have.as_ref(), &mut self.rng);
            self.change_plan(now, |plan, progress| plan.join(conn, listen_addr, progress));
        }
    }

    /// A peer said something about relaying.
    pub(super) fn on_relay_message(&mut self, now: Time, conn: ConnId, message: RelayMessage) {
        match message {
            RelayMessage::Parents(parents) => {
                let is_asked =
                    self.connections.get(conn).is_some_and(|peer| self.joins_relay(peer));
                if !is_asked || !self.is_content_ready() {
                    return;
                }
                let (rng, out) = (&mut self.rng, &mut self.out);
                let connections = &mut self.connections;
                let awaited =
                    self.downloads.assign_parents(now, conn, &parents, connections, rng, out);
                self.uploads.set_stripes(parents.len());
                self.dial_parents(now, conn, awaited);
                let parents: Vec<ConnId> = self.downloads.parents().collect();
                parents.into_iter().for_each(|parent| self.begin_parent(now, parent));
                self.request_from_all(now);
            }
            RelayMessage::Orphaned { stripe, is_at_fault } => {
                let session = self.connections.get_mut(conn);
                let session = session.and_then(|peer| peer.session_mut().bittorrent_mut());
                if session.is_some_and(|session| session.may_complain(now)) {
                    let stripe = usize::from(stripe);
                    self.change_plan(now, |plan, progress| {
                        plan.orphan(conn, stripe, is_at_fault, progress);
                    });
                }
            }
        }
    }

    /// A connection is over.
    pub(super) fn on_relay_gone(&mut self, now: Time, gone: &Connection, is_duplicate: bool) {
        let conn = gone.conn();
        if is_duplicate && let Some(addr) = gone.listen_addr() {
            self.downloads.on_duplicate_gone(now, conn, addr);
            let other = self.connections.relay_at(addr);
            if let Some(other) =
                other.filter(|&other| self.downloads.on_relay_connected(now, other, addr))
            {
                self.begin_parent(now, other);
            }
        }
        let orphaned = self.downloads.on_parent_gone(conn);
        self.report_orphaned(now, &orphaned);
        if self.plan.as_ref().is_some_and(|plan| plan.is_member(conn)) {
            self.change_plan(now, |plan, progress| plan.leave(conn, progress));
        }
    }

    /// Gives up parents that have failed, and says so to the origin.
    pub(super) fn check_parents(&mut self, now: Time) {
        let (rng, out) = (&mut self.rng, &mut self.out);
        let failed = self.downloads.give_up_parents(now, &mut self.connections, rng, out);
        self.report_orphaned(now, &failed);
    }

    /// Whether few peers are to be dialed: parents deliver, or the origin, which is just being
    /// reached, may name them.
    pub(in crate::engine) fn needs_few_peers(&self, now: Time) -> bool {
        let is_beginning = now.since(self.began_at) < ASSIGNMENT_TIME;
        self.downloads.is_relayed()
            || (is_beginning && self.may_relay() && self.connections.is_any_named())
    }

    /// Whether a peer is needed for what others get from it.
    pub(super) fn is_relay_in_use(&self, conn: ConnId) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.has_children(conn))
    }

    /// Asks a parent for its stripes.
    fn begin_parent(&mut self, now: Time, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(conn) {
            self.downloads.on_parent(now, connection, &mut self.out);
        }
        self.request_blocks(now, conn);
    }

    /// Dials parents that are not connected.
    fn dial_parents(&mut self, now: Time, planner: ConnId, awaited: Vec<SocketAddr>) {
        let Some(at) = self.connections.get(planner).map(Connection::addr) else { return };
        let source = Source::peer(PeerSource::Pex, at);
        for addr in awaited {
            if let Some(addr) = self.connections.dial_parent(now, addr, &source) {
                self.out.push_back(Output::Dial { addr, dialect: Dialect::BitTorrent });
            }
        }
    }

    fn report_orphaned(&mut self, now: Time, orphaned: &[Orphaned]) {
        let Some(planner) = self.downloads.planner() else { return };
        for &Orphaned { stripe, is_at_fault } in orphaned {
            let message = RelayMessage::Orphaned { stripe: stripe as u8, is_at_fault };
            self.send_relay(now, planner, &message);
        }
    }

    fn send_relay(&mut self, now: Time, conn: ConnId, message: &RelayMessage) {
        let session = self.connections.get(conn).and_then(|peer| peer.session().bittorrent());
        if let Some(message) = session.and_then(|session| session.relay(message)) {
            self.send_message(now, conn, message);
        }
    }

    /// Changes the plan, and tells the members whose parents changed.
    fn change_plan(&mut self, now: Time, change: impl FnOnce(&mut Plan, Progress<'_>)) {
        let Some(plan) = &mut self.plan else { return };
        let connections = &self.connections;
        let pieces_of = |conn| {
            let have = connections.get(conn).and_then(Connection::have);
            have.map_or(0, sow_content::Bitfield::count)
        };
        let slack = (self.downloads.geometry().pieces() / SLACK_SHARE).max(MIN_SLACK);
        change(plan, Progress { pieces_of: &pieces_of, slack });
        for (conn, parents) in plan.take_changed() {
            self.send_relay(now, conn, &RelayMessage::Parents(parents));
            self.offer(now, conn);
        }
    }
}
