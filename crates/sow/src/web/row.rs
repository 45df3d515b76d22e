//! A receiver as it is shown: what its owner publishes, and what follows from several updates.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use sow_content::untrusted::excerpt;

use crate::{fleet::Receiver, report::ReceiverState};

/// The time in which an older rate of progress loses two thirds of its weight.
const SMOOTHING: Duration = Duration::from_secs(4);

/// What is known of a receiver. Texts may come from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReceiverRow {
    /// What makes it the same receiver in the next update.
    pub(crate) key: String,
    /// What it is called.
    pub(crate) name: String,
    /// Its address and port.
    pub(crate) peer: String,
    /// Its program and version, as it says.
    pub(crate) program: String,
    /// What it is doing.
    pub(crate) state: ReceiverState,
    /// The bytes that it has verified.
    pub(crate) bytes: u64,
    /// Why it failed.
    pub(crate) error: Option<String>,
}

impl ReceiverRow {
    /// A receiver that uses this program.
    pub(crate) fn new(receiver: &Receiver, program: &str) -> Self {
        let peer = receiver.peer();
        // What has no name goes by its address.
        let name = if receiver.name == peer { "" } else { &receiver.name };
        Self {
            key: format!("{} {}", receiver.id, if receiver.id.is_empty() { name } else { "" }),
            name: name.to_owned(),
            peer,
            program: program.to_owned(),
            state: receiver.state,
            bytes: receiver.bytes,
            error: receiver.last_error.clone(),
        }
    }
}

/// A receiver as `/status` and the page show it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ShownReceiver {
    /// Its number in this run.
    id: u32,
    name: String,
    peer: String,
    program: String,
    state: ReceiverState,
    bytes: u64,
    /// Verified bytes per second, over the last seconds.
    rate: u64,
    /// Seconds from the start of the share until it was first seen.
    since: f64,
    /// Seconds from then until it was complete, or until now.
    seconds: f64,
    error: Option<String>,
    #[serde(skip)]
    exact_rate: f64,
}

/// What changed in a receiver.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    Progress,
    /// Texts, too.
    All,
}

impl ShownReceiver {
    /// A receiver that is seen first `now`, in seconds after the start.
    pub(super) fn new(id: u32, row: &ReceiverRow, now: f64) -> Self {
        Self {
            id,
            name: excerpt(&row.name),
            peer: excerpt(&row.peer),
            program: excerpt(&row.program),
            state: row.state,
            bytes: row.bytes,
            rate: 0,
            since: rounded(now),
            seconds: 0.0,
            error: row.error.as_deref().map(excerpt),
            exact_rate: 0.0,
        }
    }

    /// Takes an update `elapsed` seconds after the last one.
    pub(super) fn update(&mut self, row: &ReceiverRow, now: f64, elapsed: f64) -> Change {
        let (name, peer) = (excerpt(&row.name), excerpt(&row.peer));
        let (program, error) = (excerpt(&row.program), row.error.as_deref().map(excerpt));
        let is_renamed = (&name, &peer, &program, &error)
            != (&self.name, &self.peer, &self.program, &self.error);
        let gained = row.bytes.saturating_sub(self.bytes) as f64;
        if elapsed > 0.0 {
            let weight = 1.0 - (-elapsed / SMOOTHING.as_secs_f64()).exp();
            self.exact_rate += (gained / elapsed - self.exact_rate) * weight;
        }
        if row.state != ReceiverState::Connected {
            self.exact_rate = 0.0;
        } else {
            self.seconds = rounded((now - self.since).max(0.0));
        }
        let rate = significant(self.exact_rate);
        let is_moved = (row.state, row.bytes, rate) != (self.state, self.bytes, self.rate);
        if row.state != self.state {
            self.seconds = rounded((now - self.since).max(0.0));
        }
        (self.state, self.bytes, self.rate) = (row.state, row.bytes, rate);
        (self.name, self.peer, self.program, self.error) = (name, peer, program, error);
        match (is_renamed, is_moved) {
            (true, _) => Change::All,
            (false, true) => Change::Progress,
            (false, false) => Change::Nothing,
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn state(&self) -> ReceiverState {
        self.state
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    /// Everything, for the page.
    pub(super) fn whole(&self) -> Value {
        json!([
            self.id,
            self.state,
            self.bytes,
            self.rate,
            self.name,
            self.peer,
            self.program,
            self.error,
            self.since,
            self.seconds
        ])
    }

    /// What changes often, for the page.
    pub(super) fn progress(&self) -> Value {
        json!([self.id, self.state, self.bytes, self.rate, self.seconds])
    }
}

/// To milliseconds.
pub(super) fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// Three significant digits, so that a steady rate is no change.
fn significant(rate: f64) -> u64 {
    let rate = rate as u64;
    let unit = 10u64.pow(rate.checked_ilog10().unwrap_or(0).saturating_sub(2));
    rate / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bytes: u64) -> ReceiverRow {
        ReceiverRow {
            key: "k".into(),
            name: "web1\u{202e}<b>".into(),
            peer: "10.0.0.1:1".into(),
            program: String::new(),
            state: ReceiverState::Connected,
            bytes,
            error: None,
        }
    }

    #[test]
    fn the_rate_follows_the_progress() {
        let mut shown = ShownReceiver::new(1, &row(0), 1.0);
        for second in 1..=40u64 {
            let change = shown.update(&row(second * 1_234_567), 1.0 + second as f64, 1.0);
            assert_eq!(change, Change::Progress);
        }
        assert_eq!((shown.rate(), shown.seconds), (1_230_000, 40.0));
        let mut done = row(40 * 1_234_567);
        done.state = ReceiverState::Complete;
        assert_eq!(shown.update(&done, 42.0, 1.0), Change::Progress);
        assert_eq!((shown.rate(), shown.seconds), (0, 41.0));
        assert_eq!(shown.update(&done, 99.0, 1.0), Change::Nothing);
        assert_eq!(shown.seconds, 41.0);
        done.error = Some("no space".into());
        assert_eq!(shown.update(&done, 99.0, 1.0), Change::All);
    }

    #[test]
    fn texts_of_receivers_are_cleaned() {
        let shown = ShownReceiver::new(1, &row(0), 0.0);
        assert_eq!(shown.name, "web1\\u{202e}<b>");
    }
}
