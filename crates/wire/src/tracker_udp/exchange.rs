//! The client's side of one announce over UDP as a state machine: connect, announce, and retransmit
//! lost datagrams.
//!
//! Time and randomness are arguments; the owner of the socket sends and receives the datagrams.
//!
//! BEP 15 retransmits after 15 · 2ⁿ s, up to an hour. With that, one lost datagram delays the first
//! byte of a download by 15 s. An exchange retransmits after 0.5, 1, 2 and 4 s instead and gives up
//! after another 8 s, in total about the first timeout of BEP 15: a tracker that is down receives
//! five datagrams of 16 bytes. Later attempts are up to the announce schedule, which treats all
//! failed trackers alike.

use std::time::Duration;

use super::{Family, Request, Response};
use crate::tracker::{AnnounceRequest, AnnounceResponse};

/// How long a client may use a connection id (BEP 15).
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);

/// The timeout of the first datagram; it doubles with every retransmission.
const FIRST_TIMEOUT: Duration = Duration::from_millis(500);

/// The number of times that a datagram is sent before the exchange gives up.
const MAX_ATTEMPTS: u32 = 5;

/// A connection id and the time when it was received. It can be used again for a minute (BEP 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    id: u64,
    since: Duration,
}

/// What the owner of the socket does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this datagram to the tracker, then poll again.
    Send(Vec<u8>),
    /// Wait for a datagram until this time, then poll again.
    Wait(Duration),
    /// Give up: the tracker has not answered for 15 s.
    GiveUp,
}

/// The tracker rejected the announce with this message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FailureReason(pub String);

/// One announce to one address of a tracker.
#[derive(Debug)]
pub struct Exchange {
    announce: AnnounceRequest,
    url_data: Vec<u8>,
    family: Family,
    phase: Phase,
    transaction: u32,
    /// How many times the datagram of this phase was sent.
    attempts: u32,
    /// When the last datagram times out.
    timeout_at: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The exchange requests a connection id.
    Connecting,
    /// The exchange sends the announce.
    Announcing {
        connection: Connection,
        /// The connection id is from an earlier exchange; the tracker may have forgotten it.
        reused: bool,
    },
}

