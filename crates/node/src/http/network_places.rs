//! How many long answers over HTTP are in progress at a time: bounded in all, so that peers and
//! trackers' clients keep their places and memory, and for one network. A client that takes next to
//! nothing makes room.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sow_engine::network_of;

use crate::places::Activity;

/// A bounded number of places. Clones share them.
#[derive(Debug, Clone)]
pub struct NetworkPlaces(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    per_network: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    last_id: u64,
    /// The oldest first.
    holders: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    network: IpAddr,
    /// Its connection, if it can be ended.
    connection: Option<Arc<Activity>>,
}

/// The place of one answer, until it is dropped.
#[derive(Debug)]
pub struct NetworkPlace {
    places: Arc<Shared>,
    id: u64,
}

impl NetworkPlaces {
    /// At most `limit` places, `per_network` of them for clients of one network (an IPv4 address,
    /// or the first 64 bits of an IPv6 address).
    pub fn new(limit: usize, per_network: usize) -> Self {
        Self(Arc::new(Shared { limit, per_network, taken: Mutex::default() }))
    }

    /// A place for a client at this address, if one is free.
    pub fn take(&self, client: IpAddr) -> Option<NetworkPlace> {
        self.take_for(client, None)
    }

    /// A place for the client of a connection, if one is free or another client is slow. The
    /// connection may be ended for a newcomer.
    pub(super) fn take_for(
        &self,
        client: IpAddr,
        connection: Option<Arc<Activity>>,
    ) -> Option<NetworkPlace> {
        let network = network_of(client);
        let mut taken = self.0.lock();
        let is_full = taken.holders.len() >= self.0.limit;
        let is_network_full = taken.count(network) >= self.0.per_network;
        if is_network_full {
            taken.make_room(Some(network))?;
        } else if is_full {
            taken.make_room(None)?;
        }
        taken.last_id += 1;
        let id = taken.last_id;
        taken.holders.insert(id, Holder { network, connection });
        Some(NetworkPlace { places: Arc::clone(&self.0), id })
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.0.lock().holders.len()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn count(&self, network: IpAddr) -> usize {
        self.holders.values().filter(|holder| holder.network == network).count()
    }

    /// Ends the connection of a slow client: one of this network, or else of the network that has
    /// the most places.
    fn make_room(&mut self, network: Option<IpAddr>) -> Option<()> {
        let is_slow = |holder: &Holder| holder.connection.as_ref().is_some_and(|one| one.is_slow());
        let slow = self.holders.iter().filter(|(_, holder)| {
            is_slow(holder) && network.is_none_or(|network| holder.network == network)
        });
        let (&id, _) = slow.max_by_key(|(_, holder)| self.count(holder.network))?;
        let connection = self.holders.remove(&id)?.connection?;
        connection.make_room();
        Some(())
    }
}

impl Drop for NetworkPlace {
    fn drop(&mut self) {
        self.places.lock().holders.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn one_network_leaves_places_for_others() {
        let places = NetworkPlaces::new(8, 6);
        let mut taken: Vec<_> = (0..100).filter_map(|_| places.take(client(1))).collect();
        assert_eq!(taken.len(), 6);
        taken.extend((2..100).filter_map(|last| places.take(client(last))));
        assert_eq!((taken.len(), places.taken()), (8, 8));
        taken.clear();
        assert_eq!(places.taken(), 0);
        assert!(places.take(client(1)).is_some());
    }

    #[tokio::test]
    async fn a_slow_client_makes_room_for_another_and_a_fast_one_does_not() {
        let places = NetworkPlaces::new(3, 2);
        let take = |last| {
            let connection = Arc::new(Activity::new());
            let place = places.take_for(client(last), Some(Arc::clone(&connection)));
            place.map(|place| (place, connection))
        };
        let (first, other) = (take(1).unwrap(), take(2).unwrap());
        let slow = take(1).unwrap();
        assert!(take(1).is_none() && take(3).is_none(), "no client is slow");
        slow.1.set_slow(true);
        let new = take(1).unwrap();
        slow.1.must_end().await;
        assert!(take(1).is_none() && take(3).is_none());
        drop(slow);
        assert_eq!(places.taken(), 3, "its place has another holder");
        other.1.set_slow(true);
        assert!(take(1).is_none(), "a network does not take a place of another one");
        assert!(take(3).is_some());
        drop((first, new));
    }
}
