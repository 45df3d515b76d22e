//! How many addresses may be tried of one host, and of one source: a few at first, more with each
//! peer that is found there, and a rest when they are used up. So a source cannot direct a swarm at
//! a host that has no peers. No addresses here.

use std::time::Duration;

use crate::io::Time;

/// The limits of a host or a source.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Quota {
    /// Attempts before a peer was found.
    pub(super) first_attempts: u32,
    /// Attempts that each peer that is found adds.
    pub(super) per_peer: u32,
    /// Attempts that may be saved up.
    max_attempts: u32,
    /// Attempts after a rest.
    pub(super) after_rest: u32,
    /// The first rest; each further one without success is twice as long.
    pub(super) min_rest: Duration,
    max_rest: Duration,
    /// Failures in a row that lead to a rest; one for each peer that was found, if that is more.
    failures_in_a_row: u32,
    /// Dials under way before a peer was found; each peer that is found allows another one.
    pub(super) concurrent: usize,
}

/// The limits of a host.
pub(super) const HOST: Quota = Quota {
    first_attempts: 12,
    per_peer: 4,
    max_attempts: 240,
    after_rest: 3,
    min_rest: Duration::from_secs(30),
    max_rest: Duration::from_secs(600),
    failures_in_a_row: 10,
    concurrent: 4,
};

/// The limits of a tracker, and of the peers of a magnet link.
pub(super) const TRACKER: Quota = Quota {
    first_attempts: 60,
    per_peer: 2,
    max_attempts: 200,
    after_rest: 20,
    min_rest: Duration::from_secs(30),
    max_rest: Duration::from_secs(120),
    failures_in_a_row: u32::MAX,
    concurrent: 6,
};

/// The limits of a peer that names others.
pub(super) const PEER: Quota = Quota { first_attempts: 30, after_rest: 10, ..TRACKER };

/// What is left of a quota.
#[derive(Debug)]
pub(super) struct Allowance {
    quota: &'static Quota,
    attempts: u32,
    rests_until: Time,
    rests: u32,
    failures_in_a_row: u32,
    tried: u32,
    found: u32,
    used_at: Time,
}

impl Allowance {
    pub(super) fn new(quota: &'static Quota) -> Self {
        Self {
            quota,
            attempts: quota.first_attempts,
            rests_until: Time::default(),
            rests: 0,
            failures_in_a_row: 0,
            tried: 0,
            found: 0,
            used_at: Time::default(),
        }
    }

    /// When the next attempt is allowed.
    pub(super) fn rests_until(&self) -> Time {
        self.rests_until
    }

    /// When the last attempt was made.
    pub(super) fn used_at(&self) -> Time {
        self.used_at
    }

    /// Attempts that found no peer, or have not yet.
    pub(super) fn unproductive(&self) -> u32 {
        self.tried.saturating_sub(self.found)
    }

    /// Dials that may be under way.
    pub(super) fn concurrent(&self) -> usize {
        self.quota.concurrent.saturating_add(self.found as usize)
    }

    /// An attempt is made.
    pub(super) fn spend(&mut self, now: Time) {
        self.used_at = now;
        self.tried = self.tried.saturating_add(1);
        self.attempts = self.attempts.saturating_sub(1);
        if self.attempts == 0 {
            self.rest(now);
        }
    }

    /// An attempt failed.
    pub(super) fn on_failure(&mut self, now: Time) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        if self.failures_in_a_row >= self.quota.failures_in_a_row.max(self.found) {
            self.rest(now);
        }
    }

    /// A peer was found, by an attempt or because it connected to us.
    pub(super) fn on_success(&mut self) {
        let Quota { per_peer, first_attempts, max_attempts, .. } = *self.quota;
        self.found = self.found.saturating_add(1);
        let limit = first_attempts.saturating_add(self.found.saturating_mul(per_peer));
        self.attempts = (self.attempts + per_peer).min(limit).min(max_attempts);
        self.failures_in_a_row = 0;
        self.rests = 0;
        self.rests_until = Time::default();
    }

    fn rest(&mut self, now: Time) {
        // A dial that was under way when the rest began does not make it longer.
        if self.rests_until > now {
            return;
        }
        let Quota { min_rest, max_rest, after_rest, .. } = *self.quota;
        self.rests_until = now + min_rest.saturating_mul(1 << self.rests.min(8)).min(max_rest);
        self.rests += 1;
        self.attempts = after_rest;
        self.failures_in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1);

    /// Attempts, all of which fail, in `seconds`.
    fn failing_attempts(quota: &'static Quota, seconds: u64) -> usize {
        let (mut allowance, mut now, mut attempts) = (Allowance::new(quota), NOW, 0);
        while now.since(NOW) <= Duration::from_secs(seconds) {
            allowance.spend(now);
            allowance.on_failure(now);
            attempts += 1;
            now = now.max(allowance.rests_until());
        }
        attempts
    }

    #[test]
    fn a_host_without_peers_is_tried_a_few_times() {
        assert_eq!(failing_attempts(&HOST, 29), 10);
        assert_eq!(failing_attempts(&HOST, 60), 13);
        assert!(failing_attempts(&HOST, 3600) <= 40);
        assert_eq!(failing_attempts(&TRACKER, 29), 60);
        assert!(failing_attempts(&PEER, 60) <= 50);
    }

    #[test]
    fn each_peer_that_is_found_allows_more() {
        let mut host = Allowance::new(&HOST);
        // One of four addresses has a peer: all of them are tried.
        for attempt in 0..400 {
            assert_eq!(host.rests_until(), Time::default(), "attempt {attempt}");
            host.spend(NOW);
            if attempt % 4 == 0 { host.on_success() } else { host.on_failure(NOW) }
        }
        assert!(host.concurrent() > 100 && host.attempts <= HOST.max_attempts);
        // As many may fail as were found.
        let failures = (0..).position(|_| {
            host.on_failure(NOW);
            host.rests_until() > NOW
        });
        assert_eq!(failures, Some(99 - 3));
    }

    #[test]
    fn a_peer_that_is_found_ends_the_rest() {
        let mut host = Allowance::new(&HOST);
        (0..10).for_each(|_| host.on_failure(NOW));
        assert!(host.rests_until() > NOW);
        host.on_success();
        assert_eq!(host.rests_until(), Time::default());
    }
}
