//! Which peers are unchoked: plain lists in, plain lists out. No messages, no timers.

use std::time::Duration;

use crate::io::{ConnId, Time};

/// A co-operating peer keeps its slot for at least this long while others wait for one.
pub(crate) const TURN_TIME: Duration = Duration::from_secs(5);

/// The interval between two rounds of tit-for-tat (BEP 3).
pub(crate) const ROUND_INTERVAL: Duration = Duration::from_secs(10);

/// Rounds for which an optimistic unchoke lasts.
const OPTIMISTIC_ROUNDS: u64 = 3;

/// Slots of tit-for-tat that are earned; one more is optimistic (BEP 3).
const EARNED_SLOTS: usize = 4;

/// What the choker knows of one peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) conn: ConnId,
    pub(crate) interested: bool,
    pub(crate) unchoked: bool,
    /// It makes no use of its slot, or made none of its last one.
    pub(crate) idle: bool,
    /// Since when it is choked or unchoked.
    pub(crate) since: Time,
    /// Bytes a second that it sends us, or that we send it once we have everything.
    pub(crate) rate: u64,
}

/// The peers to unchoke among peers that co-operate: all of them while there are `slots`,
/// interested or not, which saves a round trip; then interested peers in the order in which they
/// came. Peers that had their turn make room for peers that wait, and peers that request nothing
/// for all others.
pub(crate) fn cooperative(candidates: &[Candidate], slots: usize, now: Time) -> Vec<ConnId> {
    let mut wanting: Vec<&Candidate> = candidates.iter().collect();
    let rank = |peer: &&Candidate| {
        let turn = match (peer.unchoked, now.since(peer.since) >= TURN_TIME) {
            (true, false) => 0,
            (false, _) => 1,
            (true, true) => 2,
        };
        (!peer.interested, peer.idle, turn, peer.since, peer.conn)
    };
    wanting.sort_by_key(rank);
    wanting.into_iter().take(slots).map(|peer| peer.conn).collect()
}

/// Whether the optimistic unchoke changes in a round: every third one (BEP 3).
pub(crate) fn is_optimistic_round(round: u64) -> bool {
    round.is_multiple_of(OPTIMISTIC_ROUNDS)
}

/// The peers to unchoke by tit-for-tat: the four with the highest rates, and an optimistic one at
/// random (BEP 3), another one when it is time to `draw`. Peers that make no use of a slot come
/// after all others.
pub(crate) fn tit_for_tat(
    candidates: &[Candidate],
    draw: bool,
    rng: &mut fastrand::Rng,
) -> Vec<ConnId> {
    let mut wanting: Vec<&Candidate> = candidates.iter().filter(|peer| peer.interested).collect();
    wanting.sort_by_key(|peer| (peer.idle, std::cmp::Reverse(peer.rate), peer.conn));
    let (best, rest) = wanting.split_at(wanting.len().min(EARNED_SLOTS));
    let busy = rest.iter().take_while(|peer| !peer.idle).count();
    let rest = if busy > 0 { &rest[..busy] } else { rest };
    let optimistic = if draw {
        rng.choice(rest)
    } else {
        // The last one stays, if it is still here.
        rest.iter().find(|peer| peer.unchoked).or_else(|| rest.first())
    };
    best.iter().chain(optimistic).map(|peer| peer.conn).collect()
}