impl Exchange {
    /// An announce to a tracker at an address of `family`. `url_data` is the path and query of its
    /// URL (BEP 41), `connection` the connection id of an earlier exchange with the same address.
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
        Self {
            announce,
            url_data,
            family,
            phase,
            transaction,
            attempts: 0,
            timeout_at: Duration::ZERO,
        }
    }

    /// What to do at the time `now`.
    pub fn poll(&mut self, now: Duration, rng: &mut fastrand::Rng) -> Output {
        if now < self.timeout_at {
            return Output::Wait(self.timeout_at);
        }
        if let Phase::Announcing { connection, reused } = self.phase {
            // Trackers ignore an announce with an unknown connection id, so a reused id gets one
            // attempt only.
            if !connection.is_valid(now) || reused && self.attempts > 0 {
                self.enter(Phase::Connecting, rng);
            }
        }
        if self.attempts == MAX_ATTEMPTS {
            return Output::GiveUp;
        }
        self.timeout_at = now + FIRST_TIMEOUT * (1 << self.attempts);
        self.attempts += 1;
        Output::Send(self.datagram())
    }

    /// Handles a datagram from the tracker's address. Returns the result of the announce, or `None`
    /// when the exchange continues: then poll again. Datagrams that do not belong to the exchange
    /// are ignored.
    pub fn handle_datagram(
        &mut self,
        now: Duration,
        datagram: &[u8],
        rng: &mut fastrand::Rng,
    ) -> Option<Result<AnnounceResponse, FailureReason>> {
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
            (Response::Error { message, .. }, _) => Some(Err(FailureReason(message))),
            _ => None,
        }
    }

    /// The connection id of the exchange, for the next exchange with the same address.
    pub fn connection(&self) -> Option<Connection> {
        match self.phase {
            Phase::Announcing { connection, .. } => Some(connection),
            Phase::Connecting => None,
        }
    }

    fn enter(&mut self, phase: Phase, rng: &mut fastrand::Rng) {
        self.phase = phase;
        self.transaction = rng.u32(..);
        self.attempts = 0;
        self.timeout_at = Duration::ZERO;
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
    /// Whether the connection id may still be used at the time `now`.
    fn is_valid(self, now: Duration) -> bool {
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

    fn sent(output: Output) -> Request {
        let Output::Send(bytes) = output else { panic!("{output:?}") };
        Request::decode(&bytes).unwrap()
    }

    fn response_to(request: &Request) -> Response {
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
                        named_peers: Vec::new(),
                        warning: None,
                        tracker_id: None,
                    },
                }
            }
        }
    }

    #[test]
    fn an_announce_follows_a_connect_without_delay() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut exchange = exchange(None, &mut rng);
        let connect = sent(exchange.poll(ms(0), &mut rng));
        assert_eq!(exchange.poll(ms(0), &mut rng), Output::Wait(ms(500)));
        assert_eq!(
            exchange.handle_datagram(ms(20), &response_to(&connect).encode(Family::V4), &mut rng),
            None
        );
        let announce = sent(exchange.poll(ms(20), &mut rng));
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
        assert_ne!(first, second, "a late error for the connect must not end the announce");
        let result =
            exchange.handle_datagram(ms(40), &response_to(&announce).encode(Family::V4), &mut rng);
        assert_eq!(result.unwrap().unwrap().complete, Some(1));
        assert_eq!(exchange.connection(), Some(Connection { id: 99, since: ms(20) }));
    }

    #[test]
    fn a_lost_datagram_is_retransmitted_five_times_at_most() {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut exchange = exchange(None, &mut rng);
        let (mut now, mut times) = (ms(7), Vec::new());
        loop {
            match exchange.poll(now, &mut rng) {
                Output::Send(_) => times.push(now.as_millis()),
                Output::Wait(until) => now = until,
                Output::GiveUp => break,
            }
        }
        assert_eq!(times, [7, 507, 1507, 3507, 7507]);
        assert_eq!(now, ms(15_507));
    }

    #[test]
    fn datagrams_of_other_transactions_are_ignored() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut exchange = exchange(None, &mut rng);
        let connect = sent(exchange.poll(ms(0), &mut rng));
        let Request::Connect { transaction } = connect else { panic!() };
        let wrong = Response::Connect { transaction: transaction.wrapping_add(1), connection: 5 };
        for bytes in [wrong.encode(Family::V4), vec![], vec![0; 7], vec![0xff; 100]] {
            assert_eq!(exchange.handle_datagram(ms(1), &bytes, &mut rng), None);
        }
        assert_eq!(exchange.connection(), None);
        let right = response_to(&connect).encode(Family::V4);
        assert_eq!(exchange.handle_datagram(ms(2), &right, &mut rng), None);
        assert!(exchange.connection().is_some());
        assert_eq!(exchange.handle_datagram(ms(3), &right, &mut rng), None, "a duplicate");
    }

    #[test]
    fn a_connection_id_is_reused_for_a_minute() {
        let mut rng = fastrand::Rng::with_seed(4);
        let kept = Some(Connection { id: 5, since: ms(1000) });
        let mut early = exchange(kept, &mut rng);
        assert!(matches!(
            sent(early.poll(ms(60_999), &mut rng)),
            Request::Announce { connection: 5, .. }
        ));
        let mut late = exchange(kept, &mut rng);
        assert!(matches!(sent(late.poll(ms(61_000), &mut rng)), Request::Connect { .. }));
    }

    #[test]
    fn a_connection_id_that_the_tracker_forgot_is_replaced() {
        let mut rng = fastrand::Rng::with_seed(5);
        let kept = Some(Connection { id: 5, since: ms(0) });
        // The tracker answers with an error.
        let mut rejected = exchange(kept, &mut rng);
        let Request::Announce { transaction, .. } = sent(rejected.poll(ms(10), &mut rng)) else {
            panic!()
        };
        let error =
            Response::Error { transaction, message: "connection id".into() }.encode(Family::V4);
        assert_eq!(rejected.handle_datagram(ms(20), &error, &mut rng), None);
        assert!(matches!(sent(rejected.poll(ms(20), &mut rng)), Request::Connect { .. }));
        // The tracker does not answer.
        let mut ignored = exchange(kept, &mut rng);
        assert!(matches!(sent(ignored.poll(ms(10), &mut rng)), Request::Announce { .. }));
        assert!(matches!(sent(ignored.poll(ms(510), &mut rng)), Request::Connect { .. }));
    }

    #[test]
    fn an_error_of_the_tracker_ends_the_exchange() {
        let mut rng = fastrand::Rng::with_seed(6);
        let mut exchange = exchange(None, &mut rng);
        let Request::Connect { transaction } = sent(exchange.poll(ms(0), &mut rng)) else {
            panic!()
        };
        let error = Response::Error { transaction, message: "go away".into() }.encode(Family::V4);
        let reason = FailureReason("go away".into());
        assert_eq!(exchange.handle_datagram(ms(1), &error, &mut rng), Some(Err(reason)));
    }
}
