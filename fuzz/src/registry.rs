//! The tracker's registries: sequences of announces, scrapes and probes at any times, from a few
//! addresses to a few swarms with small limits. Nothing exceeds a limit, answers fit their
//! requests, and who was listed is listed for as long as was promised and no longer.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use sow_content::InfoHash;
use sow_tracker::{
    AnnounceRefusal, Announcer, Full, JsonLimits, JsonRegistry, Limits, Mode, Registry,
};
use sow_wire::{
    bittorrent::PeerId,
    json_torrent::tracker::{Event, Reply, Request},
    tracker::{AnnounceEvent, AnnounceRequest, AnnounceResponse},
};

const LIMITS: Limits = Limits { swarms: 3, peers: 10, peers_per_swarm: 6, peers_per_source: 4 };

/// A peer stays listed at least this long, and at most so long, in swarms of this size.
const MIN_LIFETIME: Duration = Duration::from_secs(75);
const MAX_LIFETIME: Duration = Duration::from_secs(665);

/// The most peers of a response.
const MAX_PEERS: usize = 200;

/// One operation: six bytes.
struct Operation {
    kind: u8,
    wait: Duration,
    address: IpAddr,
    port: u16,
    swarm: u8,
    detail: u8,
}

/// Runs the operations that the input says on a registry of each kind.
pub fn registry(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    let operations = || data.as_chunks::<6>().0.iter().map(operation);
    let only = BTreeSet::from([info_hash(0), info_hash(1)]);
    let mode = if first & 1 == 0 { Mode::Open } else { Mode::Only(only) };
    run(Registry::new(mode.clone(), LIMITS), mode == Mode::Open, operations());
    run_json(operations());
}

fn operation(bytes: &[u8; 6]) -> Operation {
    let [kind, wait, address, port, swarm, detail] = *bytes;
    // From milliseconds to hours.
    let wait = Duration::from_millis(u64::from(wait & 15) << (wait >> 4));
    Operation { kind, wait, address: address_of(address), port: port.into(), swarm, detail }
}

fn address_of(byte: u8) -> IpAddr {
    match byte >> 6 {
        0 => Ipv4Addr::new(10, 0, 0, byte & 7).into(),
        1 => Ipv4Addr::LOCALHOST.into(),
        2 => Ipv4Addr::new(10, 0, 0, byte & 7).to_ipv6_mapped().into(),
        _ => Ipv6Addr::new(0x2001, 0xdb8, (byte & 1).into(), 0, 0, 0, 0, byte.into()).into(),
    }
}

fn info_hash(byte: u8) -> InfoHash {
    InfoHash([byte; 20])
}

/// The peers of a swarm that announced and did not leave, and when they did last.
type Announced = BTreeMap<(u8, SocketAddr), (PeerId, Duration)>;

fn run(mut registry: Registry, is_open: bool, operations: impl Iterator<Item = Operation>) {
    let (mut rng, mut now) = (fastrand::Rng::with_seed(1), Duration::ZERO);
    let mut announced = Announced::new();
    for operation in operations {
        now += operation.wait;
        if operation.kind == u8::MAX {
            now += Duration::from_secs(3600);
        }
        let request = announce_of(&operation);
        let announcer = Announcer {
            address: operation.address,
            reached: Ipv4Addr::new(10, 9, 9, 9 * (operation.detail & 1)).into(),
        };
        let response = registry.announce(now, announcer, &request, &mut rng);
        let key =
            (operation.swarm % 5, SocketAddr::new(operation.address.to_canonical(), request.port));
        match &response {
            Ok(response) => {
                check_response(response, key.1, &request);
                match request.event {
                    AnnounceEvent::Stopped => {
                        announced.retain(|at, (id, _)| *at != key || *id != request.peer_id);
                    }
                    _ if response.warning.is_none() && request.port > 0 => {
                        announced.insert(key, (request.peer_id, now));
                    }
                    _ => {}
                }
            }
            Err(refusal) => check_refusal(*refusal, is_open, operation.swarm % 5),
        }
        check_counts(&mut registry, now, is_open, &announced);
    }
    (0..5).for_each(|swarm| _ = registry.take_completions(info_hash(swarm)));
    now += Duration::from_secs(2 * 3600);
    let left = registry.swarms(now).map(|swarm| swarm.seeds + swarm.leechers).sum::<usize>();
    assert_eq!(left, 0, "all expire");
}

fn announce_of(operation: &Operation) -> AnnounceRequest {
    let detail = operation.detail;
    AnnounceRequest {
        info_hash: info_hash(operation.swarm % 5),
        peer_id: PeerId([operation.kind >> 4 & 3; 20]),
        port: operation.port,
        uploaded: 0,
        downloaded: 0,
        left: u64::from(detail & 2),
        event: match operation.kind & 7 {
            0 => AnnounceEvent::Stopped,
            1 => AnnounceEvent::Completed,
            2 => AnnounceEvent::Periodic,
            _ => AnnounceEvent::Started,
        },
        numwant: [None, Some(0), Some(u32::from(detail >> 3)), Some(u32::MAX)]
            [usize::from(detail >> 6)],
        key: 0,
    }
}

