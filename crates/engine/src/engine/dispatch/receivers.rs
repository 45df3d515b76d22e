//! Reports of receivers (`sow_receiver`): what becomes of our copy is told to the peers that
//! collect such reports, and what others report is handed on to the origin's user.

use sow_wire::bittorrent::ReceiverReport;

use super::super::Engine;
use crate::{
    connections::Connection,
    io::{ConnId, Dialect, Event, Time},
};

impl Engine {
    /// This is what became of our copy: peers that collect reports are told, those that connect
    /// later too.
    pub(in crate::engine) fn report_copy(&mut self, now: Time, report: ReceiverReport) {
        self.copy_report = Some(report);
        for conn in self.connections.ids_in(Dialect::BitTorrent) {
            self.send_copy_report(now, conn);
        }
    }

    /// Reports our copy to a peer, if it is one to which that is told.
    ///
    /// A report has the name of this machine, and a peer that knows the id of a copy can report in
    /// its stead. So where the user named an origin, only that host is told.
    pub(super) fn send_copy_report(&mut self, now: Time, conn: ConnId) {
        let Some(report) = &self.copy_report else { return };
        let Some(addr) = self.connections.get(conn).map(Connection::addr) else { return };
        if !self.connections.is_on_named_host(addr.ip()) {
            return;
        }
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let session = connection.session_mut().bittorrent_mut();
        if let Some(message) = session.and_then(|session| session.receiver_report(report)) {
            let state = report.state.clone();
            connection.send_message(now, message, &mut self.out);
            self.event(Event::CopyReported { addr, state });
        }
    }

    /// A peer reported its copy.
    pub(super) fn on_receiver_report(&mut self, conn: ConnId, report: ReceiverReport) {
        let Some(connection) = self.connections.get(conn) else { return };
        if self.config.collects_receivers {
            let addr = connection.listen_addr().unwrap_or(connection.addr());
            let peer_id = connection.peer_id();
            self.event(Event::ReceiverReported { conn, addr, peer_id, report });
        }
    }
}
