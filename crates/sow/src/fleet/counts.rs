//! The figures of a whole fleet at a moment: how many receivers are what, at which rate, and for
//! how long still.

use std::time::Duration;

use sow_content::Geometry;

use super::Receiver;
use crate::report::{ReceiverState, terminal_text::Tone};

/// How long a receiver may get nothing before that is shown as a stall.
const STALL: Duration = Duration::from_secs(10);

/// The same, in multiples of its mean time for a piece: on a slow link a piece takes long.
const STALL_PIECES: f64 = 4.0;

/// The same, before its first piece.
const FIRST_PIECE_STALL: Duration = Duration::from_secs(30);

/// The figures of a fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FleetCounts {
    /// The size of the content in bytes.
    pub(crate) total: u64,
    /// The length of a piece in bytes.
    piece_length: u64,
    /// Receivers that download or are complete: what has left is not in sums and means.
    pub(crate) known: usize,
    /// The bytes that these have verified.
    pub(crate) bytes: u64,
    /// Receivers with a verified copy.
    pub(crate) complete: usize,
    /// Receivers that download and get something.
    pub(crate) downloading: usize,
    /// Receivers that are connected and get nothing.
    pub(crate) stalled: usize,
    /// Receivers that have given up.
    pub(crate) failed: usize,
    /// Receivers that have disconnected before they were complete.
    pub(crate) gone: usize,
    /// Expected hosts that were never connected.
    pub(crate) missing: usize,
    /// The rate at which all receivers together get verified bytes, in bytes per second.
    pub(crate) rate: u64,
    /// The time until the last one that downloads is complete, at its present rate.
    pub(crate) time_left: Option<Duration>,
}

impl FleetCounts {
    /// The figures of these receivers; `now` is the time since the start of the run.
    pub(crate) fn new(geometry: &Geometry, receivers: &[Receiver], now: Duration) -> Self {
        let (total, piece_length) = (geometry.total(), u64::from(geometry.piece_length()));
        let mut counts = Self { total, piece_length, ..Self::default() };
        for one in receivers {
            let is_stalled = counts.is_stalled(one, now);
            let count = match one.state {
                ReceiverState::Connected if is_stalled => &mut counts.stalled,
                ReceiverState::Connected => &mut counts.downloading,
                ReceiverState::Complete => &mut counts.complete,
                ReceiverState::Gone => &mut counts.gone,
                ReceiverState::Failed => &mut counts.failed,
                ReceiverState::Missing => &mut counts.missing,
            };
            *count += 1;
            if one.is_active() || one.is_complete() {
                counts.known += 1;
                counts.bytes = counts.bytes.saturating_add(one.bytes);
            }
            if one.is_active() {
                counts.rate = counts.rate.saturating_add(one.rate);
                counts.time_left = counts.time_left.max(time_left(one));
            }
        }
        counts
    }

    /// The bytes that the fleet has verified, and all that it is to have: with the receivers that
    /// are expected and have not come.
    pub(crate) fn progress(&self, expected: Option<usize>) -> (u64, u64) {
        let known = self.known.max(expected.unwrap_or(0)).max(1) as u64;
        match self.total {
            0 => (self.complete as u64, known),
            total => (self.bytes, total.saturating_mul(known)),
        }
    }

    /// Whether a receiver is connected and gets nothing for longer than it needs for a piece.
    pub(crate) fn is_stalled(&self, receiver: &Receiver, now: Duration) -> bool {
        let (Some(first), Some(last)) = (receiver.first_seen, receiver.last_progress) else {
            return false;
        };
        if !receiver.is_active() || receiver.bytes >= receiver.total {
            return false;
        }
        let idle = now.saturating_sub(last);
        let pieces = receiver.bytes as f64 / self.piece_length.max(1) as f64;
        let limit = match pieces >= 1.0 {
            true => last.saturating_sub(first).mul_f64(STALL_PIECES / pieces).max(STALL),
            false => FIRST_PIECE_STALL,
        };
        idle >= limit
    }

    /// The counts as parts of a line; what is zero is left out.
    pub(crate) fn parts(&self, complete: usize, expected: Option<usize>) -> Vec<(Tone, String)> {
        let of = expected.map_or_else(String::new, |expected| format!(" of {expected}"));
        let is_met = expected.is_some_and(|expected| complete >= expected);
        let tone = if is_met { Tone::Done } else { Tone::Plain };
        let mut parts = vec![(tone, format!("{complete}{of} complete"))];
        for (count, tone, text) in [
            (self.downloading, Tone::Plain, "downloading"),
            (self.stalled, Tone::Bad, "stalled"),
            (self.failed, Tone::Bad, "failed"),
            (self.gone, Tone::Bad, "disconnected"),
            (self.missing, Tone::Plain, "not connected"),
        ] {
            if count > 0 {
                parts.push((tone, format!("{count} {text}")));
            }
        }
        if parts.len() == 1 && self.known == 0 {
            parts.push((Tone::Plain, "waiting for receivers".to_owned()));
        }
        parts
    }
}

/// The time until a receiver is complete at its present rate, in whole seconds.
pub(super) fn time_left(receiver: &Receiver) -> Option<Duration> {
    let missing = receiver.total.saturating_sub(receiver.bytes);
    missing.checked_div(receiver.rate).map(Duration::from_secs)
}
