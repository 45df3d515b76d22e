//! A receiver's side of relaying: which peer each stripe is expected of, and when a parent counts
//! as failed. No messages, no pieces.

use std::{net::SocketAddr, time::Duration};

use sow_wire::bittorrent::Parent;

use crate::io::{ConnId, Time};

/// A parent has to be connected within this time.
const CONNECT_TIME: Duration = Duration::from_millis(1500);

/// A parent that has what it was asked for sends something within this time, and four times the
/// latency of its connection.
const DELIVERY_TIME: Duration = Duration::from_secs(1);

/// Beside stripes that make progress, one without any has failed after this time, even
/// without a fault of its parent; the time doubles with each parent that failed.
const PROGRESS_TIME: Duration = Duration::from_secs(3);

/// A parent that sends nothing for this long has failed, even if no receiver gets anything.
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// A stripe that is this many pieces behind the furthest one, and more than a quarter of the way,
/// has a slow parent.
const MIN_LAG: u32 = 16;

/// The doublings of the times above.
const MAX_DOUBLINGS: u32 = 4;

/// Where each stripe of the content comes from.
#[derive(Debug, Default)]
pub(crate) struct Parents {
    /// The origin that said so, while it is connected.
    planner: Option<ConnId>,
    /// Empty: nothing is relayed.
    stripes: Vec<Stripe>,
}

/// How far a stripe is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StripeProgress {
    /// How many of its pieces are stored, from the first one on.
    pub(crate) prefix: u32,
    /// All of them are.
    pub(crate) is_done: bool,
    /// What is known of its parent, where it has one that is connected.
    pub(crate) parent: Option<ParentState>,
}

/// What is known of a parent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParentState {
    /// What it has and was asked for does not come.
    pub(crate) is_snubbed: bool,
    /// How long ago the first request was made for what it has and did not send.
    pub(crate) owed_for: Duration,
    /// How long it usually takes for a block.
    pub(crate) latency: Duration,
    /// It has more than we were sent.
    pub(crate) is_ahead: bool,
}

/// A stripe whose parent failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Orphaned {
    pub(crate) stripe: usize,
    /// Whose fault that is.
    pub(crate) is_at_fault: bool,
}

#[derive(Debug, Clone, Copy)]
struct Stripe {
    state: State,
    /// How often its parents failed.
    failures: u32,
    /// When its parent was found.
    since: Time,
    /// When something of it arrived last, or its parent was found.
    arrived_at: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Any peer that has a piece may be asked for it.
    Open,
    /// Its parent is not connected yet.
    Awaited {
        addr: SocketAddr,
        since: Time,
    },
    Served {
        conn: ConnId,
    },
}

impl Parents {
    /// The peer that says who the parents are.
    pub(crate) fn planner(&self) -> Option<ConnId> {
        self.planner
    }

    /// Whether some stripe is expected of a parent.
    pub(crate) fn is_active(&self) -> bool {
        self.stripes.iter().any(|stripe| stripe.state != State::Open)
    }

    /// Whether every stripe is expected of a parent.
    pub(crate) fn is_all_expected(&self) -> bool {
        !self.stripes.is_empty() && self.stripes.iter().all(|stripe| stripe.state != State::Open)
    }

    /// Whether a piece is expected of a parent, so that no other peer is asked for it.
    pub(crate) fn is_expected(&self, piece: u32) -> bool {
        self.stripe_of(piece).is_some_and(|stripe| self.stripes[stripe].state != State::Open)
    }

    pub(crate) fn is_parent(&self, conn: ConnId) -> bool {
        self.stripes_of(conn).next().is_some()
    }

    /// The stripes that are expected of a peer.
    pub(crate) fn stripes_of(&self, conn: ConnId) -> impl Iterator<Item = usize> {
        let stripes = self.stripes.iter().enumerate();
        stripes.filter(move |(_, stripe)| stripe.parent() == Some(conn)).map(|(at, _)| at)
    }

    /// The parent of a stripe, if it is connected.
    pub(crate) fn parent(&self, stripe: usize) -> Option<ConnId> {
        self.stripes.get(stripe).and_then(Stripe::parent)
    }

