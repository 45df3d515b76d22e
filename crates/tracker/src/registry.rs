//! All swarms of a tracker: it answers announces and scrapes. This is where the limits are
//! enforced: whatever peers send, a registry holds no more than its [`Limits`]. It knows no sockets
//! and no encoding.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sow_content::InfoHash;
use sow_wire::{
    bittorrent::PeerId,
    tracker::{AnnounceEvent, AnnounceRequest, AnnounceResponse, MAX_SCRAPE, SwarmCount},
    tracker_http::ScrapedSwarm,
};

use crate::{
    limits::{
        DEFAULT_NUMWANT, Limits, MAX_NUMWANT, interval, is_within_interval, lifetime, min_interval,
        source_of,
    },
    peer_list::Peer,
    tracked_swarm::{AnnouncingPeer, TrackedSwarm},
};

/// How many completions are kept until they are taken.
const MAX_COMPLETIONS: usize = 4096;

/// How often expired peers are removed: a peer stays listed at most this long after it expires.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(5);

/// Which swarms a registry keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Any swarm. It exists as long as it has peers.
    Open,
    /// These swarms and no others.
    Only(BTreeSet<InfoHash>),
}

/// The sender of an announce as the socket knows it. The address inside the announce is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcer {
    /// The peer's address.
    pub address: IpAddr,
    /// The address of the tracker that the peer connected to. It is where the peer can reach other
    /// peers on the tracker's machine.
    pub reached: IpAddr,
}

/// Why an announce gets no peers. The texts are for users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceRefusal {
    /// The tracker does not keep the swarm with this info-hash.
    #[error("this tracker does not know that torrent")]
    UnknownSwarm,
    /// A limit keeps the peer off the list, and there is no other peer to tell it of.
    #[error(transparent)]
    Full(#[from] Full),
}

/// A limit that keeps a peer off the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// [`Limits::swarms`].
    #[error("this tracker is full: it has {0} torrents and takes no more")]
    Swarms(usize),
    /// [`Limits::peers`].
    #[error("this tracker is full: it has {0} peers and takes no more")]
    Peers(usize),
    /// [`Limits::peers_per_swarm`].
    #[error("this torrent is full: it has {0} peers here and takes no more")]
    Swarm(usize),
    /// [`Limits::peers_per_source`].
    #[error("this tracker has {0} peers from your address and takes no more from there")]
    Source(usize),
}

/// The counters of one swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwarmReport {
    /// The info-hash of the swarm.
    pub info_hash: InfoHash,
    /// Peers that have the whole content.
    pub seeds: usize,
    /// Peers that lack a part of it.
    pub leechers: usize,
    /// Peers that completed while they were in the swarm.
    pub completed: u32,
    /// Peers that joined so far. A peer that joins again with another peer id counts again.
    pub joined: u64,
}

/// The swarms and their peers.
#[derive(Debug)]
pub struct Registry {
    open: bool,
    limits: Limits,
    swarms: BTreeMap<InfoHash, TrackedSwarm>,
    /// The number of peers from each source.
    sources: BTreeMap<IpAddr, usize>,
    /// The number of peers in all swarms.
    peers: usize,
    /// Peers that completed, in a registry that keeps certain swarms.
    completions: VecDeque<(InfoHash, SocketAddr, PeerId)>,
    next_expiry: Duration,
}

impl Registry {
    /// A registry without peers.
    pub fn new(mode: Mode, limits: Limits) -> Self {
        let (open, swarms) = match mode {
            Mode::Open => (true, BTreeMap::new()),
            Mode::Only(hashes) => {
                (false, hashes.into_iter().map(|hash| (hash, TrackedSwarm::default())).collect())
            }
        };
        Self {
            open,
            limits,
            swarms,
            sources: BTreeMap::new(),
            peers: 0,
            completions: VecDeque::new(),
            next_expiry: Duration::ZERO,
        }
    }

