//! All swarms of a tracker, and the announces and scrapes that they answer. The bounds are kept
//! here: whatever comes, a registry holds no more than its [`Limits`].

use std::{
    collections::{BTreeMap, BTreeSet},
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
    limits::{Limits, MAX_NUMWANT, NUMWANT, interval, is_prompt, lifetime, min_interval, source},
    roster::Peer,
    swarm::{Asker, Swarm},
};

/// How often peers that are gone are looked for: a peer is listed that much too long at most.
const SWEEP: Duration = Duration::from_secs(5);

/// Which swarms a registry keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Any; a swarm begins with its first peer and ends with its last.
    Open,
    /// These.
    Only(BTreeSet<InfoHash>),
}

/// Where an announce comes from, as the socket knows it. What the announce says of its address is
/// not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcer {
    /// The peer's address.
    pub address: IpAddr,
    /// The tracker's own address that it was reached by: peers on the tracker's machine are to be
    /// found there.
    pub reached: IpAddr,
}

/// The info-hash is none of those that the tracker keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this tracker does not know that torrent")]
pub struct UnknownSwarm;

/// What is known of one swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwarmReport {
    /// Which swarm.
    pub info_hash: InfoHash,
    /// Peers that have everything.
    pub seeds: usize,
    /// Peers that have not.
    pub leechers: usize,
    /// Peers that were seen to complete.
    pub completed: u32,
    /// Peers that came so far; one that comes again under another name counts again.
    pub seen: u64,
}

/// Who is in which swarm.
#[derive(Debug)]
pub struct Registry {
    open: bool,
    limits: Limits,
    swarms: BTreeMap<InfoHash, Swarm>,
    /// How many peers are listed from each source.
    sources: BTreeMap<IpAddr, usize>,
    /// How many peers are listed.
    peers: usize,
    next_sweep: Duration,
}

impl Registry {
    /// A registry with nobody in it.
    pub fn new(mode: Mode, limits: Limits) -> Self {
        let (open, swarms) = match mode {
            Mode::Open => (true, BTreeMap::new()),
            Mode::Only(hashes) => {
                (false, hashes.into_iter().map(|hash| (hash, Swarm::default())).collect())
            }
        };
        Self {
            open,
            limits,
            swarms,
            sources: BTreeMap::new(),
            peers: 0,
            next_sweep: Duration::ZERO,
        }
    }

    /// Takes an announce and answers it. `now` is the time since the registry's world began.
    ///
    /// A peer that there is no room for is told of others all the same, and warned that they are
    /// not told of it.
    ///
    /// # Errors
    /// When the swarm is none that the registry keeps.
    pub fn announce(
        &mut self,
        now: Duration,
        caller: Announcer,
        request: &AnnounceRequest,
        rng: &mut fastrand::Rng,
    ) -> Result<AnnounceResponse, UnknownSwarm> {
        self.sweep(now);
        if !self.open && !self.swarms.contains_key(&request.info_hash) {
            return Err(UnknownSwarm);
        }
        let addr = SocketAddr::new(caller.address.to_canonical(), request.port);
        let listed = match request.event {
            AnnounceEvent::Stopped => {
                self.leave(addr, request);
                true
            }
            _ => self.enter(now, addr, request),
        };
        let empty = Swarm::default();
        let swarm = self.swarms.get(&request.info_hash).unwrap_or(&empty);
        let asker = Asker {
            addr,
            peer_id: request.peer_id,
            is_seed: request.left == 0,
            reached: caller.reached.to_canonical(),
        };
        let wanted = match request.event {
            AnnounceEvent::Stopped => 0,
            _ => request.numwant.unwrap_or(NUMWANT).min(MAX_NUMWANT) as usize,
        };
        let interval = interval(swarm.len(), self.peers);
        Ok(AnnounceResponse {
            interval,
            min_interval: Some(min_interval(interval)),
            complete: Some(saturate(swarm.seeds())),
            incomplete: Some(saturate(swarm.leechers())),
            peers: swarm.choose(&asker, wanted, rng),
            warning: (!listed)
                .then(|| "the tracker has no room for more peers from your address".to_owned()),
            tracker_id: None,
        })
    }

    /// The numbers of swarms; one that is not known is left out, and so is what comes after
    /// [`MAX_SCRAPE`].
    pub fn scrape(&mut self, now: Duration, info_hashes: &[InfoHash]) -> Vec<ScrapedSwarm> {
        self.sweep(now);
        let known = info_hashes.iter().take(MAX_SCRAPE).filter_map(|&info_hash| {
            let swarm = self.swarms.get(&info_hash)?;
            let (complete, incomplete) = (saturate(swarm.seeds()), saturate(swarm.leechers()));
            let count = SwarmCount { complete, downloaded: swarm.completed, incomplete };
            Some(ScrapedSwarm { info_hash, count })
        });
        known.collect()
    }