    /// The number of stripes.
    pub(crate) fn stripe_count(&self) -> usize {
        self.stripes.len()
    }

    fn stripe_of(&self, piece: u32) -> Option<usize> {
        (!self.stripes.is_empty()).then(|| piece as usize % self.stripes.len())
    }

    /// The planner says who the parents are. `connected`: the connection to the peer at an address.
    /// The addresses of parents that are not connected. Another peer than the planner is ignored.
    pub(crate) fn assign(
        &mut self,
        now: Time,
        planner: ConnId,
        parents: &[Parent],
        connected: impl Fn(SocketAddr) -> Option<ConnId>,
    ) -> Vec<SocketAddr> {
        if self.planner.is_some_and(|known| known != planner) {
            return Vec::new();
        }
        self.planner = Some(planner);
        if self.stripes.len() != parents.len() {
            let open = || Stripe { state: State::Open, failures: 0, since: now, arrived_at: now };
            self.stripes = parents.iter().map(|_| open()).collect();
        }
        for (stripe, &parent) in self.stripes.iter_mut().zip(parents) {
            let state = match parent {
                Parent::Unassigned => State::Open,
                Parent::Sender => State::Served { conn: planner },
                Parent::Peer(addr) => match (connected(addr), stripe.state) {
                    (Some(conn), _) => State::Served { conn },
                    (None, State::Awaited { addr: known, .. }) if known == addr => continue,
                    (None, _) => State::Awaited { addr, since: now },
                },
            };
            if state != stripe.state {
                *stripe = Stripe { state, since: now, arrived_at: now, ..*stripe };
            }
        }
        let awaited = |stripe: &Stripe| match stripe.state {
            State::Awaited { addr, .. } => Some(addr),
            State::Open | State::Served { .. } => None,
        };
        self.stripes.iter().filter_map(awaited).collect()
    }

    /// A peer that accepts connections at an address is connected, and keeps requests. Whether it
    /// is a parent now that was awaited.
    pub(crate) fn on_connected(
        &mut self,
        now: Time,
        conn: ConnId,
        listen_addr: SocketAddr,
    ) -> bool {
        let mut is_awaited = false;
        for stripe in &mut self.stripes {
            if matches!(stripe.state, State::Awaited { addr, .. } if addr == listen_addr) {
                let state = State::Served { conn };
                *stripe = Stripe { state, since: now, arrived_at: now, ..*stripe };
                is_awaited = true;
            }
        }
        is_awaited
    }

    /// There are two connections to a peer that is reached at an address, and this one is given up:
    /// its stripes are expected on the other one.
    pub(crate) fn on_duplicate_gone(&mut self, now: Time, conn: ConnId, addr: SocketAddr) {
        for stripe in self.stripes.iter_mut().filter(|stripe| stripe.parent() == Some(conn)) {
            stripe.state = State::Awaited { addr, since: now };
        }
    }

    /// A connection is over: its stripes are open. Which they are.
    pub(crate) fn on_gone(&mut self, conn: ConnId) -> Vec<Orphaned> {
        if self.planner == Some(conn) {
            self.planner = None;
        }
        let orphaned: Vec<Orphaned> =
            self.stripes_of(conn).map(|stripe| Orphaned { stripe, is_at_fault: true }).collect();
        orphaned.iter().for_each(|orphaned| self.open(orphaned.stripe));
        orphaned
    }

    /// Something of a piece arrived from a peer.
    pub(crate) fn on_arrived(&mut self, now: Time, conn: ConnId, piece: u32) {
        if let Some(stripe) = self.stripe_of(piece)
            && self.stripes[stripe].state == (State::Served { conn })
        {
            self.stripes[stripe].arrived_at = now;
        }
    }

