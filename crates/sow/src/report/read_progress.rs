//! Progress of reading through content of known size: hashing and checking.

use std::time::Instant;

use super::{Meter, Report};
use crate::quantity::{Rate, Size};

/// Progress of one pass over content.
pub(crate) struct ReadProgress {
    meter: Meter,
    started: Instant,
    total: u64,
}

impl Report {
    /// Starts to show a pass over `total` bytes.
    pub(crate) fn read_progress(&self, label: String, total: u64) -> ReadProgress {
        ReadProgress { meter: self.meter(label), started: Instant::now(), total }
    }
}

impl ReadProgress {
    /// Shows that `done` bytes are read. May be called from any thread.
    pub(crate) fn set(&self, done: u64) {
        self.meter.set(done, self.total, || {
            let rate = done as f64 / self.started.elapsed().as_secs_f64().max(0.001);
            format!("{} of {}  {}", Size(done), Size(self.total), Rate(rate as u64))
        });
    }
}
