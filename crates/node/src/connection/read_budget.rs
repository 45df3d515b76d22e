//! What a peer may still send before its connection is read more slowly: the engine's
//! [`MessageBudget`], charged with what was decoded and credited with the blocks of both
//! directions. The costs and the limits are the engine's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sow_engine::{Dialect, MessageBudget, block_units};

use super::{block_reader::Received, codec::CodecLimits};
use crate::clock::Clock;

/// Units that the writer of a connection has earned for its reader.
#[derive(Debug, Clone, Default)]
pub(crate) struct EarnedUnits(Arc<AtomicU32>);

/// The budget of one connection.
#[derive(Debug)]
pub(super) struct ReadBudget {
    budget: MessageBudget,
    clock: Clock,
    dialect: Dialect,
    limits: CodecLimits,
    earned: EarnedUnits,
}

impl EarnedUnits {
    /// A block was sent.
    pub(super) fn on_block(&self, dialect: Dialect, length: u32) {
        self.0.fetch_add(block_units(dialect, length), Ordering::Relaxed);
    }
}

impl ReadBudget {
    pub(super) fn new(
        dialect: Dialect,
        limits: CodecLimits,
        earned: EarnedUnits,
        clock: Clock,
    ) -> Self {
        let budget = MessageBudget::new(clock.now());
        Self { budget, clock, dialect, limits, earned }
    }

    /// Charges the peer for what it sent. `Some`: how long its connection is not to be read.
    pub(super) fn charge(&mut self, batch: &[Received]) -> Option<Duration> {
        let pieces = self.limits.pieces();
        let mut earned = self.earned.0.swap(0, Ordering::Relaxed);
        for received in batch {
            match received {
                Received::Message(message) => self.budget.on_message(message, pieces),
                Received::Block(request, _) => {
                    earned = earned.saturating_add(block_units(self.dialect, request.length));
                }
            }
        }
        self.budget.earn(earned);
        self.budget.delay(self.clock.now())
    }
}
