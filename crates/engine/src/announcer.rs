//! When to announce to which tracker (BEP 3, tiers after BEP 12). No requests, no peers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::io::{AnnounceEvent, Dialect, Time};

const FIRST_RETRY_DELAY: Duration = Duration::from_secs(1);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);
/// An interval that a tracker asks for is never shorter than this.
const MIN_ANNOUNCE_INTERVAL: Duration = Duration::from_secs(5);
const MAX_ANNOUNCE_INTERVAL: Duration = Duration::from_secs(3600);
/// A tracker's `min interval` is kept up to this while peers are needed.
const MAX_MIN_INTERVAL: Duration = Duration::from_secs(120);

/// The scheme of the URLs of json-torrent trackers.
pub const JSON_TRACKER: &str = "json-torrent://";

/// The trackers of a torrent or a link that are asked: the first 64, and of those at one host name
/// the first four. So a torrent cannot send everything that loads it to one machine.
pub fn limit_trackers(tiers: &[Vec<String>]) -> Vec<Vec<String>> {
    let (mut count, mut hosts) = (0, BTreeMap::<&str, usize>::new());
    let mut is_asked = |host| {
        let at_host = hosts.entry(host).or_default();
        let is_asked = *at_host < MAX_TRACKERS_PER_HOST && count < MAX_TRACKERS;
        *at_host += usize::from(is_asked);
        count += usize::from(is_asked);
        is_asked
    };
    let mut limited = Vec::new();
    for tier in tiers {
        let urls: Vec<String> = tier.iter().filter(|url| is_asked(host_of(url))).cloned().collect();
        if !urls.is_empty() {
            limited.push(urls);
        }
    }
    limited
}

