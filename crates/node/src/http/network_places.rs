//! How many long answers over HTTP are in progress at a time: bounded in all, so that peers and
//! trackers' clients keep their places and memory, and for one network.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sow_engine::network_of;

/// A bounded number of places. Clones share them.
#[derive(Debug, Clone)]
pub struct NetworkPlaces(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    per_network: usize,
    taken: Mutex<BTreeMap<IpAddr, usize>>,
}

/// The place of one answer, until it is dropped.
#[derive(Debug)]
pub struct NetworkPlace {
    places: Arc<Shared>,
    network: IpAddr,
}

impl NetworkPlaces {
    /// At most `limit` places, `per_network` of them for clients of one network (an IPv4 address,
    /// or the first 64 bits of an IPv6 address).
    pub fn new(limit: usize, per_network: usize) -> Self {
        Self(Arc::new(Shared { limit, per_network, taken: Mutex::default() }))
    }

    /// A place for a client at this address, if one is free.
    pub fn take(&self, client: IpAddr) -> Option<NetworkPlace> {
        let network = network_of(client);
        let mut taken = self.0.lock();
        let own = taken.get(&network).copied().unwrap_or(0);
        if own >= self.0.per_network || taken.values().sum::<usize>() >= self.0.limit {
            return None;
        }
        taken.insert(network, own + 1);
        Some(NetworkPlace { places: Arc::clone(&self.0), network })
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.0.lock().values().sum()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NetworkPlace {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(count) = taken.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_leaves_places_for_others() {
        let places = NetworkPlaces::new(8, 6);
        let client = |last| IpAddr::from([10, 0, 0, last]);
        let mut taken: Vec<_> = (0..100).filter_map(|_| places.take(client(1))).collect();
        assert_eq!(taken.len(), 6);
        taken.extend((2..100).filter_map(|last| places.take(client(last))));
        assert_eq!((taken.len(), places.taken()), (8, 8));
        taken.clear();
        assert_eq!(places.taken(), 0);
        assert!(places.0.lock().is_empty() && places.take(client(1)).is_some());
    }
}