    /// The stripes whose parents have failed; they are open from here on. `progress`: of each
    /// stripe.
    pub(crate) fn take_failed(&mut self, now: Time, progress: &[StripeProgress]) -> Vec<Orphaned> {
        let furthest = progress.iter().map(|progress| progress.prefix).max();
        let is_any_done = progress.iter().any(|progress| progress.is_done);
        let latest = self.stripes.iter().map(|stripe| stripe.arrived_at).max();
        let (Some(furthest), Some(latest)) = (furthest, latest) else { return Vec::new() };
        let others_progress = is_any_done || now.since(latest) < PROGRESS_TIME;
        let judged = self.stripes.iter().zip(progress).enumerate();
        let failed: Vec<Orphaned> = judged
            .filter_map(|(at, (stripe, progress))| {
                let is_at_fault = stripe.judge(now, progress, furthest, others_progress)?;
                Some(Orphaned { stripe: at, is_at_fault })
            })
            .collect();
        failed.iter().for_each(|failed| self.open(failed.stripe));
        failed
    }

    fn open(&mut self, stripe: usize) {
        let stripe = &mut self.stripes[stripe];
        stripe.state = State::Open;
        stripe.failures += 1;
    }
}

impl Stripe {
    fn parent(&self) -> Option<ConnId> {
        match self.state {
            State::Served { conn } => Some(conn),
            State::Open | State::Awaited { .. } => None,
        }
    }