    /// All swarms, by ascending info-hash.
    pub fn swarms(&mut self, now: Duration) -> impl Iterator<Item = SwarmReport> + '_ {
        self.sweep(now);
        self.swarms.iter().map(|(&info_hash, swarm)| SwarmReport {
            info_hash,
            seeds: swarm.seeds(),
            leechers: swarm.leechers(),
            completed: swarm.completed,
            seen: swarm.seen,
        })
    }

    /// Lists a peer, or hears of it again. False: there is no room. Who cannot be called need not
    /// be listed.
    fn enter(&mut self, now: Duration, addr: SocketAddr, request: &AnnounceRequest) -> bool {
        if addr.port() == 0 {
            return true;
        }
        let before = self.swarms.get(&request.info_hash).and_then(|swarm| swarm.get(addr)).copied();
        if before.is_none() && !self.has_room(addr.ip(), request.info_hash) {
            return false;
        }
        let swarm = self.swarms.entry(request.info_hash).or_default();
        let interval = interval(swarm.len(), self.peers);
        let before = before.filter(|before| before.peer_id == request.peer_id);
        // Only an announce at the interval tells of the peer's habits.
        let prompt = before.is_some_and(|before| match request.event {
            AnnounceEvent::Periodic => is_prompt(now.saturating_sub(before.heard), interval),
            _ => before.prompt,
        });
        let expires = now + lifetime(interval, prompt);
        let peer = Peer { addr, peer_id: request.peer_id, heard: now, expires, prompt };
        let length = swarm.len();
        swarm.put(peer, request.left == 0, request.event == AnnounceEvent::Completed);
        if swarm.len() > length {
            self.peers += 1;
            *self.sources.entry(source(addr.ip())).or_default() += 1;
        }
        true
    }

    fn has_room(&self, ip: IpAddr, info_hash: InfoHash) -> bool {
        let from_source = self.sources.get(&source(ip)).copied().unwrap_or(0);
        let in_swarm = match self.swarms.get(&info_hash) {
            Some(swarm) => swarm.len() < self.limits.peers_per_swarm,
            None => self.swarms.len() < self.limits.swarms,
        };
        in_swarm && self.peers < self.limits.peers && from_source < self.limits.peers_per_source
    }

    /// Takes a peer off the list, if it is the one that is there: a receiver that was started again
    /// at the same address must not be struck off by the last word of its predecessor.
    fn leave(&mut self, addr: SocketAddr, request: &AnnounceRequest) {
        let same = |id: PeerId| id == request.peer_id;
        let Some(swarm) = self.swarms.get_mut(&request.info_hash) else { return };
        if swarm.get(addr).is_some_and(|peer| same(peer.peer_id)) && swarm.remove(addr).is_some() {
            if self.open && swarm.len() == 0 {
                self.swarms.remove(&request.info_hash);
            }
            self.peers -= 1;
            release(&mut self.sources, addr.ip());
        }
    }

    /// Takes out who was not heard of for too long.
    fn sweep(&mut self, now: Duration) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP;
        let (sources, peers) = (&mut self.sources, &mut self.peers);
        self.swarms.retain(|_, swarm| {
            swarm.expire(now, |peer| {
                *peers -= 1;
                release(sources, peer.addr.ip());
            });
            !self.open || swarm.len() > 0
        });
    }
}

fn release(sources: &mut BTreeMap<IpAddr, usize>, ip: IpAddr) {
    let source = source(ip);
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

    /// One announce, its time counted from the one before.
    #[derive(Debug, Clone)]
    struct Call {
        wait: u64,
        from: IpAddr,
        request: AnnounceRequest,
    }

    prop_compose! {
        fn any_call()(
            wait in prop_oneof![0..2000u64, 0..800_000u64], from in 0..4u8, hash in 0..3u8, id in 0..6u8,
            port in 0..5u16, left in 0..2u64, event in 0..4usize, numwant in proptest::option::of(0..9u32),
        ) -> Call {
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
            let from = if from == 3 { IpAddr::from([0; 16]) } else { IpAddr::from([10, 0, 0, from]) };
            Call { wait, from, request }
        }
    }

    /// The books agree with what is listed, and nothing is beyond its bound.
    fn check(registry: &Registry) {
        let swarms = registry.swarms.values();
        assert_eq!(swarms.map(Swarm::len).sum::<usize>(), registry.peers);
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
        fn the_bounds_hold_whatever_comes(calls in prop::collection::vec(any_call(), 0..200), open: bool, seed: u64) {
            let hashes = [0, 1].map(|byte| InfoHash([byte; 20]));
            let mode = if open { Mode::Open } else { Mode::Only(hashes.into()) };
            let limits = Limits { swarms: 2, peers: 12, peers_per_swarm: 8, peers_per_source: 5 };
            let mut registry = Registry::new(mode, limits);
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut now = Duration::ZERO;
            for Call { wait, from, request } in calls {
                now += Duration::from_millis(wait);
                let caller = Announcer { address: from, reached: "10.0.0.9".parse().unwrap() };
                let answer = registry.announce(now, caller, &request, &mut rng);
                check(&registry);
                prop_assert_eq!(answer.is_ok(), open || hashes.contains(&request.info_hash));
                let Ok(answer) = answer else { continue };
                prop_assert!(answer.peers.len() <= request.numwant.unwrap_or(NUMWANT) as usize);
                for peer in answer.peers {
                    prop_assert!(peer.addr.port() != 0 && peer.peer_id != Some(request.peer_id));
                    prop_assert!(peer.addr != SocketAddr::new(from, request.port));
                }
            }
            prop_assert_eq!(registry.swarms(now + Duration::from_secs(3600)).map(|s| s.seeds + s.leechers).sum::<usize>(), 0);
            check(&registry);
        }
    }
}
