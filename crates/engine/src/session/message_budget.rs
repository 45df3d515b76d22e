//! What the messages of one peer may cost. A peer that sends more than honest programs do is read
//! more slowly: the flood waits on its own connection, and no other one does.
//!
//! It is counted in units; one is about what the engine needs for a request. Blocks in either
//! direction earn units, so that a fast transfer pays for its requests and is never slowed.

use std::time::Duration;

use sow_wire::{
    bittorrent, chunk,
    dialect::{Dialect, Message},
    json_torrent,
};

use super::bittorrent::{HANDSHAKE_ID, UT_PEX_ID};
use crate::io::Time;

/// Units that a connection begins with, and that it saves at most: all requests that may wait, or
/// the metadata of a large torrent in pieces of 16 KiB.
pub const MESSAGE_BURST: u32 = 16_384;

/// Units that a connection earns in a second, whatever is transferred.
pub const MESSAGES_PER_SECOND: u32 = 2_000;

/// A block earns one unit for this many of its bytes. So 16 KiB earn 32, and a flood of requests
/// for a few bytes each earns nothing.
const BYTES_PER_UNIT: u32 = 512;

/// Units that a whole piece earns besides, in the dialects that need several messages for each:
/// the original `chunk` client asks for a list before every chunk.
const UNITS_PER_WHOLE_PIECE: u32 = 80;

/// HAVEs beyond one for each piece that cost nothing.
const EXTRA_HAVES: u32 = 1024;

/// A part of a unit, so that short times count.
const MICROS_PER_SECOND: u64 = 1_000_000;

/// The budget of one connection.
#[derive(Debug)]
pub struct MessageBudget {
    /// Millionths of a unit; negative while the peer is in debt.
    balance: i64,
    refilled_at: Time,
    haves: u32,
}

impl MessageBudget {
    /// A full budget.
    pub fn new(now: Time) -> Self {
        Self { balance: millionths(MESSAGE_BURST), refilled_at: now, haves: 0 }
    }

    /// The peer sent a message. `pieces`: how many the content has, as far as that is known.
    pub fn on_message(&mut self, message: &Message, pieces: u32) {
        let is_have = matches!(
            message,
            Message::BitTorrent(bittorrent::Message::Have(_))
                | Message::JsonTorrent(json_torrent::Message::Have(_))
        );
        if is_have && self.haves < pieces.saturating_add(EXTRA_HAVES) {
            // A peer tells of each piece once, as fast as its link brings them.
            self.haves += 1;
            return;
        }
        self.balance -= millionths(cost_of(message));
    }

    /// Units were earned, see [`block_units`].
    pub fn earn(&mut self, units: u32) {
        self.balance = (self.balance + millionths(units)).min(millionths(MESSAGE_BURST));
    }

    /// How long the connection is not to be read, if its peer is in debt.
    pub fn delay(&mut self, now: Time) -> Option<Duration> {
        // An hour pays for any debt.
        let time = now.since(self.refilled_at).min(Duration::from_secs(3600));
        let earned = time.as_micros() as i64 * i64::from(MESSAGES_PER_SECOND);
        self.balance = (self.balance + earned).min(millionths(MESSAGE_BURST));
        self.refilled_at = now;
        let debt = u64::try_from(-self.balance).unwrap_or(0);
        (debt > 0).then(|| Duration::from_micros(debt.div_ceil(MESSAGES_PER_SECOND.into())))
    }
}

/// The units that a block earns for the connection on which it was sent or received.
pub fn block_units(dialect: Dialect, length: u32) -> u32 {
    let whole = if dialect == Dialect::BitTorrent { 0 } else { UNITS_PER_WHOLE_PIECE };
    whole + length / BYTES_PER_UNIT
}

fn millionths(units: u32) -> i64 {
    i64::from(units) * MICROS_PER_SECOND as i64
}

fn cost_of(message: &Message) -> u32 {
    match message {
        Message::BitTorrent(message) => cost_of_bittorrent(message),
        Message::Chunk(message) => cost_of_chunk(message),
        Message::JsonTorrent(message) => cost_of_json_torrent(message),
    }
}

