//! The client's side: what a length, a pause and the end of the stream mean, and when to dial
//! again. No sockets.

use std::time::Duration;

use super::ClientServerDialect;
use crate::io::Time;

/// What a client knows beforehand, and its timeouts.
#[derive(Debug, Clone, Copy)]
pub struct ClientConfig {
    /// What the server says first.
    pub framing: ClientServerDialect,
    /// The length of the file in bytes, when it is known from elsewhere.
    pub size: Option<u64>,
    /// The longest file that is accepted, in bytes.
    pub max_size: u64,
    /// How long a server that has never answered is dialed: it may be starting at the same time.
    pub connect_timeout: Duration,
    /// How long a server whose connection was lost is dialed.
    pub reconnect_timeout: Duration,
    /// The time in which at least [`MIN_STALL_BYTES`] bytes have to arrive.
    pub stall_timeout: Duration,
    /// How often a transfer may start over.
    pub restarts: u32,
}

impl ClientConfig {
    /// The usual timeouts, for a file of any length.
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

/// What has to arrive within [`ClientConfig::stall_timeout`], in bytes: a byte now and then would
/// otherwise hold a client without end.
pub const MIN_STALL_BYTES: u64 = 1024;

/// No file is longer, in bytes: lengths are signed on every system.
pub const MAX_FILE_LENGTH: u64 = i64::MAX as u64;

/// The delay before the second dial of a server that has never answered, and the longest delay.
const DIAL_DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The same for a server whose connection was lost.
const REDIAL_DELAYS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Why a transfer is given up for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// The server has never answered.
    OutOfReach,
    /// The connection was lost, and the server does not answer or loses it again.
    BrokenOff {
        /// How often the transfer was begun.
        begun: u32,
    },
    /// The stream ended, and its length is not the one that was named.
    WrongSize {
        /// The length that was named beforehand, in bytes.
        expected: u64,
        /// What was received, in bytes: the whole of a shorter file, or the length that the server
        /// announced.
        came: u64,
    },
    /// More bytes arrive, or are announced, than are accepted.
    TooLong {
        /// The limit, in bytes.
        limit: u64,
        /// What the server announces, in bytes; `raw` announces nothing.
        announced: Option<u64>,
    },
}

/// What a client does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAction {
    /// Dials the server at this time and begins from byte 0.
    Call(Time),
    /// Receives more.
    Receive,
    /// Everything is here.
    Done,
    /// Gives up.
    GiveUp(GiveUp),
}

/// One file from one server, over as many connections as it takes.
#[derive(Debug)]
pub struct Client {
    settings: ClientConfig,
    /// When the first dial was due, or the last connection was lost.
    lost: Time,
    begun: u32,
    /// Dials since `lost`.
    calls: u32,
    /// Of this connection: what the server announced.
    announced: Option<u64>,
    /// Of this connection, without the head.
    received: u64,
    /// Since when `window` bytes have arrived.
    since: Time,
    window: u64,
}

impl Client {
    /// A client that is about to dial.
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

    /// Bytes of the file that were received on this connection.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How often the transfer was begun.
    pub fn begun(&self) -> u32 {
        self.begun
    }

    /// When the next bytes have to be here.
    pub fn deadline(&self) -> Time {
        self.since + self.settings.stall_timeout
    }

    /// The dial failed.
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
            now + dial_delay(if has_contact { REDIAL_DELAYS } else { DIAL_DELAYS }, self.calls),
        )
    }

    /// The dial succeeded: everything begins anew.
    pub fn reached(&mut self, now: Time) {
        self.begun += 1;
        (self.announced, self.received) = (None, 0);
        (self.since, self.window) = (now, 0);
    }

    /// The server has announced the length (`framed` alone). To be checked before room is made for
    /// the file.
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

    /// How many bytes to receive at most: after a length was announced, what is missing; else one
    /// more than fits, so that too long a file is noticed.
    pub fn wanted(&self) -> u64 {
        match self.announced {
            Some(length) => length.saturating_sub(self.received),
            None => self.max_length().saturating_add(1).saturating_sub(self.received).max(1),
        }
    }

    /// Bytes of the file were received, at most [`Client::wanted`].
    pub fn arrived(&mut self, now: Time, bytes: u64) -> ClientAction {
        self.received = self.received.saturating_add(bytes);
        self.window = self.window.saturating_add(bytes);
        if self.window >= MIN_STALL_BYTES {
            (self.since, self.window) = (now, 0);
        }
        match self.announced {
            Some(length) if self.received >= length => ClientAction::Done,
            None if self.received > self.max_length() => {
                ClientAction::GiveUp(GiveUp::TooLong { limit: self.max_length(), announced: None })
            }
            _ => ClientAction::Receive,
        }
    }

    /// Nothing was received for this time because we were not ready (a rate limit of our own): the
    /// server was not silent.
    pub fn waited(&mut self, time: Duration) {
        self.since = self.since + time;
    }

    /// The stream has ended.
    pub fn ended(&mut self, now: Time) -> ClientAction {
        match (self.settings.framing, self.settings.size) {
            (ClientServerDialect::Raw, None) => ClientAction::Done,
            (ClientServerDialect::Raw, Some(expected)) if expected == self.received => {
                ClientAction::Done
            }
            (ClientServerDialect::Raw, Some(expected)) => {
                // A program that was killed also ends its streams, so that the server is dialed
                // once more.
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

    /// Nothing was received until [`Client::deadline`], or too little.
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
        ClientAction::Call(now + dial_delay(REDIAL_DELAYS, self.begun))
    }

    /// The longest file that is accepted, in bytes.
    fn max_length(&self) -> u64 {
        self.settings.size.unwrap_or(u64::MAX).min(self.settings.max_size).min(MAX_FILE_LENGTH)
    }
}

/// The delay before the next dial: twice as long each time, up to the longest.
fn dial_delay((first, longest): (Duration, Duration), calls: u32) -> Duration {
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
    fn a_server_that_is_not_up_yet_is_dialed_for_five_seconds() {
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
    fn announced_lengths_are_bounded() {
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
    fn a_trickle_counts_as_silence() {
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
    fn a_file_of_known_length_is_complete_even_if_the_connection_stays_open() {
        let mut client = client(ClientServerDialect::Raw, |settings| settings.size = Some(5));
        client.reached(at(0));
        client.arrived(at(1), 5);
        assert_eq!(client.silent(at(60_000)), ClientAction::Done);
    }

    #[test]
    fn a_server_whose_connection_is_lost_is_dialed_again_for_a_while() {
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
