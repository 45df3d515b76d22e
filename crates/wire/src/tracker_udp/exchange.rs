//! The client's side of one announce over UDP as a state machine: connect, announce, and what is
//! lost sent again.
//!
//! Time and randomness come in as arguments; whoever owns a socket carries the datagrams.
//!
//! BEP 15 sends again after 15 · 2ⁿ s, up to an hour. A lost first datagram would keep a receiver
//! from its first byte for 15 s, so an exchange sends again after 0.5, 1, 2, 4 and 8 s instead,
//! which comes to BEP 15's first time-out, and then gives up. That is five datagrams of 16 bytes to
//! a tracker that is down. The waits beyond are the announce schedule's, which treats every failed
//! tracker alike.

use std::time::Duration;

use super::{Family, Request, Response};
use crate::tracker::{AnnounceRequest, AnnounceResponse};

/// How long a tracker takes a connection id (BEP 15).
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);

/// How long an answer is waited for the first time; doubled each time after.
const FIRST_TIMEOUT: Duration = Duration::from_millis(500);

/// How often a datagram is sent before the tracker is given up.
const ATTEMPTS: u32 = 5;

/// A connection id, and when it came: it may be used again for a minute (BEP 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    id: u64,
    since: Duration,
}

/// What the owner of the socket is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this datagram to the tracker, then ask again.
    Send(Vec<u8>),
    /// Wait for a datagram until then, then ask again.
    Wait(Duration),
    /// Nothing came for 15 s.
    GiveUp,
}

/// The tracker said no, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// One announce to one address of a tracker.
#[derive(Debug)]
pub struct Exchange {
    announce: AnnounceRequest,
    url_data: Vec<u8>,
    family: Family,
    phase: Phase,
    transaction: u32,
    /// How often the phase's datagram was sent.
    attempt: u32,
    /// When the answer to what was sent last is overdue.
    overdue: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A connection id is asked for.
    Connecting,
    /// The announce is sent.
    Announcing {
        connection: Connection,
        /// The connection id is older than this exchange: the tracker may have forgotten it.
        reused: bool,
    },
}

impl Exchange {
    /// An announce to a tracker that is reached by an address of `family`. `url_data` is the path
    /// and query of its URL (BEP 41), `connection` what an earlier exchange with the same address
    /// left.
    pub fn new(
        announce: AnnounceRequest,
        url_data: Vec<u8>,
        family: Family,
        connection: Option<Connection>,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let phase = match connection {
            Some(connection) => Phase::Announcing { connection, reused: true },
            None => Phase::Connecting,
        };
        let transaction = rng.u32(..);
        Self { announce, url_data, family, phase, transaction, attempt: 0, overdue: Duration::ZERO }
    }

    /// What to do at the time `now`.
    pub fn step(&mut self, now: Duration, rng: &mut fastrand::Rng) -> Step {
        if now < self.overdue {
            return Step::Wait(self.overdue);
        }
        if let Phase::Announcing { connection, reused } = self.phase {
            // Trackers pass over an id that they do not know: one that was kept gets a single
            // chance.
            if !connection.is_good(now) || reused && self.attempt > 0 {
                self.enter(Phase::Connecting, rng);
            }
        }
        if self.attempt == ATTEMPTS {
            return Step::GiveUp;
        }
        self.overdue = now + FIRST_TIMEOUT * (1 << self.attempt);
        self.attempt += 1;
        Step::Send(self.datagram())
    }

