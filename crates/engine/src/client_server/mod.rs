//! Client/server transfers: `raw` (document 1, section 1) and `framed` (document 2, section 1). Who
//! is served at once and who waits; for a client, what a length, a pause and the end of the stream
//! mean, and when to call again.
//!
//! Neither protocol says more than the bytes themselves: no request, no offset, no check. So a
//! transfer that breaks off starts over, and nothing here can tell wrong bytes from right ones.

use std::{collections::VecDeque, fmt, time::Duration};

use crate::io::{ConnId, Time};

/// What the server says before the bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientServerDialect {
    /// Nothing: the end of the stream is the end of the file.
    Raw,
    /// The length of the file.
    Framed,
}

/// How many callers a server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Served at the same time; at least one is.
    pub served: usize,
    /// Waiting for their turn beyond those, in the order in which they called; any more are
    /// refused.
    pub waiting: usize,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self { served: 256, waiting: 1024 }
    }
}

/// What a server does with a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is served now.
    Serve,
    /// It is served when somebody leaves.
    Wait,
    /// There is no place left, not even to wait.
    Refuse,
}

/// A server's places and who has them.
#[derive(Debug)]
pub struct AdmissionQueue {
    places: AdmissionLimits,
    served: usize,
    waiting: VecDeque<ConnId>,
}

impl AdmissionQueue {
    /// Nobody is there yet.
    pub fn new(places: AdmissionLimits) -> Self {
        let places = AdmissionLimits { served: places.served.max(1), ..places };
        Self { places, served: 0, waiting: VecDeque::new() }
    }

    /// Somebody calls.
    pub fn arrived(&mut self, caller: ConnId) -> Admission {
        if self.served < self.places.served {
            self.served += 1;
            Admission::Serve
        } else if self.waiting.len() < self.places.waiting {
            self.waiting.push_back(caller);
            Admission::Wait
        } else {
            Admission::Refuse
        }
    }

    /// Somebody who was served is gone, however that ended. Returns who is served next.
    pub fn left(&mut self) -> Option<ConnId> {
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.served = self.served.saturating_sub(1);
        }
        next
    }
}

/// What a client knows beforehand, and how patient it is.
#[derive(Debug, Clone, Copy)]
pub struct ClientConfig {
    /// What the server says first.
    pub framing: ClientServerDialect,
    /// The length of the file in bytes, when it is known from elsewhere.
    pub size: Option<u64>,
    /// The longest file that is taken, in bytes.
    pub max_size: u64,
    /// How long a server that has never answered is called again: it may be starting at the same
    /// time.
    pub connect_timeout: Duration,
    /// How long a server that broke off is called again.
    pub reconnect_timeout: Duration,
    /// The time in which at least [`MIN_STALL_BYTES`] bytes must come.
    pub stall_timeout: Duration,
    /// How often a transfer may start over.
    pub restarts: u32,
}

impl ClientConfig {
    /// The usual connect_timeout for a file of any length.
    pub fn new(framing: ClientServerDialect) -> Self {
        Self {
            framing,
            size: None,
            max_size: u64::MAX,
            connect_timeout: Duration::from_secs(5),
            reconnect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            restarts: 10,
        }
    }
}

/// What must come within [`ClientConfig::stall_timeout`], in bytes: a byte now and then would
/// otherwise hold a client for ever.
pub const MIN_STALL_BYTES: u64 = 1024;

/// No file is longer, in bytes: lengths are signed on every system.
pub const MAX_FILE_LENGTH: u64 = i64::MAX as u64;

/// The pause before the second call of a server that has never answered, and the longest one.
const CALL_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The same for a server that broke off.
const RETURN_PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Why a transfer is given up for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// The server has never answered.
    OutOfReach,
    /// The server broke off, and does not answer or breaks off again and again.
    BrokenOff {
        /// How often the transfer was begun.
        begun: u32,
    },
    /// The stream ended in good order, and its length is not the one that was named.
    WrongSize {
        /// The length that was named beforehand, in bytes.
        expected: u64,
        /// What came, in bytes: the whole of a shorter file, or the length that the server
        /// announced.
        came: u64,
    },
    /// More bytes come, or are announced, than are taken.
    TooLong {
        /// The most that is taken, in bytes.
        limit: u64,
        /// What the server announces, in bytes; `raw` announces nothing.
        announced: Option<u64>,
    },
}

/// What a client does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAction {
    /// Calls the server at this time and begins from byte 0.
    Call(Time),
    /// Goes on receiving.
    Receive,
    /// Everything has come.
    Done,
    /// Stops for good.
    GiveUp(GiveUp),
}

