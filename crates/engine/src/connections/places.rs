//! Which connection makes room for a new one when places are scarce: plain data in, a connection
//! out. Nothing is closed here, and a place that is free needs no decision.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use super::Connection;
use crate::io::{ConnId, Time};

/// A connection that moved data within this time is in use.
const ACTIVE_TIME: Duration = Duration::from_secs(10);

/// A new peer that wants something needs a moment to ask for it: until then it goes after others.
const GRACE_TIME: Duration = Duration::from_secs(2);

/// A connection in use keeps its place for this long at least, and at most one of them makes room
/// in each [`ROTATION_INTERVAL`]. So slow peers cannot hold all places for ever.
const MIN_ACTIVE_TENURE: Duration = Duration::from_secs(10);

/// See [`MIN_ACTIVE_TENURE`].
pub(super) const ROTATION_INTERVAL: Duration = Duration::from_secs(1);

/// The oldest connections that have moved data never make room: however many new peers come, some
/// known ones stay.
const PROTECTED_OLDEST: usize = 4;

/// A network that has more than one part in this many of all places makes room first.
const NETWORK_SHARE: usize = 8;

/// What is known of a connection that has a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occupant {
    pub(crate) conn: ConnId,
    /// See [`network_of`].
    pub(crate) network: IpAddr,
    /// The user named its address.
    pub(crate) is_named: bool,
    /// The first message of its dialect was received.
    pub(crate) is_introduced: bool,
    /// One of both sides wants something of the other.
    pub(crate) is_wanted: bool,
    pub(crate) connected_at: Time,
    /// When it moved a block, in either direction, last.
    pub(crate) exchanged_at: Option<Time>,
    /// Bytes a second, in both directions.
    pub(crate) rate: u64,
}

/// How useful a connection is; the least useful first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Usefulness {
    /// It has not even said what its dialect says first.
    Mute,
    /// Neither side wants anything, and no data has moved.
    Idle,
    /// It wants something and has not got anything yet.
    Waiting,
    /// It moved data, but not lately.
    Former,
    /// It waits, and came a moment ago.
    New,
    /// It moved data lately.
    Active,
}

/// Whether a connection moves data, or has had no time for it yet.
pub(super) fn is_in_use(connection: &Connection, now: Time) -> bool {
    let age = now.since(connection.connected_at());
    let is_active = |at| now.since(at) < ACTIVE_TIME;
    age < GRACE_TIME || connection.exchanged_at().is_some_and(is_active)
}

/// What counts as one network when places are shared out: an IPv4 address, or the 64 bits of an
/// IPv6 address that one site gets (RFC 4291, 2.5.4), in which a machine chooses its addresses at
/// will.
pub fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            let [a, b, c, d, ..] = segments;
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        ip => ip,
    }
}

/// The connection that makes room for a new one from `network`, if any may. `places`: how many
/// there are. `may_rotate`: one that is in use may make room.
pub(crate) fn least_useful(
    occupants: &[Occupant],
    network: IpAddr,
    places: usize,
    may_rotate: bool,
    now: Time,
) -> Option<ConnId> {
    let mut per_network: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for occupant in occupants {
        *per_network.entry(occupant.network).or_default() += 1;
    }
    let share = (places / NETWORK_SHARE).max(1);
    let has_more = |network: &IpAddr| per_network.get(network).is_some_and(|&count| count > share);
    // A crowded network does not replace connections of others that were of use.
    let is_crowded = has_more(&network);
    let usefulness_of = |occupant: &Occupant| match usefulness_of(occupant, now) {
        Usefulness::New if has_more(&occupant.network) => Usefulness::Waiting,
        usefulness => usefulness,
    };
    let protected = protected_oldest(occupants);
    let may_go = |occupant: &&Occupant| {
        let usefulness = usefulness_of(occupant);
        let is_settled = now.since(occupant.connected_at) >= MIN_ACTIVE_TENURE;
        !(occupant.is_named
            || protected.contains(&occupant.conn)
            || is_crowded && !has_more(&occupant.network) && usefulness >= Usefulness::Former
            || usefulness == Usefulness::Active && !(may_rotate && is_settled))
    };
    let rank = |occupant: &&Occupant| {
        let usefulness = usefulness_of(occupant);
        let rate = if usefulness == Usefulness::Active { occupant.rate } else { 0 };
        let used_at = occupant.exchanged_at.unwrap_or(occupant.connected_at);
        (usefulness, !has_more(&occupant.network), rate, used_at, occupant.conn)
    };
    occupants.iter().filter(may_go).min_by_key(rank).map(|occupant| occupant.conn)
}

