//! Who is unchoked: plain lists in, plain lists out. No messages, no timers.

use std::time::Duration;

use crate::io::{ConnId, Time};

/// Cooperating peers that wait for a slot get one after this long at the latest.
pub(crate) const TURN: Duration = Duration::from_secs(5);

/// The rounds of tit-for-tat (BEP 3).
pub(crate) const ROUND: Duration = Duration::from_secs(10);

/// Rounds for which an optimistic unchoke lasts.
const OPTIMISTIC_ROUNDS: u64 = 3;

/// Slots of tit-for-tat that are earned; one more is optimistic (BEP 3).
const EARNED: usize = 4;

/// What the choker looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) conn: ConnId,
    pub(crate) interested: bool,
    pub(crate) unchoked: bool,
    /// Since when it is choked or unchoked.
    pub(crate) since: Time,
    /// Bytes a second that it sends us, or that we send it once we have everything.
    pub(crate) rate: u64,
}

/// Who should be unchoked among peers that co-operate: everybody while there are `slots`, asked or
/// not, which saves a round trip; then whoever is interested, first come first served, and those
/// who had their turn make room for those who wait.
pub(crate) fn cooperative(candidates: &[Candidate], slots: usize, now: Time) -> Vec<ConnId> {
    let mut wanting: Vec<&Candidate> = candidates.iter().collect();
    let rank = |peer: &&Candidate| {
        let turn = match (peer.unchoked, now.since(peer.since) >= TURN) {
            (true, false) => 0,
            (false, _) => 1,
            (true, true) => 2,
        };
        (!peer.interested, turn, peer.since, peer.conn)
    };
    wanting.sort_by_key(rank);
    wanting.into_iter().take(slots).map(|peer| peer.conn).collect()
}

/// Whether the lucky one changes in a round: every third one (BEP 3).
pub(crate) fn is_lucky_round(round: u64) -> bool {
    round.is_multiple_of(OPTIMISTIC_ROUNDS)
}

/// Who should be unchoked among strangers: the best four, and one at random (BEP 3), another one
/// when it is time to `draw`.
pub(crate) fn tit_for_tat(
    candidates: &[Candidate],
    draw: bool,
    rng: &mut fastrand::Rng,
) -> Vec<ConnId> {
    let mut wanting: Vec<&Candidate> = candidates.iter().filter(|peer| peer.interested).collect();
    wanting.sort_by_key(|peer| (std::cmp::Reverse(peer.rate), peer.conn));
    let (best, rest) = wanting.split_at(wanting.len().min(EARNED));
    let lucky = if draw {
        rng.choice(rest)
    } else {
        // The lucky one of before stays, if it is still there.
        rest.iter().find(|peer| peer.unchoked).or_else(|| rest.first())
    };
    best.iter().chain(lucky).map(|peer| peer.conn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u64, interested: bool, unchoked: bool, since: u64, rate: u64) -> Candidate {
        Candidate { conn: ConnId(n), interested, unchoked, since: Time(since * 1_000_000), rate }
    }

    fn ids(list: &[ConnId]) -> Vec<u64> {
        list.iter().map(|conn| conn.0).collect()
    }

    #[test]
    fn everybody_is_unchoked_while_there_is_room_and_whoever_wants_first() {
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
    fn turns_are_taken_when_there_is_no_room() {
        let peers =
            [peer(1, true, true, 0, 0), peer(2, true, true, 4, 0), peer(3, true, false, 1, 0)];
        assert_eq!(ids(&cooperative(&peers, 2, Time(4_000_000))), [1, 2]);
        assert_eq!(ids(&cooperative(&peers, 2, Time(6_000_000))), [2, 3]);
    }

    #[test]
    fn strangers_earn_their_slots() {
        let mut rng = fastrand::Rng::with_seed(1);
        let peers: Vec<_> = (0..10).map(|n| peer(n, n != 9, n == 2, 0, n * 100)).collect();
        assert_eq!(ids(&tit_for_tat(&peers, false, &mut rng)), [8, 7, 6, 5, 2]);
        let lucky: std::collections::BTreeSet<u64> =
            (0..50).map(|_| ids(&tit_for_tat(&peers, true, &mut rng))[4]).collect();
        assert_eq!(lucky.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
}