    /// Takes a datagram from the tracker's address: the end of the exchange, or `None` when it goes
    /// on with [`Exchange::step`]. What does not answer this exchange is passed over.
    pub fn receive(
        &mut self,
        now: Duration,
        datagram: &[u8],
        rng: &mut fastrand::Rng,
    ) -> Option<Result<AnnounceResponse, Refused>> {
        let response = Response::decode(datagram, self.family).ok()?;
        if response.transaction() != self.transaction {
            return None;
        }
        match (response, self.phase) {
            (Response::Connect { connection: id, .. }, Phase::Connecting) => {
                let connection = Connection { id, since: now };
                self.enter(Phase::Announcing { connection, reused: false }, rng);
                None
            }
            (Response::Announce { response, .. }, Phase::Announcing { .. }) => Some(Ok(response)),
            (Response::Error { .. }, Phase::Announcing { reused: true, .. }) => {
                self.enter(Phase::Connecting, rng);
                None
            }
            (Response::Error { message, .. }, _) => Some(Err(Refused(message))),
            _ => None,
        }
    }

    /// The connection id that the exchange had at last, for the next one with the same address.
    pub fn connection(&self) -> Option<Connection> {
        match self.phase {
            Phase::Announcing { connection, .. } => Some(connection),
            Phase::Connecting => None,
        }
    }

    fn enter(&mut self, phase: Phase, rng: &mut fastrand::Rng) {
        self.phase = phase;
        self.transaction = rng.u32(..);
        self.attempt = 0;
        self.overdue = Duration::ZERO;
    }

    fn datagram(&self) -> Vec<u8> {
        let transaction = self.transaction;
        let request = match self.phase {
            Phase::Connecting => Request::Connect { transaction },
            Phase::Announcing { connection, .. } => Request::Announce {
                connection: connection.id,
                transaction,
                announce: self.announce,
                url_data: self.url_data.clone(),
            },
        };
        request.encode()
    }
}

impl Connection {
    /// Whether the tracker takes the connection id at the time `now`.
    fn is_good(self, now: Duration) -> bool {
        now.saturating_sub(self.since) < CONNECTION_LIFETIME
    }
}

#[cfg(test)]
mod tests {
    use sow_content::InfoHash;

    use super::*;
    use crate::{bittorrent::PeerId, tracker::AnnounceEvent};

    const ANNOUNCE: AnnounceRequest = AnnounceRequest {
        info_hash: InfoHash([1; 20]),
        peer_id: PeerId([2; 20]),
        port: 52000,
        uploaded: 0,
        downloaded: 0,
        left: 10,
        event: AnnounceEvent::Started,
        numwant: Some(50),
        key: 7,
    };

    fn exchange(connection: Option<Connection>, rng: &mut fastrand::Rng) -> Exchange {
        Exchange::new(ANNOUNCE, b"/announce".to_vec(), Family::V4, connection, rng)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn sent(step: Step) -> Request {
        let Step::Send(bytes) = step else { panic!("{step:?}") };
        Request::decode(&bytes).unwrap()
    }

    fn answer(request: &Request) -> Response {
        match *request {
            Request::Connect { transaction } => Response::Connect { transaction, connection: 99 },
            Request::Announce { transaction, .. } | Request::Scrape { transaction, .. } => {
                Response::Announce {
                    transaction,
                    response: AnnounceResponse {
                        interval: Duration::from_secs(30),
                        min_interval: None,
                        complete: Some(1),
                        incomplete: Some(0),
                        peers: Vec::new(),
                        warning: None,
                        tracker_id: None,
                    },
                }
            }
        }
    }

    #[test]
    fn connects_then_announces_without_waiting() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut exchange = exchange(None, &mut rng);
        let connect = sent(exchange.step(ms(0), &mut rng));
        assert_eq!(exchange.step(ms(0), &mut rng), Step::Wait(ms(500)));
        assert_eq!(exchange.receive(ms(20), &answer(&connect).encode(Family::V4), &mut rng), None);
        let announce = sent(exchange.step(ms(20), &mut rng));
        let Request::Announce { connection: 99, announce: ANNOUNCE, ref url_data, .. } = announce
        else {
            panic!("{announce:?}")
        };
        assert_eq!(url_data, b"/announce");
        let (
            Request::Connect { transaction: first },
            Request::Announce { transaction: second, .. },
        ) = (&connect, &announce)
        else {
            panic!()
        };
        assert_ne!(first, second, "a late error of the first would end the second");
        let reply = exchange.receive(ms(40), &answer(&announce).encode(Family::V4), &mut rng);
        assert_eq!(reply.unwrap().unwrap().complete, Some(1));
        assert_eq!(exchange.connection(), Some(Connection { id: 99, since: ms(20) }));
    }

