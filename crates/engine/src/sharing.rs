//! Who takes part in a share, as far as this engine knows, and what is left to whom. How shares are
//! made is `share`'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use sow_content::Bitfield;

use crate::{
    engine::Engine,
    io::{ConnId, Dialect, Direction},
    peer::Peer,
    share::{Name, Share},
    talk::Talk,
};

impl Engine {
    /// Brings the share in what `conn` has up to date and hands it out; it is to be put back.
    /// `None` when `conn` has not everything, so that rarity decides alone, or when another program
    /// on this machine has our name, so that we would fetch the same.
    pub(crate) fn take_share(&mut self, conn: ConnId) -> Option<Share> {
        let peer = self.peers.get(&conn)?;
        let (dialect, pieces) = (peer.dialect(), peer.have().filter(|have| have.is_full())?.len());
        let me =
            Name::of(called(dialect, SocketAddr::new(self.own_host?, self.config.listen_port)));
        let others = self.machines_that_lack(dialect);
        if others.contains(&me) {
            return None;
        }
        let known = self.share.take().filter(|share| share.is_of(me, &others, pieces));
        known.or_else(|| Share::new(me, others, pieces))
    }

    /// What is not ours to fetch because its owner is about to.
    pub(crate) fn left_to_owners(&self, share: &mut Share) -> BTreeSet<u32> {
        // Of several connections to one machine, the one that knows most.
        let mut haves: BTreeMap<Name, &Bitfield> = BTreeMap::new();
        for peer in self.peers.values() {
            let (Some(name), Some(have)) = (name_of(peer), peer.have()) else { continue };
            let known = haves.entry(name).or_insert(have);
            if have.count() > known.count() {
                *known = have;
            }
        }
        share.next_of_others(|owner, piece| !haves.get(&owner).is_some_and(|have| have.get(piece)))
    }

    /// The machines that speak a dialect, can be reached, and lack something. A machine with
    /// everything may seem to lack it on a connection on which it has not said so.
    fn machines_that_lack(&self, dialect: Dialect) -> BTreeSet<Name> {
        let (mut lack, mut complete) = (BTreeSet::new(), BTreeSet::new());
        for peer in self.peers.values().filter(|peer| peer.dialect() == dialect) {
            let Some(name) = name_of(peer) else { continue };
            if peer.is_complete() || is_server(peer) {
                complete.insert(name);
            } else if is_met(peer) {
                lack.insert(name);
            }
        }
        lack.retain(|name| !complete.contains(name));
        lack
    }
}

/// Whether a peer has shown that it is there. Whoever calls in document 1's protocol may name any
/// port as his; he is met when we have called him there.
fn is_met(peer: &Peer) -> bool {
    match &peer.talk {
        Talk::Chunk(talk) => talk.is_introduced_peer(),
        Talk::BitTorrent | Talk::JsonTorrent(_) => peer.have().is_some(),
    }
}

fn is_server(peer: &Peer) -> bool {
    matches!(&peer.talk, Talk::Chunk(talk) if talk.is_server())
}

/// What everybody calls a peer by.
fn name_of(peer: &Peer) -> Option<Name> {
    let addr = match (peer.dialect(), peer.direction) {
        (Dialect::JsonTorrent, _) | (_, Direction::Dialed) => Some(peer.addr),
        (_, Direction::Accepted) => peer.listen_addr(),
    };
    addr.map(|addr| Name::of(called(peer.dialect(), addr)))
}

/// Who is called in document 2's protocol is not told the caller's port: there machines go by their
/// hosts alone.
fn called(dialect: Dialect, addr: SocketAddr) -> SocketAddr {
    match dialect {
        Dialect::JsonTorrent => SocketAddr::new(addr.ip(), 0),
        Dialect::BitTorrent | Dialect::Chunk => addr,
    }
}