/// One file from one server, over as many connections as it takes.
#[derive(Debug)]
pub struct Client {
    settings: ClientConfig,
    /// When the first call was due, or the last connection was lost.
    lost: Time,
    begun: u32,
    /// Calls since `lost`.
    calls: u32,
    /// Of this connection: what the server announced.
    announced: Option<u64>,
    /// Of this connection, without the head.
    received: u64,
    /// Since when `window` bytes have come.
    since: Time,
    window: u64,
}

impl Client {
    /// A client that is about to call.
    pub fn new(now: Time, settings: ClientConfig) -> Self {
        Self {
            settings,
            lost: now,
            begun: 0,
            calls: 0,
            announced: None,
            received: 0,
            since: now,
            window: 0,
        }
    }

    /// The length of the file in bytes, as far as it is known.
    pub fn length(&self) -> Option<u64> {
        self.announced.or(self.settings.size)
    }

    /// Bytes of the file that came over this connection.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How often the transfer was begun.
    pub fn begun(&self) -> u32 {
        self.begun
    }

    /// Until when the next bytes have to come.
    pub fn deadline(&self) -> Time {
        self.since + self.settings.stall_timeout
    }

    /// The call came to nothing.
    pub fn not_reached(&mut self, now: Time) -> ClientAction {
        self.calls += 1;
        let has_contact = self.begun > 0;
        let connect_timeout = if has_contact {
            self.settings.reconnect_timeout
        } else {
            self.settings.connect_timeout
        };
        if now.since(self.lost) >= connect_timeout {
            return ClientAction::GiveUp(match has_contact {
                true => GiveUp::BrokenOff { begun: self.begun },
                false => GiveUp::OutOfReach,
            });
        }
        ClientAction::Call(
            now + pause(if has_contact { RETURN_PAUSES } else { CALL_PAUSES }, self.calls),
        )
    }

    /// The call was answered: everything begins anew.
    pub fn reached(&mut self, now: Time) {
        self.begun += 1;
        (self.announced, self.received) = (None, 0);
        (self.since, self.window) = (now, 0);
    }

    /// The server has announced the length (framed alone). To be asked before anything is made room
    /// for.
    pub fn announced(&mut self, now: Time, length: u64) -> ClientAction {
        (self.since, self.window) = (now, 0);
        let limit = self.settings.max_size.min(MAX_FILE_LENGTH);
        if length > limit {
            return ClientAction::GiveUp(GiveUp::TooLong { limit, announced: Some(length) });
        }
        match self.settings.size {
            Some(expected) if expected != length => {
                ClientAction::GiveUp(GiveUp::WrongSize { expected, came: length })
            }
            _ => {
                self.announced = Some(length);
                if length == 0 { ClientAction::Done } else { ClientAction::Receive }
            }
        }
    }

    /// The most bytes to receive at once: after a length was announced, what is missing; else one
    /// more than fits, so that too long a file is noticed.
    pub fn wanted(&self) -> u64 {
        match self.announced {
            Some(length) => length.saturating_sub(self.received),
            None => self.most().saturating_add(1).saturating_sub(self.received).max(1),
        }
    }

    /// Bytes of the file have come, at most [`Client::wanted`].
    pub fn arrived(&mut self, now: Time, bytes: u64) -> ClientAction {
        self.received = self.received.saturating_add(bytes);
        self.window = self.window.saturating_add(bytes);
        if self.window >= MIN_STALL_BYTES {
            (self.since, self.window) = (now, 0);
        }
        match self.announced {
            Some(length) if self.received >= length => ClientAction::Done,
            None if self.received > self.most() => {
                ClientAction::GiveUp(GiveUp::TooLong { limit: self.most(), announced: None })
            }
            _ => ClientAction::Receive,
        }
    }

    /// So much time passed because we were not ready to receive (a limit of our own): it is not the
    /// server's silence.
    pub fn waited(&mut self, time: Duration) {
        self.since = self.since + time;
    }

    /// The stream has ended in good order.
    pub fn ended(&mut self, now: Time) -> ClientAction {
        match (self.settings.framing, self.settings.size) {
            (ClientServerDialect::Raw, None) => ClientAction::Done,
            (ClientServerDialect::Raw, Some(expected)) if expected == self.received => {
                ClientAction::Done
            }
            (ClientServerDialect::Raw, Some(expected)) => {
                // A program that was killed also ends its streams in good order, so that it is
                // asked once more.
                if self.begun > 1 {
                    ClientAction::GiveUp(GiveUp::WrongSize { expected, came: self.received })
                } else {
                    self.broke_off(now)
                }
            }
            // Before the head, or before the last byte that it announced.
            (ClientServerDialect::Framed, _) => self.broke_off(now),
        }
    }

