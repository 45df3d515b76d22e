//! When to announce to which tracker (BEP 3, tiers after BEP 12). No requests, no peers.

use std::time::Duration;

use crate::io::{AnnounceEvent, Dialect, Time};

const FIRST_RETRY_DELAY: Duration = Duration::from_secs(1);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);
/// An interval that a tracker asks for is never shorter than this.
const MIN_ANNOUNCE_INTERVAL: Duration = Duration::from_secs(5);
const MAX_ANNOUNCE_INTERVAL: Duration = Duration::from_secs(3600);

/// The scheme of the URLs of json-torrent trackers.
pub const JSON_TRACKER: &str = "json-torrent://";

/// The dialect of the peers that a tracker names.
pub(crate) fn dialect_of(url: &str) -> Dialect {
    if url.starts_with(JSON_TRACKER) { Dialect::JsonTorrent } else { Dialect::BitTorrent }
}

/// The trackers of a swarm, and when each is due. One tracker of each tier is asked; when it fails,
/// the next one.
#[derive(Debug)]
pub(crate) struct Announcer {
    tiers: Vec<Tier>,
}

#[derive(Debug)]
struct Tier {
    urls: Vec<Tracker>,
    /// The one that is asked.
    current: usize,
    due: Time,
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
        let tiers = tiers.iter().filter(|tier| !tier.is_empty()).map(|tier| {
            let mut urls: Vec<Tracker> =
                tier.iter().map(|url| Tracker { url: url.clone(), started: false }).collect();
            rng.shuffle(&mut urls);
            Tier { urls, current: 0, due: now, waiting: false, failures: 0, completed: false }
        });
        Self { tiers: tiers.collect() }
    }

    /// The announces that are due. Each counts as under way until [`Announcer::on_answer`].
    pub(crate) fn due(&mut self, now: Time) -> Vec<(String, AnnounceEvent)> {
        let due = self.tiers.iter_mut().filter(|tier| !tier.waiting && tier.due <= now);
        due.map(|tier| {
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
        self.tiers.iter().filter(|tier| !tier.waiting).map(|tier| tier.due).min()
    }

    /// A tracker answered: `Some` with its interval, bounded by `at_most`; `None` when it failed.
    pub(crate) fn on_answer(
        &mut self,
        now: Time,
        url: &str,
        interval: Option<Duration>,
        at_most: Duration,
    ) {
        let Some(tier) =
            self.tiers.iter_mut().find(|tier| tier.waiting && tier.urls[tier.current].url == url)
        else {
            return;
        };
        tier.waiting = false;
        if let Some(interval) = interval {
            tier.failures = 0;
            tier.urls[tier.current].started = true;
            let working = tier.urls.remove(tier.current);
            tier.urls.insert(0, working);
            tier.current = 0;
            let interval = interval.clamp(MIN_ANNOUNCE_INTERVAL, MAX_ANNOUNCE_INTERVAL);
            tier.due = if tier.completed {
                now
            } else {
                now + interval.min(at_most.max(MIN_ANNOUNCE_INTERVAL))
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

    /// Every tracker is due at `latest`.
    pub(crate) fn hurry(&mut self, latest: Time) {
        self.tiers.iter_mut().for_each(|tier| tier.due = tier.due.min(latest));
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
        t.on_answer(Time(0), "a", Some(Duration::from_secs(1800)), AT_MOST);
        assert_eq!(t.next_due(), Some(Time(30_000_000)));
        assert_eq!(t.due(Time(30_000_000)), [("a".into(), AnnounceEvent::Periodic)]);
        t.on_complete(Time(30_000_001));
        t.on_answer(Time(30_000_002), "a", Some(Duration::from_secs(10)), AT_MOST);
        assert_eq!(t.due(Time(30_000_002)), [("a".into(), AnnounceEvent::Completed)]);
        assert_eq!(t.stop(), ["a"]);
    }

    #[test]
    fn a_tracker_is_asked_at_its_interval_unless_peers_are_needed() {
        let mut t = trackers(&[&["a"]]);
        t.due(Time(0));
        t.on_answer(Time(0), "a", Some(Duration::from_secs(1800)), Duration::MAX);
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
        t.on_answer(Time(1_000_000), &again, Some(Duration::from_secs(6)), AT_MOST);
        assert_eq!(t.due(Time(7_000_000)), [(again, AnnounceEvent::Periodic)]);
    }

    #[test]
    fn every_tier_is_asked_and_intervals_are_bounded() {
        let mut t = trackers(&[&["a"], &[], &["b"]]);
        assert_eq!(t.due(Time(0)).len(), 2);
        t.on_answer(Time(0), "a", Some(Duration::ZERO), AT_MOST);
        t.on_answer(Time(0), "b", Some(Duration::MAX), Duration::MAX);
        assert_eq!(t.next_due(), Some(Time(5_000_000)));
        assert_eq!(t.tiers[1].due, Time(3_600_000_000));
    }
}
