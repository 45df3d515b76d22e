//! Tests of the address book.

use super::*;

const BT: Dialect = Dialect::BitTorrent;

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn at(ms: u64) -> Time {
    Time(ms * 1000)
}

#[test]
fn named_addresses_come_first_and_each_once() {
    let mut book = AddressBook::default();
    let mut rng = fastrand::Rng::with_seed(1);
    (2001..2005)
        .for_each(|port| book.add(at(0), addr(port), &Source::of_input(PeerSource::Pex), BT));
    book.add(at(0), addr(2009), &Source::of_input(PeerSource::Named), BT);
    book.add(at(0), addr(0), &Source::of_input(PeerSource::Named), BT);
    assert_eq!(book.next(at(0), &mut rng), Some((addr(2009), BT)));
    let mut rest: Vec<_> =
        std::iter::from_fn(|| book.next(at(0), &mut rng)).map(|(addr, _)| addr).collect();
    rest.sort_unstable();
    assert_eq!(rest, (2001..2005).map(addr).collect::<Vec<_>>());
}

#[test]
fn a_failing_address_backs_off_and_is_forgotten() {
    let mut book = AddressBook::default();
    let mut rng = fastrand::Rng::with_seed(1);
    book.add(at(0), addr(2001), &Source::of_input(PeerSource::Tracker), BT);
    let mut now = at(0);
    let mut waits = Vec::new();
    while book.next(now, &mut rng).is_some() {
        book.failed(now, addr(2001));
        let Some(due) = book.next_due() else { break };
        waits.push(due.since(now).as_millis());
        now = due;
    }
    assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 32000]);
}

#[test]
fn a_named_address_is_retried_without_end_at_short_intervals() {
    let mut book = AddressBook::default();
    let mut rng = fastrand::Rng::with_seed(1);
    book.add(at(0), addr(2001), &Source::of_input(PeerSource::Named), BT);
    let mut now = at(0);
    for _ in 0..100 {
        assert_eq!(book.next(now, &mut rng), Some((addr(2001), BT)));
        book.failed(now, addr(2001));
        let due = book.next_due().unwrap();
        assert!(due.since(now) <= MAX_RETRY_DELAY_NAMED);
        now = due;
    }
}

#[test]
fn an_address_with_faults_waits_longer_each_time_and_is_given_up() {
    let mut book = AddressBook::default();
    let mut rng = fastrand::Rng::with_seed(1);
    book.add(at(0), addr(2001), &Source::of_input(PeerSource::Named), BT);
    let (mut now, mut rests) = (at(0), Vec::new());
    while book.next(now, &mut rng).is_some() {
        let given_up = book.broke_protocol(addr(2001), false);
        book.released(now, addr(2001), Duration::from_millis(500));
        assert_eq!(given_up, book.next_due().is_none());
        let Some(due) = book.next_due() else { break };
        rests.push(due.since(now).as_millis());
        now = due;
    }
    assert_eq!(rests, [1000, 2000, 4000, 8000, 16000]);
    // Nothing brings it back.
    book.add(now, addr(2001), &Source::of_input(PeerSource::Named), BT);
    book.released(now, addr(2001), Duration::ZERO);
    assert!(book.next_due().is_none() && book.next_named(now).is_none());
    assert!(book.is_named(addr(2001)));
    book.add(now, addr(2002), &Source::of_input(PeerSource::Tracker), BT);
    let faults = (0..9).position(|_| book.broke_protocol(addr(2002), true));
    assert_eq!(faults, Some(2), "persistent misbehavior counts twice");
}

#[test]
fn a_ban_holds_by_peer_id_and_address_and_three_by_host() {
    let mut book = AddressBook::default();
    let id = |n| PeerId([n; 20]);
    assert!(book.ban(addr(2001), id(1)));
    assert!(!book.ban(addr(2001), id(1)), "it is banned already");
    assert!(book.is_banned(addr(2001), id(9)) && book.is_banned(addr(2002), id(1)));
    assert!(!book.is_banned(addr(2002), id(2)), "another peer on the same host is not banned");
    book.ban(addr(2002), id(2));
    book.ban(addr(2003), id(3));
    assert!(book.is_banned(addr(2004), id(4)));
    let local = SocketAddr::from(([127, 0, 0, 1], 4));
    (0..5).for_each(|n| _ = book.ban(SocketAddr::new(local.ip(), 100 + n), id(100 + n as u8)));
    assert!(!book.is_banned(local, id(4)));
}