    /// `Some`: its parent has failed, and whether it is at fault. `furthest`: the prefix of the
    /// stripe that is furthest.
    fn judge(
        &self,
        now: Time,
        progress: &StripeProgress,
        furthest: u32,
        others_progress: bool,
    ) -> Option<bool> {
        if let State::Awaited { since, .. } = self.state {
            return (now.since(since) >= CONNECT_TIME).then_some(true);
        }
        let prefix = progress.prefix;
        let parent = progress.parent.filter(|_| !progress.is_done)?;
        let factor = 1 << self.failures.min(MAX_DOUBLINGS);
        let silence = now.since(self.arrived_at);
        let delivery_time = (DELIVERY_TIME + 4 * parent.latency) * factor;
        if parent.is_snubbed || parent.owed_for.min(silence) >= delivery_time {
            return Some(true);
        }
        let progress_time = PROGRESS_TIME * factor;
        let is_behind = others_progress && prefix < furthest;
        if silence >= progress_time && (is_behind || silence >= MAX_SILENCE) {
            return Some(false);
        }
        let lag = furthest.saturating_sub(prefix);
        let is_slow = lag >= MIN_LAG && lag > prefix / 3 && parent.is_ahead;
        (is_slow && now.since(self.since) >= progress_time).then_some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANNER: ConnId = ConnId(1);
    const PEER: ConnId = ConnId(2);

    fn peer() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 2], 52000))
    }

    fn at_ms(ms: u64) -> Time {
        Time(ms * 1000)
    }

    /// Two stripes, of which the second one comes from a peer.
    fn parents() -> Parents {
        let mut parents = Parents::default();
        let connected = |addr| (addr == peer()).then_some(PEER);
        let said = [Parent::Sender, Parent::Peer(peer())];
        assert_eq!(parents.assign(at_ms(0), PLANNER, &said, connected), []);
        parents
    }

    fn state() -> ParentState {
        let latency = Duration::from_millis(10);
        ParentState { is_snubbed: false, owed_for: Duration::ZERO, latency, is_ahead: false }
    }

    /// What has failed after a time in which the first stripe made progress.
    fn failed(parents: &mut Parents, ms: u64, prefix: u32, state: ParentState) -> Vec<Orphaned> {
        parents.on_arrived(at_ms(ms), PLANNER, 0);
        let stripe = |prefix| StripeProgress { prefix, is_done: false, parent: Some(state) };
        parents.take_failed(
            at_ms(ms),
            &[StripeProgress { parent: None, ..stripe(40) }, stripe(prefix)],
        )
    }

    #[test]
    fn a_piece_is_expected_of_the_parent_of_its_stripe() {
        let mut parents = parents();
        assert!(parents.is_all_expected() && parents.is_parent(PEER));
        assert_eq!(parents.stripes_of(PEER).collect::<Vec<_>>(), [1]);
        let orphaned = Orphaned { stripe: 1, is_at_fault: true };
        assert_eq!(parents.on_gone(PEER), [orphaned]);
        assert!(parents.is_expected(4) && !parents.is_expected(5) && parents.is_active());
    }

    #[test]
    fn a_parent_that_does_not_connect_has_failed() {
        let mut parents = Parents::default();
        let awaited = parents.assign(at_ms(0), PLANNER, &[Parent::Peer(peer())], |_| None);
        assert_eq!(awaited, [peer()]);
        let progress = [StripeProgress { prefix: 0, is_done: false, parent: None }];
        assert_eq!(parents.take_failed(at_ms(1400), &progress), []);
        let failed = Orphaned { stripe: 0, is_at_fault: true };
        assert_eq!(parents.take_failed(at_ms(1500), &progress), [failed]);
        assert!(!parents.on_connected(at_ms(1600), PEER, peer()));
    }

    #[test]
    fn of_two_connections_to_a_parent_the_other_one_goes_on() {
        let mut parents = parents();
        parents.on_duplicate_gone(at_ms(10), PEER, peer());
        assert!(parents.is_all_expected() && !parents.is_parent(PEER));
        assert!(parents.on_connected(at_ms(20), ConnId(3), peer()));
        assert!(parents.is_parent(ConnId(3)));
    }

    #[test]
    fn only_one_planner_is_heard() {
        let mut parents = parents();
        assert_eq!(parents.assign(at_ms(5), PEER, &[Parent::Unassigned], |_| None), []);
        assert!(parents.is_all_expected());
        parents.on_gone(PLANNER);
        parents.assign(at_ms(5), PEER, &[Parent::Unassigned], |_| None);
        assert!(!parents.is_active() && parents.planner() == Some(PEER));
    }

    #[test]
    fn a_parent_that_keeps_what_it_has_is_at_fault() {
        let owing = ParentState { owed_for: Duration::from_secs(9), ..state() };
        assert_eq!(failed(&mut parents(), 1000, 0, owing), []);
        let at_fault = [Orphaned { stripe: 1, is_at_fault: true }];
        assert_eq!(failed(&mut parents(), 1040, 0, owing), at_fault);
        let snubbed = ParentState { is_snubbed: true, ..state() };
        assert_eq!(failed(&mut parents(), 1, 0, snubbed), at_fault);
    }

    #[test]
    fn a_parent_that_gets_nothing_itself_is_left_without_fault_when_others_get_something() {
        assert_eq!(failed(&mut parents(), 2900, 0, state()), []);
        let no_fault = [Orphaned { stripe: 1, is_at_fault: false }];
        assert_eq!(failed(&mut parents(), 3000, 0, state()), no_fault);
        let progress =
            [0, 0].map(|prefix| StripeProgress { prefix, is_done: false, parent: Some(state()) });
        assert_eq!(parents().take_failed(at_ms(9_999), &progress), [], "no receiver gets anything");
        assert_eq!(parents().take_failed(at_ms(10_000), &progress).len(), 2);
    }

    #[test]
    fn a_slow_parent_that_has_more_is_at_fault() {
        let ahead = ParentState { is_ahead: true, ..state() };
        let mut slow = parents();
        slow.on_arrived(at_ms(2999), PEER, 1);
        assert_eq!(failed(&mut slow, 3000, 20, ahead), [Orphaned { stripe: 1, is_at_fault: true }]);
        let mut level = parents();
        level.on_arrived(at_ms(2999), PEER, 1);
        assert_eq!(failed(&mut level, 3000, 33, ahead), []);
        let mut starved = parents();
        starved.on_arrived(at_ms(2999), PEER, 1);
        assert_eq!(failed(&mut starved, 3000, 20, state()), []);
    }

    #[test]
    fn each_parent_that_failed_gives_the_next_one_more_time() {
        let mut parents = parents();
        let owing = ParentState { owed_for: Duration::from_secs(99), ..state() };
        assert_eq!(failed(&mut parents, 1100, 0, owing).len(), 1);
        let connected = |addr| (addr == peer()).then_some(PEER);
        let said = [Parent::Sender, Parent::Peer(peer())];
        parents.assign(at_ms(1100), PLANNER, &said, connected);
        assert_eq!(failed(&mut parents, 2900, 0, owing), []);
        assert_eq!(failed(&mut parents, 3200, 0, owing).len(), 1);
    }
}