fn check_response(response: &AnnounceResponse, from: SocketAddr, request: &AnnounceRequest) {
    let addrs: BTreeSet<SocketAddr> = response.peers.iter().map(|peer| peer.addr).collect();
    assert_eq!(addrs.len(), response.peers.len(), "an address stands twice");
    assert!(!addrs.contains(&from) && addrs.iter().all(|addr| addr.port() > 0));
    assert!(from.ip().is_loopback() || !addrs.iter().any(|addr| addr.ip().is_loopback()));
    let wanted = request.numwant.map_or(50, |wanted| wanted.min(MAX_PEERS as u32)) as usize;
    let wanted = if request.event == AnnounceEvent::Stopped { 0 } else { wanted };
    assert!(addrs.len() <= wanted, "{} of {wanted}", addrs.len());
    assert!((30..=1800).contains(&response.interval.as_secs()));
    assert!(response.min_interval.is_some_and(|least| least <= response.interval));
}

fn check_refusal(refusal: AnnounceRefusal, is_open: bool, swarm: u8) {
    match refusal {
        AnnounceRefusal::UnknownSwarm => assert!(!is_open && swarm > 1),
        AnnounceRefusal::Full(Full::Swarms(count)) => assert_eq!(count, LIMITS.swarms),
        AnnounceRefusal::Full(Full::Peers(count)) => assert_eq!(count, LIMITS.peers),
        AnnounceRefusal::Full(Full::Swarm(count)) => assert_eq!(count, LIMITS.peers_per_swarm),
        AnnounceRefusal::Full(Full::Source(count)) => assert_eq!(count, LIMITS.peers_per_source),
    }
}

/// Limits hold; a scrape says the same as the report; no peer is forgotten or kept for too long.
fn check_counts(registry: &mut Registry, now: Duration, is_open: bool, announced: &Announced) {
    let reports: Vec<_> = registry.swarms(now).collect();
    let length = |at: usize| reports[at].seeds + reports[at].leechers;
    let total: usize = (0..reports.len()).map(length).sum();
    assert!(total <= LIMITS.peers && reports.len() <= LIMITS.swarms);
    let hashes: Vec<InfoHash> = reports.iter().map(|report| report.info_hash).collect();
    let scraped = registry.scrape(now, &hashes);
    assert_eq!(scraped.len(), reports.len());
    for (at, (report, scraped)) in reports.iter().zip(&scraped).enumerate() {
        assert!(length(at) <= LIMITS.peers_per_swarm && (length(at) > 0 || !is_open));
        assert_eq!(scraped.count.complete as usize, report.seeds);
        assert_eq!(scraped.count.incomplete as usize, report.leechers);
    }
    for swarm in 0..5 {
        let within = |limit: Duration| {
            let of_it = announced.iter().filter(|((of, _), _)| *of == swarm);
            of_it.filter(|(_, (_, at))| now - *at < limit).count()
        };
        let at = reports.iter().position(|report| report.info_hash == info_hash(swarm));
        let listed = at.map_or(0, length);
        let (least, most) = (within(MIN_LIFETIME), within(MAX_LIFETIME));
        assert!((least..=most).contains(&listed), "{least} <= {listed} <= {most}");
    }
}

fn run_json(operations: impl Iterator<Item = Operation>) {
    let limits = JsonLimits { peers: 10, peers_per_source: 4, ..JsonLimits::default() };
    let mut registry = JsonRegistry::new(limits);
    let (mut rng, mut now) = (fastrand::Rng::with_seed(1), Duration::ZERO);
    for operation in operations {
        now += operation.wait;
        let addr = SocketAddr::new(operation.address.to_canonical(), operation.port.max(1));
        if operation.kind & 8 != 0 {
            for probed in registry.due_probes(now) {
                let was_removed = registry.on_probed(probed, operation.detail & 1 == 0, now);
                assert_eq!(was_removed, !registry.peers(now).contains(&probed));
            }
            assert!(registry.due_probes(now).is_empty(), "each is probed once");
            continue;
        }
        let (address, reached) = (operation.address, Ipv4Addr::new(10, 9, 9, 9).into());
        let event = match operation.kind & 7 {
            0 => Event::Stopped,
            1 => Event::Completed,
            _ => Event::Started,
        };
        let request = Request { ip: None, port: addr.port(), peer_id: String::new(), event };
        let was_listed = registry.peers(now).contains(&addr);
        let announcer = Announcer { address, reached };
        match registry.answer(now, announcer, &request, &mut rng) {
            Reply::Joined(peers) => assert!(event == Event::Started && !peers.contains(&addr)),
            Reply::Left => assert!(event != Event::Started && was_listed),
            Reply::Error(_) => assert!(event != Event::Started && !was_listed),
        }
        let peers = registry.peers(now);
        let same = |peer: &&SocketAddr| peer.ip() == addr.ip();
        assert!(peers.len() <= limits.peers);
        assert!(peers.iter().filter(same).count() <= limits.peers_per_source);
        assert_eq!(was_listed && event == Event::Started, was_listed && peers.contains(&addr));
    }
    assert!(registry.peers(now + Duration::from_secs(2 * 3600)).is_empty(), "all expire");
}