/// Whether a connection is in use, so that it makes room only in a rotation.
pub(crate) fn is_active(occupant: &Occupant, now: Time) -> bool {
    usefulness_of(occupant, now) == Usefulness::Active
}

fn usefulness_of(occupant: &Occupant, now: Time) -> Usefulness {
    match occupant.exchanged_at {
        Some(at) if now.since(at) < ACTIVE_TIME => Usefulness::Active,
        Some(_) => Usefulness::Former,
        None if !occupant.is_introduced => Usefulness::Mute,
        None if !occupant.is_wanted => Usefulness::Idle,
        None if now.since(occupant.connected_at) < GRACE_TIME => Usefulness::New,
        None => Usefulness::Waiting,
    }
}

/// The oldest connections among those that have moved data.
fn protected_oldest(occupants: &[Occupant]) -> BTreeSet<ConnId> {
    let mut used: Vec<(Time, ConnId)> = occupants
        .iter()
        .filter(|occupant| occupant.exchanged_at.is_some())
        .map(|occupant| (occupant.connected_at, occupant.conn))
        .collect();
    used.sort_unstable();
    // With few places, most of them stay open to others.
    let count = PROTECTED_OLDEST.min(occupants.len() / 4);
    used.into_iter().take(count).map(|(_, conn)| conn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: usize = 16;
    const NOW: Time = Time(60_000_000);

    fn seconds(time: u64) -> Time {
        Time(time * 1_000_000)
    }

    fn network(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    /// A connection, each from a network of its own, that came second after second and is idle.
    fn idle(n: u8) -> Occupant {
        Occupant {
            conn: ConnId(n.into()),
            network: network(n),
            is_named: false,
            is_introduced: true,
            is_wanted: false,
            connected_at: seconds(n.into()),
            exchanged_at: None,
            rate: 0,
        }
    }

    fn active(n: u8) -> Occupant {
        Occupant { is_wanted: true, exchanged_at: Some(NOW), rate: 1000 - u64::from(n), ..idle(n) }
    }

    fn replaced(occupants: &[Occupant], from: u8, may_rotate: bool) -> Option<u64> {
        least_useful(occupants, network(from), PLACES, may_rotate, NOW).map(|conn| conn.0)
    }

    #[test]
    fn the_least_useful_connection_makes_room_first() {
        let mute = Occupant { is_introduced: false, ..idle(7) };
        let waiting = Occupant { is_wanted: true, ..idle(2) };
        let former = Occupant { exchanged_at: Some(seconds(30)), ..idle(3) };
        let new = Occupant { is_wanted: true, connected_at: seconds(59), ..idle(4) };
        let mut all = vec![active(1), new, former, waiting, idle(6), idle(5), mute];
        for expected in [7, 5, 6, 2] {
            assert_eq!(replaced(&all, 99, false), Some(expected));
            all.retain(|occupant| occupant.conn.0 != expected);
        }
        // The oldest that has moved data would be protected if there were more places.
        assert_eq!(replaced(&all, 99, false), Some(3));
    }

    #[test]
    fn of_equals_one_of_a_crowded_network_makes_room_first() {
        let mut all: Vec<Occupant> = (1..10).map(idle).collect();
        for occupant in &mut all[4..] {
            occupant.network = network(200);
        }
        assert_eq!(replaced(&all, 99, false), Some(5));
        // And it takes no place that was of use to another network.
        for occupant in &mut all {
            occupant.exchanged_at = Some(seconds(30));
        }
        assert_eq!(replaced(&all, 200, false), Some(5));
        all.iter_mut().skip(4).for_each(|occupant| occupant.is_named = true);
        assert_eq!(replaced(&all, 200, false), None);
        assert_eq!(replaced(&all, 99, false), Some(3), "two are the oldest");
    }

    #[test]
    fn connections_in_use_stay_but_for_the_slowest_in_a_rotation() {
        let all: Vec<Occupant> = (1..=16).map(active).collect();
        assert_eq!(replaced(&all, 99, false), None);
        assert_eq!(replaced(&all, 99, true), Some(16));
        let young: Vec<Occupant> =
            all.iter().map(|active| Occupant { connected_at: seconds(51), ..*active }).collect();
        assert_eq!(replaced(&young, 99, true), None);
    }

    #[test]
    fn named_peers_and_the_oldest_that_have_moved_data_stay() {
        let former = |n| Occupant { exchanged_at: Some(seconds(20)), ..idle(n) };
        let mut all: Vec<Occupant> = (1..=16).map(former).collect();
        all[4].is_named = true;
        assert_eq!(replaced(&all, 99, false), Some(6));
    }

    #[test]
    fn a_site_with_ipv6_counts_as_one_network() {
        let network = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2::7"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::7"), network("2001:db8:1:3::7"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
    }
}