/// Dials all that may be dialed for `seconds`; `answers` says where a peer is. How many dials were
/// made to each address.
fn dial_all(
    book: &mut AddressBook,
    seconds: u64,
    answers: impl Fn(SocketAddr) -> bool,
) -> BTreeMap<SocketAddr, usize> {
    let (mut rng, mut now, mut dials) = (fastrand::Rng::with_seed(1), at(0), BTreeMap::new());
    loop {
        while let Some((addr, _)) = book.next(now, &mut rng) {
            *dials.entry(addr).or_default() += 1;
            if answers(addr) {
                book.dialed(addr);
                book.confirm(addr);
            } else {
                book.failed(now, addr);
            }
        }
        match book.next_due() {
            Some(due) if due <= at(seconds * 1000) => now = now.max(due),
            _ => return dials,
        }
    }
}

fn tracker(number: u16) -> Source {
    Source::tracker(number, Some("10.0.0.250:6969".parse().unwrap()))
}

fn pex(host: u8) -> Source {
    Source::peer(PeerSource::Pex, SocketAddr::from(([10, 0, 1, host], 7000)))
}

#[test]
fn a_source_cannot_direct_the_swarm_at_a_host() {
    for source in [tracker(0), pex(1), Source::of_input(PeerSource::Link)] {
        let mut book = AddressBook::default();
        (1..=3000).for_each(|port| book.add(at(0), addr(port), &source, BT));
        let dials = dial_all(&mut book, 30, |_| false);
        assert!(dials.values().sum::<usize>() <= 13, "{source:?}: {dials:?}");
        assert!(dials.keys().all(|addr| addr.port() >= 1024));
        // The addresses of one link are one host.
        let mut book = AddressBook::default();
        (1..=3000u16).for_each(|n| {
            let ip = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n);
            book.add(at(0), SocketAddr::new(ip.into(), 9000), &source, BT);
        });
        assert!(dial_all(&mut book, 30, |_| false).len() <= 13);
    }
}

#[test]
fn a_source_cannot_direct_the_swarm_at_many_hosts() {
    let mut book = AddressBook::default();
    for n in 0..1000u32 {
        let ip = std::net::Ipv4Addr::from(0x0b00_0000 + n);
        book.add(at(0), SocketAddr::new(ip.into(), 9000), &tracker(0), BT);
    }
    let dials = dial_all(&mut book, 29, |_| false);
    assert_eq!(dials.values().sum::<usize>(), 60);
}

#[test]
fn a_crowd_behind_one_address_is_found_at_once() {
    // Two of three ports are those of receivers that have gone.
    let mut book = AddressBook::default();
    (2000..2180).for_each(|port| book.add(at(0), addr(port), &tracker(0), BT));
    let dials = dial_all(&mut book, 0, |addr| addr.port() % 3 == 0);
    let found = dials.keys().filter(|addr| addr.port() % 3 == 0).count();
    assert!(found >= 55, "{found}");
}

#[test]
fn a_hostile_source_does_not_keep_others_waiting() {
    let mut book = AddressBook::default();
    (2000..2500).for_each(|port| book.add(at(0), addr(port), &tracker(0), BT));
    let honest = |host: u8| SocketAddr::from(([10, 0, 2, host], 9000));
    (1..9).for_each(|host| book.add(at(0), honest(host), &pex(1), BT));
    let mut rng = fastrand::Rng::with_seed(1);
    let mut order = Vec::new();
    while let Some((addr, _)) = book.next(at(0), &mut rng) {
        order.push(addr);
        book.failed(at(0), addr);
    }
    let last = order.iter().rposition(|addr| *addr == honest(8)).unwrap();
    assert!(last <= 16, "{order:?}");
    // What two sources named comes first.
    let seconded = SocketAddr::from(([10, 0, 3, 1], 9000));
    book.add(at(0), SocketAddr::from(([10, 0, 3, 2], 9000)), &pex(1), BT);
    book.add(at(0), seconded, &pex(2), BT);
    book.add(at(0), seconded, &pex(1), BT);
    assert_eq!(book.next(at(0), &mut rng), Some((seconded, BT)));
}