/// The same between two rounds, when some slots are not used while other peers wait: these get
/// them, in the order in which they came. `None`: all stays as it is.
pub(crate) fn without_idle(candidates: &[Candidate]) -> Option<Vec<ConnId>> {
    let wanting = || candidates.iter().filter(|peer| peer.interested);
    let mut waiting: Vec<&Candidate> =
        wanting().filter(|peer| !peer.unchoked && !peer.idle).collect();
    let mut kept: Vec<&Candidate> = wanting().filter(|peer| peer.unchoked).collect();
    if waiting.is_empty() || !kept.iter().any(|peer| peer.idle) {
        return None;
    }
    waiting.sort_by_key(|peer| (peer.since, peer.conn));
    kept.sort_by_key(|peer| peer.idle);
    let busy = kept.iter().take_while(|peer| !peer.idle).count();
    let chosen = kept[..busy].iter().chain(&waiting).chain(&kept[busy..]);
    Some(chosen.take(EARNED_SLOTS + 1).map(|peer| peer.conn).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u64, interested: bool, unchoked: bool, since: u64, rate: u64) -> Candidate {
        let (since, idle) = (Time(since * 1_000_000), false);
        Candidate { conn: ConnId(n), interested, unchoked, idle, since, rate }
    }

    fn ids(list: &[ConnId]) -> Vec<u64> {
        list.iter().map(|conn| conn.0).collect()
    }

    #[test]
    fn all_are_unchoked_while_there_are_slots_and_interested_peers_first() {
        let peers =
            [peer(1, true, false, 0, 0), peer(2, false, true, 0, 0), peer(3, true, true, 0, 0)];
        let mut chosen = ids(&cooperative(&peers, 10, Time(0)));
        chosen.sort_unstable();
        assert_eq!(chosen, [1, 2, 3]);
        let mut chosen = ids(&cooperative(&peers, 2, Time(0)));
        chosen.sort_unstable();
        assert_eq!(chosen, [1, 3]);
    }

    #[test]
    fn peers_take_turns_when_there_are_too_few_slots() {
        let peers =
            [peer(1, true, true, 0, 0), peer(2, true, true, 4, 0), peer(3, true, false, 1, 0)];
        assert_eq!(ids(&cooperative(&peers, 2, Time(4_000_000))), [1, 2]);
        assert_eq!(ids(&cooperative(&peers, 2, Time(6_000_000))), [2, 3]);
    }

    #[test]
    fn a_slot_that_is_not_used_is_given_away_at_once() {
        let idle = |n, unchoked| Candidate { idle: true, ..peer(n, true, unchoked, 0, 0) };
        let peers = [idle(1, true), idle(2, false), peer(3, true, true, 0, 0)];
        assert_eq!(ids(&cooperative(&peers, 2, Time(0))), [3, 1]);
        let new = [idle(1, true), peer(3, true, true, 0, 0), peer(4, true, false, 0, 0)];
        assert_eq!(ids(&cooperative(&new, 2, Time(0))), [3, 4]);
    }

    #[test]
    fn the_highest_rates_and_an_optimistic_peer_get_the_slots() {
        let mut rng = fastrand::Rng::with_seed(1);
        let peers: Vec<_> = (0..10).map(|n| peer(n, n != 9, n == 2, 0, n * 100)).collect();
        assert_eq!(ids(&tit_for_tat(&peers, false, &mut rng)), [8, 7, 6, 5, 2]);
        let optimistic: std::collections::BTreeSet<u64> =
            (0..50).map(|_| ids(&tit_for_tat(&peers, true, &mut rng))[4]).collect();
        assert_eq!(optimistic.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn peers_that_use_no_slot_keep_none_from_those_that_wait() {
        let idle = |n, unchoked| Candidate { idle: true, ..peer(n, true, unchoked, 0, 0) };
        let mut rng = fastrand::Rng::with_seed(1);
        let mut peers: Vec<_> = (0..9).map(|n| idle(n, n < 5)).collect();
        assert_eq!(without_idle(&peers), None, "no other waits");
        peers.push(peer(9, true, false, 7, 0));
        peers.push(peer(10, true, false, 3, 0));
        assert_eq!(without_idle(&peers).map(|chosen| ids(&chosen)), Some(vec![10, 9, 0, 1, 2]));
        assert_eq!(ids(&tit_for_tat(&peers, false, &mut rng))[..2], [9, 10]);
        peers.extend((11..15).map(|n| peer(n, true, true, 0, 0)));
        let chosen = tit_for_tat(&peers, true, &mut rng);
        assert!(ids(&chosen).iter().all(|&n| n >= 9), "{chosen:?}");
        peers.retain(|peer| !peer.idle);
        assert_eq!(without_idle(&peers), None, "every slot is used");
    }
}