fn cost_of_bittorrent(message: &bittorrent::Message) -> u32 {
    use bittorrent::Message as M;
    match message {
        M::Have(_) | M::Request(_) | M::Reject(_) => 1,
        M::Cancel(_) => 2,
        M::KeepAlive | M::Suggest(_) | M::AllowedFast(_) => 4,
        // The choker looks at every peer.
        M::Choke | M::Unchoke | M::Interested | M::NotInterested => 16,
        M::HaveAll | M::HaveNone | M::Port(_) => 16,
        M::Bitfield(bytes) => 64 + cost_of_bytes(bytes.len()),
        M::Extended { id, payload } => match *id {
            HANDSHAKE_ID | UT_PEX_ID => 64 + cost_of_bytes(payload.len()),
            // Metadata comes in pieces of 16 KiB.
            _ => 16 + cost_of_bytes(payload.len().saturating_sub(20 * 1024)),
        },
    }
}

/// A list or a greeting is answered with all chunks or all clients.
fn cost_of_chunk(message: &chunk::Message) -> u32 {
    use chunk::Message as M;
    match message {
        M::Request(_) => 1,
        M::Hello { .. } | M::ListRequest => 64,
        _ => 16,
    }
}

/// Interest is part of each exchange.
fn cost_of_json_torrent(message: &json_torrent::Message) -> u32 {
    use json_torrent::Message as M;
    match message {
        M::Request(_) | M::Have(_) => 1,
        M::Choke | M::Unchoke | M::Interested | M::NotInterested => 2,
        M::KeepAlive => 4,
        M::Bitfield(bytes) => 64 + cost_of_bytes(bytes.len()),
        M::ServerClose => 16,
    }
}

fn cost_of_bytes(length: usize) -> u32 {
    u32::try_from(length / 256).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use sow_wire::bittorrent::{BlockRequest, Message as M};

    use super::*;

    const PIECES: u32 = 100;

    /// Sends messages for ten seconds, as many as the budget allows; how many that is in a second
    /// after the first burst.
    fn sustained(message: M) -> u32 {
        let (message, mut now) = (Message::from(message), Time(0));
        let mut budget = MessageBudget::new(now);
        let mut sent = 0;
        while now < Time(20_000_000) {
            budget.on_message(&message, PIECES);
            sent += u32::from(now >= Time(10_000_000));
            if let Some(delay) = budget.delay(now) {
                now = now + delay;
            }
        }
        sent / 10
    }

    #[test]
    fn a_flood_is_read_at_a_bounded_rate() {
        assert!((120..=130).contains(&sustained(M::Interested)), "{}", sustained(M::Interested));
        assert!((490..=510).contains(&sustained(M::KeepAlive)));
        assert!((1990..=2010).contains(&sustained(M::Have(1))));
        let handshake = M::Extended { id: 0, payload: b"de"[..].into() };
        assert!((30..=33).contains(&sustained(handshake)));
    }

    #[test]
    fn a_fast_transfer_is_not_slowed() {
        let now = Time(0);
        let mut budget = MessageBudget::new(now);
        let request = M::Request(BlockRequest { piece: 0, offset: 0, length: 16384 });
        for have in 0..100_000 {
            budget.on_message(&request.clone().into(), PIECES);
            budget.on_message(&M::Have(have).into(), 100_000);
            budget.earn(block_units(Dialect::BitTorrent, 16384));
            assert_eq!(budget.delay(now), None);
        }
    }

    #[test]
    fn an_exchange_of_a_small_piece_pays_for_itself() {
        use json_torrent::Message as J;
        let mut budget = MessageBudget::new(Time(0));
        for _ in 0..100_000 {
            for message in [J::Interested, J::Request(1), J::NotInterested] {
                budget.on_message(&Message::JsonTorrent(message), PIECES);
            }
            budget.earn(block_units(Dialect::JsonTorrent, 10));
        }
        assert_eq!(budget.delay(Time(0)), None);
    }

    #[test]
    fn requests_for_a_few_bytes_earn_nothing() {
        assert_eq!(block_units(Dialect::BitTorrent, 1), 0);
        assert_eq!(block_units(Dialect::BitTorrent, 16384), 32);
    }

    #[test]
    fn a_quiet_time_fills_the_budget_and_no_more() {
        let mut budget = MessageBudget::new(Time(0));
        let message = Message::from(M::Interested);
        for _ in 0..2 * MESSAGE_BURST / 16 {
            budget.on_message(&message, PIECES);
        }
        let delay = budget.delay(Time(0)).unwrap();
        let expected = f64::from(MESSAGE_BURST) / f64::from(MESSAGES_PER_SECOND);
        assert!((delay.as_secs_f64() - expected).abs() < 0.01, "{delay:?}");
        assert_eq!(budget.delay(Time(100_000_000)), None);
        assert_eq!(budget.balance, millionths(MESSAGE_BURST));
    }
}