    /// Nothing has come until [`Client::deadline`], or too little.
    pub fn silent(&mut self, now: Time) -> ClientAction {
        match (self.settings.framing, self.settings.size) {
            // A server that does not close the connection after a file of known length.
            (ClientServerDialect::Raw, Some(expected)) if expected == self.received => {
                ClientAction::Done
            }
            _ => self.broke_off(now),
        }
    }

    /// The connection was lost.
    pub fn broke_off(&mut self, now: Time) -> ClientAction {
        if self.begun > self.settings.restarts {
            return ClientAction::GiveUp(GiveUp::BrokenOff { begun: self.begun });
        }
        (self.lost, self.calls) = (now, 0);
        ClientAction::Call(now + pause(RETURN_PAUSES, self.begun))
    }

    /// The longest file that is taken.
    fn most(&self) -> u64 {
        self.settings.size.unwrap_or(u64::MAX).min(self.settings.max_size).min(MAX_FILE_LENGTH)
    }
}

impl fmt::Display for ClientServerDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Framed => "framed",
        })
    }
}

/// The pause after so many calls: twice as long each time, up to the longest.
fn pause((first, longest): (Duration, Duration), calls: u32) -> Duration {
    first.saturating_mul(1 << calls.saturating_sub(1).min(16)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time(millis * 1000)
    }

    fn client(framing: ClientServerDialect, change: impl FnOnce(&mut ClientConfig)) -> Client {
        let mut settings = ClientConfig::new(framing);
        change(&mut settings);
        Client::new(at(0), settings)
    }

    fn call_time(next: ClientAction) -> Time {
        let ClientAction::Call(time) = next else { panic!("{next:?}") };
        time
    }

    #[test]
    fn callers_are_served_wait_in_order_or_are_refused() {
        let mut reception = AdmissionQueue::new(AdmissionLimits { served: 2, waiting: 2 });
        let admitted: Vec<_> = (0..5).map(|caller| reception.arrived(ConnId(caller))).collect();
        use Admission::{Refuse, Serve, Wait};
        assert_eq!(admitted, [Serve, Serve, Wait, Wait, Refuse]);
        assert_eq!(reception.left(), Some(ConnId(2)));
        assert_eq!(reception.arrived(ConnId(5)), Wait);
        assert_eq!([reception.left(), reception.left()], [Some(ConnId(3)), Some(ConnId(5))]);
        assert_eq!([reception.left(), reception.left()], [None, None]);
        assert_eq!(reception.arrived(ConnId(6)), Serve);
        assert_eq!(
            AdmissionQueue::new(AdmissionLimits { served: 0, waiting: 0 }).arrived(ConnId(0)),
            Serve
        );
    }

    #[test]
    fn a_server_that_is_not_up_yet_is_called_for_five_seconds() {
        let mut client = client(ClientServerDialect::Raw, |_| {});
        let (mut now, mut calls) = (at(0), 0);
        let end = loop {
            match client.not_reached(now) {
                ClientAction::Call(time) => {
                    assert!(time > now && time.since(now) <= Duration::from_secs(1));
                    (now, calls) = (time, calls + 1);
                }
                next => break next,
            }
        };
        assert_eq!(end, ClientAction::GiveUp(GiveUp::OutOfReach));
        assert!((5_000_000..=6_000_000).contains(&now.0) && calls >= 6, "{now:?}, {calls} calls");
    }

    #[test]
    fn the_end_of_a_raw_stream_is_the_end_of_the_file() {
        let mut client = client(ClientServerDialect::Raw, |_| {});
        client.reached(at(1));
        assert_eq!((client.length(), client.arrived(at(2), 700)), (None, ClientAction::Receive));
        assert_eq!(client.ended(at(3)), ClientAction::Done);
    }

    #[test]
    fn a_raw_file_of_known_length_is_neither_shorter_nor_longer() {
        let sized = || client(ClientServerDialect::Raw, |settings| settings.size = Some(10));
        let mut right = sized();
        right.reached(at(0));
        assert_eq!(right.wanted(), 11);
        assert_eq!(
            (right.arrived(at(1), 10), right.ended(at(2))),
            (ClientAction::Receive, ClientAction::Done)
        );
        let mut long = sized();
        long.reached(at(0));
        let wrong = |came| ClientAction::GiveUp(GiveUp::WrongSize { expected: 10, came });
        assert_eq!(
            long.arrived(at(1), 11),
            ClientAction::GiveUp(GiveUp::TooLong { limit: 10, announced: None })
        );
        let mut short = sized();
        short.reached(at(0));
        short.arrived(at(1), 9);
        // It may have been killed; twice the same is another file.
        assert!(call_time(short.ended(at(2))) > at(2));
        short.reached(at(300));
        assert_eq!(short.received(), 0);
        short.arrived(at(301), 9);
        assert_eq!(short.ended(at(302)), wrong(9));
    }

    #[test]
    fn a_frame_has_exactly_its_length() {
        let mut client = client(ClientServerDialect::Framed, |_| {});
        client.reached(at(0));
        assert_eq!(client.announced(at(1), 5), ClientAction::Receive);
        assert_eq!((client.wanted(), client.arrived(at(2), 4)), (5, ClientAction::Receive));
        assert!(call_time(client.ended(at(3))) > at(3));
        client.reached(at(500));
        assert_eq!((client.received(), client.length()), (0, None));
        client.announced(at(501), 5);
        assert_eq!((client.arrived(at(502), 5), client.wanted()), (ClientAction::Done, 0));
        client.reached(at(600));
        assert_eq!(client.announced(at(601), 0), ClientAction::Done);
    }

    #[test]
    fn lengths_are_bounded_before_they_are_believed() {
        for (length, max_size) in [(11, 10), (1 << 63, u64::MAX), (u64::MAX, u64::MAX)] {
            let mut client =
                client(ClientServerDialect::Framed, |settings| settings.max_size = max_size);
            client.reached(at(0));
            let limit = max_size.min(MAX_FILE_LENGTH);
            let too_long = ClientAction::GiveUp(GiveUp::TooLong { limit, announced: Some(length) });
            assert_eq!(client.announced(at(1), length), too_long);
        }
        let mut raw = client(ClientServerDialect::Raw, |settings| settings.max_size = 10);
        raw.reached(at(0));
        assert_eq!(raw.wanted(), 11);
        assert_eq!(raw.arrived(at(1), 10), ClientAction::Receive);
        let too_long = GiveUp::TooLong { limit: 10, announced: None };
        assert_eq!(raw.arrived(at(2), 1), ClientAction::GiveUp(too_long));
        let mut other = client(ClientServerDialect::Framed, |settings| settings.size = Some(7));
        other.reached(at(0));
        let wrong = GiveUp::WrongSize { expected: 7, came: 8 };
        assert_eq!(other.announced(at(1), 8), ClientAction::GiveUp(wrong));
    }

    #[test]
    fn a_trickle_is_as_good_as_silence() {
        let mut client = client(ClientServerDialect::Raw, |_| {});
        client.reached(at(0));
        for second in 0..60 {
            assert!(client.deadline() > at(second * 1000), "second {second}");
            client.arrived(at(second * 1000), 1);
        }
        assert_eq!(client.deadline(), at(60_000));
        client.arrived(at(60_000), MIN_STALL_BYTES);
        assert_eq!(client.deadline(), at(120_000));
        client.waited(Duration::from_secs(5));
        assert_eq!(client.deadline(), at(125_000));
        assert!(call_time(client.silent(at(125_000))) > at(125_000));
    }

    #[test]
    fn a_file_of_known_length_is_there_even_if_the_connection_stays_open() {
        let mut client = client(ClientServerDialect::Raw, |settings| settings.size = Some(5));
        client.reached(at(0));
        client.arrived(at(1), 5);
        assert_eq!(client.silent(at(60_000)), ClientAction::Done);
    }

    #[test]
    fn a_server_that_breaks_off_is_called_again_for_a_while() {
        let mut lost = client(ClientServerDialect::Raw, |_| {});
        lost.reached(at(0));
        let mut now = call_time(lost.broke_off(at(60_000)));
        assert!(now > at(60_000));
        let end = loop {
            match lost.not_reached(now) {
                ClientAction::Call(time) => now = time,
                next => break next,
            }
        };
        assert_eq!(end, ClientAction::GiveUp(GiveUp::BrokenOff { begun: 1 }));
        assert!((at(90_000)..=at(96_000)).contains(&now), "{now:?}");

        let mut fickle = client(ClientServerDialect::Raw, |settings| settings.restarts = 3);
        let mut ends = Vec::new();
        for _ in 0..4 {
            fickle.reached(at(0));
            ends.push(fickle.broke_off(at(0)));
        }
        assert!(ends[..3].iter().all(|end| matches!(end, ClientAction::Call(_))), "{ends:?}");
        assert_eq!(ends[3], ClientAction::GiveUp(GiveUp::BrokenOff { begun: 4 }));
    }
}