    /// Handles an announce. `now` is the time since any fixed moment before the first call.
    ///
    /// A peer that exceeds a limit is not listed. It still gets other peers, and a warning.
    ///
    /// # Errors
    /// When the registry does not keep this swarm, or has no room for the peer and no other peers
    /// of its swarm.
    pub fn announce(
        &mut self,
        now: Duration,
        announcer: Announcer,
        request: &AnnounceRequest,
        rng: &mut fastrand::Rng,
    ) -> Result<AnnounceResponse, AnnounceRefusal> {
        self.expire_peers(now);
        if !self.open && !self.swarms.contains_key(&request.info_hash) {
            return Err(AnnounceRefusal::UnknownSwarm);
        }
        let addr = SocketAddr::new(announcer.address.to_canonical(), request.port);
        let listed = match request.event {
            AnnounceEvent::Stopped => {
                self.remove_peer(addr, request);
                Ok(())
            }
            _ => self.list_peer(now, addr, request),
        };
        let empty = TrackedSwarm::default();
        let swarm = self.swarms.get(&request.info_hash).unwrap_or(&empty);
        if let (Err(full), 0) = (listed, swarm.len()) {
            return Err(full.into());
        }
        let announcing = AnnouncingPeer {
            addr,
            peer_id: request.peer_id,
            is_seed: request.left == 0,
            reached: announcer.reached.to_canonical(),
        };
        let wanted = match request.event {
            AnnounceEvent::Stopped => 0,
            _ => request.numwant.unwrap_or(DEFAULT_NUMWANT).min(MAX_NUMWANT) as usize,
        };
        let interval = interval(swarm.len(), self.peers);
        Ok(AnnounceResponse {
            interval,
            min_interval: Some(min_interval(interval)),
            complete: Some(saturate(swarm.seeds())),
            incomplete: Some(saturate(swarm.leechers())),
            peers: swarm.choose_peers(&announcing, wanted, rng),
            named_peers: Vec::new(),
            warning: listed.err().map(|full| full.to_string()),
            tracker_id: None,
        })
    }

    /// The counters of these swarms. Unknown swarms are left out, and so is everything after the
    /// first [`MAX_SCRAPE`].
    pub fn scrape(&mut self, now: Duration, info_hashes: &[InfoHash]) -> Vec<ScrapedSwarm> {
        self.expire_peers(now);
        let known = info_hashes.iter().take(MAX_SCRAPE).filter_map(|&info_hash| {
            let swarm = self.swarms.get(&info_hash)?;
            let (complete, incomplete) = (saturate(swarm.seeds()), saturate(swarm.leechers()));
            let count = SwarmCount { complete, downloaded: swarm.completed, incomplete };
            Some(ScrapedSwarm { info_hash, count })
        });
        known.collect()
    }

