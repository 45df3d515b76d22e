//! The machines that a download was told to fetch from: which of them were met, which are given up,
//! and whether there is any hope left. Whom to give up is the engine's affair.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use sow_engine::{Dialect, Event, Status};

use crate::exit::{Exit, Failure};

/// How long nothing may come until those who never answered are hoped for no more.
const HOPELESS: Duration = Duration::from_secs(15);

/// Named machines.
#[derive(Debug)]
pub(crate) struct Servers {
    dialect: Dialect,
    /// Who was named, and nobody else is to be heard of.
    alone: bool,
    named: Vec<SocketAddr>,
    met: BTreeSet<SocketAddr>,
    given_up: BTreeMap<SocketAddr, String>,
}

impl Servers {
    /// `alone`: nobody else was named whom to ask for peers.
    pub(crate) fn new(dialect: Dialect, named: Vec<SocketAddr>, alone: bool) -> Self {
        Self { dialect, alone, named, met: BTreeSet::new(), given_up: BTreeMap::new() }
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[SocketAddr] {
        &self.named
    }

    /// Takes in what a swarm reports. What people are to be warned of.
    pub(crate) fn note(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::PeerConnected { addr, .. } if self.named.contains(addr) => {
                self.met.insert(*addr);
                None
            }
            Event::PeerGivenUp { addr, misbehavior } if self.named.contains(addr) => {
                self.given_up.insert(*addr, misbehavior.to_string());
                Some(format!("{addr} is given up, for it went on like that: {misbehavior}"))
            }
            _ => None,
        }
    }

    /// Why nothing more is to be hoped for, if so. `idle`: for how long nothing has come.
    pub(crate) fn hopeless(&self, status: &Status, idle: Duration) -> Option<Failure> {
        let is_lost = |addr| {
            self.given_up.contains_key(addr) || (idle >= HOPELESS && !self.met.contains(addr))
        };
        // What document 1's clients have of each other nobody but a server can say to be right.
        let needed = self.dialect == Dialect::Chunk || (self.alone && status.peers.is_empty());
        if self.given_up.is_empty() || !needed || !self.named.iter().all(is_lost) {
            return None;
        }
        let has_all = status.bytes_total > 0 && status.bytes_verified == status.bytes_total;
        let (exit, what) = if has_all {
            (Exit::Unverified, "everything came, and nobody is left to say whether it is right")
        } else {
            (Exit::Unfinished, "nobody is left to fetch from")
        };
        let reasons: Vec<_> =
            self.given_up.iter().map(|(addr, why)| format!("{addr}: {why}")).collect();
        let failure = Failure::new(exit, format!("{what}: {}", reasons.join("; ")));
        Some(failure.tip(
            "check what runs there; run the same line again, with a sound server, to go on from what is here",
        ))
    }
}

#[cfg(test)]
mod tests {
    use sow_engine::{ConnId, Misbehavior};
    use sow_wire::bittorrent::PeerId;

    use super::*;

    fn addr(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    fn met(port: u16) -> Event {
        Event::PeerConnected { conn: ConnId(1), addr: addr(port), peer_id: PeerId([0; 20]) }
    }

    fn given_up(port: u16) -> Event {
        Event::PeerGivenUp { addr: addr(port), misbehavior: Misbehavior::UnsolicitedData }
    }

    #[test]
    fn there_is_hope_until_all_are_given_up() {
        let mut servers = Servers::new(Dialect::Chunk, vec![addr(1), addr(2)], true);
        let status = Status { bytes_total: 10, bytes_verified: 9, ..Status::default() };
        let hopeless =
            |servers: &Servers, idle| servers.hopeless(&status, Duration::from_secs(idle));
        assert!(hopeless(&servers, 99).is_none(), "who was never met may come");
        assert_eq!(servers.note(&met(1)), None);
        assert_eq!(servers.note(&given_up(3)), None, "a peer");
        assert!(servers.note(&given_up(1)).is_some_and(|warning| warning.contains("10.0.0.1:1")));
        assert!(hopeless(&servers, 0).is_none());
        let failure = hopeless(&servers, 15).unwrap();
        assert_eq!(failure.exit(), Exit::Unfinished);
        servers.note(&met(2));
        assert!(hopeless(&servers, 99).is_none());
        servers.note(&given_up(2));
        assert!(
            hopeless(&servers, 0).is_some_and(|failure| failure.message().contains("10.0.0.1:2"))
        );
        let all = Status { bytes_total: 10, bytes_verified: 10, ..Status::default() };
        let unverified = servers.hopeless(&all, Duration::ZERO).unwrap();
        assert_eq!(unverified.exit(), Exit::Unverified);
    }

    #[test]
    fn in_other_dialects_others_may_have_it() {
        let status = Status { bytes_total: 10, ..Status::default() };
        for (alone, is_hopeless) in [(false, false), (true, true)] {
            let mut servers = Servers::new(Dialect::BitTorrent, vec![addr(1)], alone);
            servers.note(&given_up(1));
            assert_eq!(servers.hopeless(&status, Duration::ZERO).is_some(), is_hopeless);
        }
    }
}
