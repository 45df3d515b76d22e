//! How hosts find each other, connect and lose each other: the tracker, dials, closed connections,
//! and the faults of a schedule. No bytes are carried here.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sow_engine::{
    Announce, AnnounceReply, ConnId, Dialect, Direction, DisconnectReason, Input, PeerHandshake,
};
use sow_wire::bittorrent::Handshake;

use super::{Connection, SimEvent, World, info_hash};
use crate::{faults::Fault, host::HostId};

/// How long a dial takes to fail when nothing answers.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// The beginning of the addresses at which nothing answers (RFC 2544).
const BLACK_HOLE: [u8; 2] = [198, 18];

impl World {
    /// The tracker's part of an announce.
    pub(super) fn track(&mut self, id: HostId, announce: &Announce) -> AnnounceReply {
        let (addr, peer_id) = (self.hosts[id].addr, self.hosts[id].peer_id());
        self.tracker.announce(self.now, addr, peer_id, announce)
    }

    pub(super) fn on_dialed(&mut self, from: HostId, addr: SocketAddr) {
        let at = self.host_at.get(&addr).copied();
        let to = at.filter(|&to| self.hosts[to].addr == addr && self.hosts[to].is_running());
        let is_silent = match to {
            Some(to) => self.is_half_open(to),
            None => matches!(addr.ip(), IpAddr::V4(ip) if ip.octets()[..2] == BLACK_HOLE),
        };
        if is_silent {
            let start = self.hosts[from].starts;
            let timed_out = SimEvent::DialTimedOut { from, addr, start };
            return self.schedule_after(DIAL_TIMEOUT, timed_out);
        }
        let Some(to) = to else {
            return self.input(from, Input::DialFailed { addr });
        };
        if to == from {
            return self.input(from, Input::DialedOurselves { addr });
        }
        self.last_serial += 1;
        let conn = ConnId(self.last_serial);
        self.connections.insert(conn, Connection { ends: [from, to] });
        let port = 40_000 + (conn.0 % 20_000) as u16;
        let ephemeral = SocketAddr::new(self.hosts[from].addr.ip(), port);
        for (host, other, addr, direction) in
            [(to, from, ephemeral, Direction::Accepted), (from, to, addr, Direction::Dialed)]
        {
            let peer_id = self.peer_id(other, conn);
            let handshake = match self.scenario.dialect {
                Dialect::BitTorrent => PeerHandshake::BitTorrent(Handshake {
                    info_hash: info_hash(),
                    peer_id,
                    fast: true,
                    extended: true,
                }),
                Dialect::Chunk => PeerHandshake::Chunk { local: self.hosts[host].addr.ip() },
                Dialect::JsonTorrent => {
                    PeerHandshake::JsonTorrent { local: self.hosts[host].addr.ip() }
                }
            };
            if self.hosts[host].hostile.is_some() {
                let (now, is_dialed) = (self.now, direction == Direction::Dialed);
                self.hostile_act(host, |peer| peer.on_connected(now, conn, addr, is_dialed));
            } else {
                self.input(host, Input::Connected { conn, addr, direction, handshake });
            }
        }
    }

    /// The open connections of a host.
    pub(super) fn connections_of(&self, host: HostId) -> Vec<ConnId> {
        let open = self.connections.iter().filter(|(_, open)| open.ends.contains(&host));
        open.map(|(&conn, _)| conn).collect()
    }

    /// A connection is over for a host, because the other end closed it or it broke.
    pub(super) fn on_closed(&mut self, host: HostId, conn: ConnId) {
        if self.hosts[host].hostile.is_some() {
            self.hostile_act(host, |peer| peer.on_closed(conn));
        } else {
            self.input(host, Input::Closed { conn });
        }
    }

    /// Notes that an engine takes an honest host for a misbehaving one.
    pub(super) fn note_blame(&mut self, host: HostId, conn: ConnId, reason: &DisconnectReason) {
        let (Some(misbehavior), Some(open)) = (reason.misbehavior(), self.connections.get(&conn))
        else {
            return;
        };
        let other = if open.ends[0] == host { open.ends[1] } else { open.ends[0] };
        if self.hosts[other].hostile.is_none() {
            self.wrong_blames.push((host, other, misbehavior.clone()));
        }
    }

    /// Closes a connection; the other end learns it after the delay between the two.
    pub(super) fn close_connection(&mut self, closed_by: HostId, conn: ConnId) {
        let Some(closed) = self.connections.remove(&conn) else { return };
        for host in closed.ends {
            self.hosts[host].link.close(conn);
            if host != closed_by {
                let delay = self.delay(closed_by, host);
                self.schedule_after(delay, SimEvent::Closed(host, conn));
            }
        }
    }

    pub(super) fn inject_fault(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(host) => {
                let open = self.connections_of(host);
                self.hosts[host].kill();
                open.into_iter().for_each(|conn| self.close_connection(host, conn));
            }
            Fault::Restart(host) => {
                if !self.hosts[host].is_running() {
                    self.start_host(host);
                }
            }
            Fault::CorruptUploads(host) => self.hosts[host].corrupts_uploads = true,
            Fault::BreakConnection(number) => {
                let count = self.connections.len().max(1);
                if let Some((&conn, open)) = self.connections.iter().nth(number % count) {
                    let [a, b] = open.ends;
                    self.close_connection(a, conn);
                    self.schedule_after(Duration::ZERO, SimEvent::Closed(a, conn));
                    debug_assert_ne!(a, b);
                }
            }
        }
    }
}