    /// The counters of all swarms, by ascending info-hash.
    pub fn swarms(&mut self, now: Duration) -> impl Iterator<Item = SwarmReport> + '_ {
        self.expire_peers(now);
        self.swarms.iter().map(|(&info_hash, swarm)| SwarmReport {
            info_hash,
            seeds: swarm.seeds(),
            leechers: swarm.leechers(),
            completed: swarm.completed,
            joined: swarm.joined,
        })
    }

    /// From now on keeps this swarm, in a registry that keeps certain swarms. `own` is the peer on
    /// the tracker's own machine that has the content, with a loopback address: it needs no
    /// announce and counts for no limit.
    pub fn keep(&mut self, info_hash: InfoHash, own: Option<(SocketAddr, PeerId)>) {
        let own = own.map(|(addr, peer_id)| Peer {
            addr,
            peer_id,
            last_announce: Duration::ZERO,
            expires: Duration::MAX,
            keeps_interval: true,
        });
        self.forget(info_hash);
        self.swarms.insert(info_hash, TrackedSwarm::with_own_seed(own));
    }

    /// Keeps this swarm no more, and forgets its peers.
    pub fn forget(&mut self, info_hash: InfoHash) {
        let Some(mut swarm) = self.swarms.remove(&info_hash) else { return };
        let (sources, peers) = (&mut self.sources, &mut self.peers);
        swarm.expire(Duration::MAX, |peer| {
            *peers -= 1;
            decrement_source(sources, peer.addr.ip());
        });
        self.completions.retain(|(hash, ..)| *hash != info_hash);
    }

    /// The peers of a swarm that said that they completed since the last call, in a registry that
    /// keeps certain swarms; the latest ones if there were very many. Nothing proves what they say.
    pub fn take_completions(&mut self, info_hash: InfoHash) -> Vec<(SocketAddr, PeerId)> {
        let mut taken = Vec::new();
        self.completions.retain(|(hash, addr, id)| {
            let is_other = *hash != info_hash;
            if !is_other {
                taken.push((*addr, *id));
            }
            is_other
        });
        taken
    }

    /// Adds or renews a peer, unless a limit prevents that. A peer without a port accepts no
    /// connections and is not listed.
    fn list_peer(
        &mut self,
        now: Duration,
        addr: SocketAddr,
        request: &AnnounceRequest,
    ) -> Result<(), Full> {
        if addr.port() == 0 {
            return Ok(());
        }
        let before = self.swarms.get(&request.info_hash).and_then(|swarm| swarm.get(addr)).copied();
        if before.is_none() {
            self.check_limits(addr.ip(), request.info_hash)?;
        }
        let swarm = self.swarms.entry(request.info_hash).or_default();
        let interval = interval(swarm.len(), self.peers);
        let before = before.filter(|before| before.peer_id == request.peer_id);
        // Only a periodic announce shows whether the peer keeps the interval.
        let keeps_interval = before.is_some_and(|before| match request.event {
            AnnounceEvent::Periodic => {
                is_within_interval(now.saturating_sub(before.last_announce), interval)
            }
            _ => before.keeps_interval,
        });
        let expires = now + lifetime(interval, keeps_interval);
        let peer_id = request.peer_id;
        let peer = Peer { addr, peer_id, last_announce: now, expires, keeps_interval };
        let (length, completed) = (swarm.len(), swarm.completed);
        swarm.insert(peer, request.left == 0, request.event == AnnounceEvent::Completed);
        if swarm.len() > length {
            self.peers += 1;
            *self.sources.entry(source_of(addr.ip())).or_default() += 1;
        }
        if swarm.completed > completed && !self.open {
            if self.completions.len() >= MAX_COMPLETIONS {
                self.completions.pop_front();
            }
            self.completions.push_back((request.info_hash, addr, peer_id));
        }
        Ok(())
    }

    /// The narrowest limit comes first: what the peer's own address has used up is not the fault
    /// of the tracker.
    fn check_limits(&self, ip: IpAddr, info_hash: InfoHash) -> Result<(), Full> {
        let Limits { swarms, peers, peers_per_swarm, peers_per_source } = self.limits;
        let from_source = self.sources.get(&source_of(ip)).copied().unwrap_or(0);
        if from_source >= peers_per_source {
            return Err(Full::Source(from_source));
        }
        match self.swarms.get(&info_hash) {
            Some(swarm) if swarm.len() >= peers_per_swarm => Err(Full::Swarm(swarm.len())),
            None if self.swarms.len() >= swarms => Err(Full::Swarms(self.swarms.len())),
            _ if self.peers >= peers => Err(Full::Peers(self.peers)),
            _ => Ok(()),
        }
    }

    /// Removes a peer if the peer id matches. A late `stopped` of an earlier process must not
    /// remove the one that was started again at the same address.
    fn remove_peer(&mut self, addr: SocketAddr, request: &AnnounceRequest) {
        let same = |id: PeerId| id == request.peer_id;
        let Some(swarm) = self.swarms.get_mut(&request.info_hash) else { return };
        if swarm.get(addr).is_some_and(|peer| same(peer.peer_id)) && swarm.remove(addr).is_some() {
            if self.open && swarm.len() == 0 {
                self.swarms.remove(&request.info_hash);
            }
            self.peers -= 1;
            decrement_source(&mut self.sources, addr.ip());
        }
    }

    /// Removes peers that have not announced for their lifetime.
    fn expire_peers(&mut self, now: Duration) {
        if now < self.next_expiry {
            return;
        }
        self.next_expiry = now + EXPIRY_INTERVAL;
        let (sources, peers) = (&mut self.sources, &mut self.peers);
        self.swarms.retain(|_, swarm| {
            swarm.expire(now, |peer| {
                *peers -= 1;
                decrement_source(sources, peer.addr.ip());
            });
            !self.open || swarm.len() > 0
        });
    }
}