/// The host name in a tracker's URL, or the URL itself if it has none.
fn host_of(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else { return url };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

/// The dialect of the peers that a tracker names.
pub(crate) fn dialect_of(url: &str) -> Dialect {
    if url.starts_with(JSON_TRACKER) { Dialect::JsonTorrent } else { Dialect::BitTorrent }
}

/// The limit of trackers that are asked: a torrent can name any number.
const MAX_TRACKERS: usize = 64;

/// The limit of trackers at one host name, on different ports or paths.
const MAX_TRACKERS_PER_HOST: usize = 4;

/// Announces under way at the same time.
const MAX_CONCURRENT_ANNOUNCES: usize = 20;

/// The trackers of a swarm, and when each is due. One tracker of each tier is asked; when it fails,
/// the next one.
#[derive(Debug)]
pub(crate) struct Announcer {
    tiers: Vec<Tier>,
    /// The host names of the trackers.
    hosts: Vec<String>,
}

#[derive(Debug)]
struct Tier {
    urls: Vec<Tracker>,
    /// The one that is asked.
    current: usize,
    due: Time,
    /// The tracker allows no announce of need before this.
    earliest: Time,
    waiting: bool,
    failures: u32,
    completed: bool,
}

#[derive(Debug)]
struct Tracker {
    url: String,
    /// It was sent a `started` event.
    started: bool,
}

impl Announcer {
    /// The order within a tier is random (BEP 12).
    pub(crate) fn new(tiers: &[Vec<String>], now: Time, rng: &mut fastrand::Rng) -> Self {
        let tiers = limit_trackers(tiers);
        let hosts: BTreeSet<String> =
            tiers.iter().flatten().map(|url| host_of(url).to_owned()).collect();
        let tiers = tiers.into_iter().map(|urls| {
            let mut urls: Vec<Tracker> =
                urls.into_iter().map(|url| Tracker { url, started: false }).collect();
            rng.shuffle(&mut urls);
            Tier {
                urls,
                current: 0,
                due: now,
                earliest: now,
                waiting: false,
                failures: 0,
                completed: false,
            }
        });
        let tiers = tiers.collect();
        let hosts = hosts.into_iter().collect();
        Self { tiers, hosts }
    }

    /// The number of a tracker's host name, for what is counted together.
    pub(crate) fn number_of(&self, url: &str) -> u16 {
        let number = self.hosts.iter().position(|host| host == host_of(url));
        number.and_then(|number| number.try_into().ok()).unwrap_or(u16::MAX)
    }

    /// No announce to a tracker can succeed: it is not asked again.
    pub(crate) fn remove(&mut self, url: &str) {
        for tier in &mut self.tiers {
            let Some(at) = tier.urls.iter().position(|tracker| tracker.url == url) else {
                continue;
            };
            tier.urls.remove(at);
            tier.waiting &= at != tier.current;
            if at < tier.current {
                tier.current -= 1;
            }
            if tier.current >= tier.urls.len() {
                tier.current = 0;
            }
        }
        self.tiers.retain(|tier| !tier.urls.is_empty());
    }

    /// The announces that are due. Each counts as under way until [`Announcer::on_answer`].
    pub(crate) fn due(&mut self, now: Time) -> Vec<(String, AnnounceEvent)> {
        let places = self.places();
        let due = self.tiers.iter_mut().filter(|tier| !tier.waiting && tier.due <= now);
        due.take(places)
            .map(|tier| {
                tier.waiting = true;
                let tracker = &tier.urls[tier.current];
                let event = match (tracker.started, tier.completed) {
                    (false, _) => AnnounceEvent::Started,
                    (true, true) => AnnounceEvent::Completed,
                    (true, false) => AnnounceEvent::Periodic,
                };
                if event == AnnounceEvent::Completed {
                    tier.completed = false;
                }
                (tracker.url.clone(), event)
            })
            .collect()
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Time> {
        if self.places() == 0 {
            return None;
        }
        self.tiers.iter().filter(|tier| !tier.waiting).map(|tier| tier.due).min()
    }

    /// Announces that may be begun.
    fn places(&self) -> usize {
        let waiting = self.tiers.iter().filter(|tier| tier.waiting).count();
        MAX_CONCURRENT_ANNOUNCES.saturating_sub(waiting)
    }

    /// A tracker answered: `Some` with its interval, bounded by `at_most`, and the least one that
    /// it allows; `None` when it failed.
    pub(crate) fn on_answer(
        &mut self,
        now: Time,
        url: &str,
        interval: Option<(Duration, Duration)>,
        at_most: Duration,
    ) {
        let Some(tier) =
            self.tiers.iter_mut().find(|tier| tier.waiting && tier.urls[tier.current].url == url)
        else {
            return;
        };
        tier.waiting = false;
        if let Some((interval, least)) = interval {
            let least = least.min(MAX_MIN_INTERVAL);
            tier.earliest = now + least;
            tier.failures = 0;
            tier.urls[tier.current].started = true;
            let working = tier.urls.remove(tier.current);
            tier.urls.insert(0, working);
            tier.current = 0;
            let interval = interval.clamp(MIN_ANNOUNCE_INTERVAL, MAX_ANNOUNCE_INTERVAL);
            tier.due = if tier.completed {
                now
            } else {
                now + interval.min(at_most.max(MIN_ANNOUNCE_INTERVAL).max(least))
            };
        } else {
            tier.failures += 1;
            tier.current = (tier.current + 1) % tier.urls.len();
            // The other trackers of the tier are tried at once; after a whole round the tier waits.
            let rounds = tier.failures / tier.urls.len() as u32;
            let wait = match (tier.current, rounds) {
                (1.., _) | (_, 0) => Duration::ZERO,
                (0, rounds) => {
                    FIRST_RETRY_DELAY.saturating_mul(1 << (rounds - 1).min(10)).min(MAX_RETRY_DELAY)
                }
            };
            tier.due = now + wait;
        }
    }

    /// Every tracker is due at `latest`, or as soon as it allows.
    pub(crate) fn hurry(&mut self, latest: Time) {
        self.tiers.iter_mut().for_each(|tier| tier.due = tier.due.min(latest.max(tier.earliest)));
    }

    /// Everything is verified: trackers that know of us are sent a `completed` event soon.
    pub(crate) fn on_complete(&mut self, now: Time) {
        for tier in &mut self.tiers {
            if tier.waiting || tier.urls[tier.current].started {
                tier.completed = true;
                tier.due = now;
            }
        }
    }

    /// The trackers to send a `stopped` event; none is asked again.
    pub(crate) fn stop(&mut self) -> Vec<String> {
        let tiers = std::mem::take(&mut self.tiers);
        let trackers = tiers.into_iter().flat_map(|tier| tier.urls);
        trackers.filter(|tracker| tracker.started).map(|tracker| tracker.url).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_MOST: Duration = Duration::from_secs(30);

    fn every(interval: Duration) -> Option<(Duration, Duration)> {
        Some((interval, Duration::ZERO))
    }

    fn trackers(tiers: &[&[&str]]) -> Announcer {
        let tiers: Vec<Vec<String>> =
            tiers.iter().map(|tier| tier.iter().map(ToString::to_string).collect()).collect();
        Announcer::new(&tiers, Time(0), &mut fastrand::Rng::with_seed(1))
    }

    #[test]
    fn a_tracker_is_sent_started_then_periodic_then_completed() {
        let mut t = trackers(&[&["a"]]);
        assert_eq!(t.due(Time(0)), [("a".into(), AnnounceEvent::Started)]);
        assert!(t.due(Time(0)).is_empty() && t.next_due().is_none());
        t.on_answer(Time(0), "a", every(Duration::from_secs(1800)), AT_MOST);
        assert_eq!(t.next_due(), Some(Time(30_000_000)));
        assert_eq!(t.due(Time(30_000_000)), [("a".into(), AnnounceEvent::Periodic)]);
        t.on_complete(Time(30_000_001));
        t.on_answer(Time(30_000_002), "a", every(Duration::from_secs(10)), AT_MOST);
        assert_eq!(t.due(Time(30_000_002)), [("a".into(), AnnounceEvent::Completed)]);
        assert_eq!(t.stop(), ["a"]);
    }

    #[test]
    fn a_tracker_is_asked_at_its_interval_unless_peers_are_needed() {
        let mut t = trackers(&[&["a"]]);
        t.due(Time(0));
        t.on_answer(Time(0), "a", every(Duration::from_secs(1800)), Duration::MAX);
        assert_eq!(t.next_due(), Some(Time(1_800_000_000)));
        t.hurry(Time(9_000_000));
        assert_eq!(t.next_due(), Some(Time(9_000_000)));
        t.hurry(Time(99_000_000));
        assert_eq!(t.next_due(), Some(Time(9_000_000)));
    }

    #[test]
    fn a_tier_tries_its_next_tracker_and_keeps_the_one_that_answers() {
        let mut t = trackers(&[&["a", "b"]]);
        let (first, _) = t.due(Time(0)).remove(0);
        t.on_answer(Time(0), &first, None, AT_MOST);
        let (second, _) = t.due(Time(0)).remove(0);
        assert_ne!(first, second);
        t.on_answer(Time(0), &second, None, AT_MOST);
        assert!(t.due(Time(0)).is_empty(), "after a whole round it waits");
        assert_eq!(t.next_due(), Some(Time(1_000_000)));
        t.due(Time(1_000_000));
        t.on_answer(Time(1_000_000), &first, None, AT_MOST);
        let (again, _) = t.due(Time(1_000_000)).remove(0);
        t.on_answer(Time(1_000_000), &again, every(Duration::from_secs(6)), AT_MOST);
        assert_eq!(t.due(Time(7_000_000)), [(again, AnnounceEvent::Periodic)]);
    }

    #[test]
    fn every_tier_is_asked_and_intervals_are_bounded() {
        let mut t = trackers(&[&["a"], &[], &["b"]]);
        assert_eq!(t.due(Time(0)).len(), 2);
        t.on_answer(Time(0), "a", every(Duration::ZERO), AT_MOST);
        t.on_answer(Time(0), "b", every(Duration::MAX), Duration::MAX);
        assert_eq!(t.next_due(), Some(Time(5_000_000)));
        assert_eq!(t.tiers[1].due, Time(3_600_000_000));
    }

    #[test]
    fn the_least_interval_of_a_tracker_is_kept_within_reason() {
        let mut t = trackers(&[&["a"]]);
        let (hour, least) = (Duration::from_secs(3600), Duration::from_secs(60));
        t.due(Time(0));
        t.on_answer(Time(0), "a", Some((hour, least)), AT_MOST);
        assert_eq!(t.next_due(), Some(Time(60_000_000)));
        t.hurry(Time(1));
        assert_eq!(t.next_due(), Some(Time(60_000_000)));
        t.due(Time(60_000_000));
        t.on_answer(Time(60_000_000), "a", Some((hour, hour)), AT_MOST);
        assert_eq!(t.next_due(), Some(Time(180_000_000)));
    }

    #[test]
    fn a_torrent_cannot_send_a_crowd_to_one_machine() {
        let urls: Vec<String> = (0..99).map(|port| format!("http://victim:{port}/x")).collect();
        let mut tiers: Vec<Vec<String>> = urls.into_iter().map(|url| vec![url]).collect();
        tiers.extend((0..999).map(|n| vec![format!("udp://[2001:db8::{n:x}]:80")]));
        let mut t = Announcer::new(&tiers, Time(0), &mut fastrand::Rng::with_seed(1));
        let mut asked = Vec::new();
        while let due = t.due(Time(0))
            && !due.is_empty()
        {
            assert!(due.len() <= MAX_CONCURRENT_ANNOUNCES);
            due.iter().for_each(|(url, _)| t.on_answer(Time(0), url, None, AT_MOST));
            asked.extend(due);
        }
        let at_victim = asked.iter().filter(|(url, _)| host_of(url) == "victim").count();
        assert_eq!((asked.len(), at_victim), (MAX_TRACKERS, MAX_TRACKERS_PER_HOST));
        assert_eq!(t.number_of("http://victim:1/x"), t.number_of("http://victim:7/y?z"));
        assert_ne!(t.number_of("udp://[2001:db8::1]:80"), t.number_of("udp://[2001:db8::2]:80"));
    }

    #[test]
    fn a_tracker_that_cannot_be_asked_is_left_out() {
        let mut t = trackers(&[&["a", "b"], &["c"]]);
        let first: Vec<String> = t.due(Time(0)).into_iter().map(|(url, _)| url).collect();
        t.remove("c");
        t.remove(&first[0]);
        let rest = t.due(Time(0));
        assert_eq!(rest.len(), 1, "the other one of its tier follows at once");
        t.remove(&rest[0].0);
        assert!(t.due(Time(0)).is_empty() && t.next_due().is_none());
    }
}