    #[test]
    fn what_is_lost_is_sent_again_and_at_last_given_up() {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut exchange = exchange(None, &mut rng);
        let (mut now, mut times) = (ms(7), Vec::new());
        loop {
            match exchange.step(now, &mut rng) {
                Step::Send(_) => times.push(now.as_millis()),
                Step::Wait(until) => now = until,
                Step::GiveUp => break,
            }
        }
        assert_eq!(times, [7, 507, 1507, 3507, 7507]);
        assert_eq!(now, ms(15_507));
    }

    #[test]
    fn strangers_and_late_answers_are_passed_over() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut exchange = exchange(None, &mut rng);
        let connect = sent(exchange.step(ms(0), &mut rng));
        let Request::Connect { transaction } = connect else { panic!() };
        let wrong = Response::Connect { transaction: transaction.wrapping_add(1), connection: 5 };
        for bytes in [wrong.encode(Family::V4), vec![], vec![0; 7], vec![0xff; 100]] {
            assert_eq!(exchange.receive(ms(1), &bytes, &mut rng), None);
        }
        assert_eq!(exchange.connection(), None);
        let right = answer(&connect).encode(Family::V4);
        assert_eq!(exchange.receive(ms(2), &right, &mut rng), None);
        assert!(exchange.connection().is_some());
        assert_eq!(exchange.receive(ms(3), &right, &mut rng), None, "the same answer again");
    }

    #[test]
    fn a_kept_connection_is_used_for_a_minute() {
        let mut rng = fastrand::Rng::with_seed(4);
        let kept = Some(Connection { id: 5, since: ms(1000) });
        let mut early = exchange(kept, &mut rng);
        assert!(matches!(
            sent(early.step(ms(60_999), &mut rng)),
            Request::Announce { connection: 5, .. }
        ));
        let mut late = exchange(kept, &mut rng);
        assert!(matches!(sent(late.step(ms(61_000), &mut rng)), Request::Connect { .. }));
    }

    #[test]
    fn a_connection_that_the_tracker_forgot_is_replaced() {
        let mut rng = fastrand::Rng::with_seed(5);
        let kept = Some(Connection { id: 5, since: ms(0) });
        // It says so.
        let mut told = exchange(kept, &mut rng);
        let Request::Announce { transaction, .. } = sent(told.step(ms(10), &mut rng)) else {
            panic!()
        };
        let error =
            Response::Error { transaction, message: "connection id".into() }.encode(Family::V4);
        assert_eq!(told.receive(ms(20), &error, &mut rng), None);
        assert!(matches!(sent(told.step(ms(20), &mut rng)), Request::Connect { .. }));
        // It says nothing.
        let mut silent = exchange(kept, &mut rng);
        assert!(matches!(sent(silent.step(ms(10), &mut rng)), Request::Announce { .. }));
        assert!(matches!(sent(silent.step(ms(510), &mut rng)), Request::Connect { .. }));
    }

    #[test]
    fn a_refusal_ends_it() {
        let mut rng = fastrand::Rng::with_seed(6);
        let mut exchange = exchange(None, &mut rng);
        let Request::Connect { transaction } = sent(exchange.step(ms(0), &mut rng)) else {
            panic!()
        };
        let error = Response::Error { transaction, message: "go away".into() }.encode(Family::V4);
        assert_eq!(exchange.receive(ms(1), &error, &mut rng), Some(Err(Refused("go away".into()))));
    }
}