fn decrement_source(sources: &mut BTreeMap<IpAddr, usize>, ip: IpAddr) {
    let source = source_of(ip);
    if let Some(count) = sources.get_mut(&source) {
        *count -= 1;
        if *count == 0 {
            sources.remove(&source);
        }
    }
}

fn saturate(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One announce. `wait` is the time since the one before, in milliseconds.
    #[derive(Debug, Clone)]
    struct Announce {
        wait: u64,
        from: IpAddr,
        request: AnnounceRequest,
    }

    prop_compose! {
        fn any_announce()(
            wait in prop_oneof![0..2000u64, 0..800_000u64],
            from in 0..4u8,
            hash in 0..3u8,
            id in 0..6u8,
            port in 0..5u16,
            left in 0..2u64,
            event in 0..4usize,
            numwant in proptest::option::of(0..9u32),
        ) -> Announce {
            use AnnounceEvent::{Completed, Periodic, Started, Stopped};
            let request = AnnounceRequest {
                info_hash: InfoHash([hash; 20]),
                peer_id: PeerId([id; 20]),
                port,
                uploaded: 0,
                downloaded: 0,
                left,
                event: [Periodic, Started, Completed, Stopped][event],
                numwant,
                key: 0,
            };
            let from = match from {
                3 => IpAddr::from([0; 16]),
                host => IpAddr::from([10, 0, 0, host]),
            };
            Announce { wait, from, request }
        }
    }

    /// The counters agree with the lists, and no limit is exceeded.
    fn check(registry: &Registry) {
        let swarms = registry.swarms.values();
        assert_eq!(swarms.map(TrackedSwarm::len).sum::<usize>(), registry.peers);
        assert_eq!(registry.sources.values().sum::<usize>(), registry.peers);
        assert!(registry.peers <= registry.limits.peers);
        assert!(registry.swarms.len() <= registry.limits.swarms);
        assert!(
            registry.swarms.values().all(|swarm| swarm.len() <= registry.limits.peers_per_swarm)
        );
        assert!(
            registry
                .sources
                .values()
                .all(|&count| 0 < count && count <= registry.limits.peers_per_source)
        );
        assert!(!registry.open || registry.swarms.values().all(|swarm| swarm.len() > 0));
    }

    proptest! {
        #[test]
        fn no_sequence_of_announces_exceeds_a_limit(
            announces in prop::collection::vec(any_announce(), 0..200),
            open: bool,
            seed: u64,
        ) {
            let hashes = [0, 1].map(|byte| InfoHash([byte; 20]));
            let mode = if open { Mode::Open } else { Mode::Only(hashes.into()) };
            let limits = Limits { swarms: 2, peers: 12, peers_per_swarm: 8, peers_per_source: 5 };
            let mut registry = Registry::new(mode, limits);
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut now = Duration::ZERO;
            for Announce { wait, from, request } in announces {
                now += Duration::from_millis(wait);
                let announcer = Announcer { address: from, reached: "10.0.0.9".parse().unwrap() };
                let answer = registry.announce(now, announcer, &request, &mut rng);
                check(&registry);
                let is_known = open || hashes.contains(&request.info_hash);
                prop_assert_eq!(answer != Err(AnnounceRefusal::UnknownSwarm), is_known);
                let Ok(answer) = answer else {
                    let swarm = registry.swarms.get(&request.info_hash);
                    prop_assert!(swarm.is_none_or(|swarm| swarm.len() == 0));
                    continue;
                };
                let numwant = request.numwant.unwrap_or(DEFAULT_NUMWANT);
                prop_assert!(answer.peers.len() <= numwant as usize);
                for peer in answer.peers {
                    prop_assert!(peer.addr.port() != 0 && peer.peer_id != Some(request.peer_id));
                    prop_assert!(peer.addr != SocketAddr::new(from, request.port));
                }
            }
            let later = now + Duration::from_secs(3600);
            let listed: usize = registry.swarms(later).map(|s| s.seeds + s.leechers).sum();
            prop_assert_eq!(listed, 0);
            check(&registry);
        }
    }
}