#[test]
fn a_named_address_on_the_host_of_a_flood_is_dialed_all_the_same() {
    let mut book = AddressBook::default();
    (2000..2500).for_each(|port| book.add(at(0), addr(port), &tracker(0), BT));
    dial_all(&mut book, 0, |_| false);
    book.add(at(0), addr(80), &Source::of_input(PeerSource::Named), BT);
    assert_eq!(book.next(at(0), &mut fastrand::Rng::with_seed(1)), Some((addr(80), BT)));
}

#[test]
fn dials_that_hang_leave_room_for_other_hosts_and_sources() {
    let mut book = AddressBook::default();
    let mut rng = fastrand::Rng::with_seed(1);
    (2000..2100).for_each(|port| book.add(at(0), addr(port), &tracker(0), BT));
    let under_way = std::iter::from_fn(|| book.next(at(0), &mut rng)).count();
    assert_eq!((under_way, book.next_due()), (4, None));
    (1..99).for_each(|host| {
        book.add(at(0), SocketAddr::from(([10, 9, 0, host], 9000)), &tracker(0), BT);
    });
    assert_eq!(std::iter::from_fn(|| book.next(at(0), &mut rng)).count(), 2);
    book.add(at(0), SocketAddr::from(([10, 9, 1, 1], 9000)), &tracker(1), BT);
    assert!(book.next(at(0), &mut rng).is_some());
}

#[test]
fn a_private_swarm_forgets_what_only_peers_named() {
    let mut book = AddressBook::default();
    let mut rng = fastrand::Rng::with_seed(1);
    let exchanged = SocketAddr::from(([10, 0, 4, 1], 9000));
    book.add(at(0), exchanged, &pex(1), BT);
    assert_eq!(book.next(at(0), &mut rng), Some((exchanged, BT)));
    book.add(at(0), addr(2001), &pex(1), BT);
    book.add(at(0), addr(2002), &pex(1), BT);
    book.add(at(0), addr(2002), &tracker(0), BT);
    book.add(at(0), addr(2003), &Source::of_input(PeerSource::Link), BT);
    assert_eq!(book.forget_exchanged(), [addr(2001), exchanged].into());
    assert!(!book.dialed(exchanged), "it is not wanted when it answers");
    let mut rest: Vec<_> =
        std::iter::from_fn(|| book.next(at(0), &mut rng)).map(|(addr, _)| addr).collect();
    rest.sort_unstable();
    assert_eq!(rest, [addr(2002), addr(2003)]);
}

#[test]
fn memory_is_bounded_and_a_flood_displaces_its_own() {
    let mut book = AddressBook::default();
    let flood = |book: &mut AddressBook, source: &Source, prefix: u8| {
        for n in 0..600u32 {
            let ip = std::net::Ipv4Addr::from(u32::from(prefix) << 24 | n);
            book.add(at(0), SocketAddr::new(ip.into(), 9000), source, BT);
        }
    };
    book.add(at(0), addr(9000), &pex(1), BT);
    book.add(at(0), addr(9001), &tracker(1), BT);
    flood(&mut book, &tracker(0), 20);
    assert_eq!(book.known.len(), 2 + MAX_ADDRESSES_PER_TRACKER);
    (2..22).for_each(|host| flood(&mut book, &pex(host), 30 + host));
    assert_eq!(book.known.len(), MAX_KNOWN_ADDRESSES);
    assert!(book.known.contains_key(&addr(9000)) && book.known.contains_key(&addr(9001)));
    book.add(at(0), addr(9002), &tracker(2), BT);
    assert!(book.known.contains_key(&addr(9002)), "a new source has its share");
    for n in 0..2 * MAX_ALLOWANCES as u32 {
        let at = SocketAddr::new(std::net::Ipv4Addr::from(n).into(), 9000);
        book.on_peer_at(at);
        book.ban(at, PeerId([1; 20]));
    }
    assert!(book.hosts.len() <= MAX_ALLOWANCES && book.banned.len() <= MAX_BANS);
    assert!(book.banned_identities.len() <= MAX_BANS && book.bans_of_host.len() <= MAX_BANS);
}
