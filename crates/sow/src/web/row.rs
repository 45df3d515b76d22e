//! A receiver as it is shown: what its owner publishes, and what follows from several updates.

use serde::Serialize;
use serde_json::{Value, json};
use sow_content::untrusted::excerpt;

use crate::{fleet::Receiver, report::ReceiverState};

/// What is known of a receiver. Texts may come from it.
#[derive(Debug, Clone, PartialEq)]
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
    /// Verified bytes per second, over the last seconds.
    pub(crate) rate: u64,
    /// Seconds from the start of the share until it was first seen, if it was.
    pub(crate) since: Option<f64>,
    /// Seconds from then until it was complete, or was last seen.
    pub(crate) seconds: f64,
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
            rate: receiver.rate,
            since: receiver.first_seen.map(|at| at.as_secs_f64()),
            seconds: receiver.seconds().unwrap_or(0.0),
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
    rate: u64,
    since: f64,
    seconds: f64,
    error: Option<String>,
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
            rate: rate_of(row),
            since: rounded(row.since.unwrap_or(now)),
            seconds: rounded(row.seconds),
            error: row.error.as_deref().map(excerpt),
        }
    }

    /// Takes an update.
    pub(super) fn update(&mut self, row: &ReceiverRow) -> Change {
        let (name, peer) = (excerpt(&row.name), excerpt(&row.peer));
        let (program, error) = (excerpt(&row.program), row.error.as_deref().map(excerpt));
        let is_renamed = (&name, &peer, &program, &error)
            != (&self.name, &self.peer, &self.program, &self.error);
        let rate = rate_of(row);
        let is_moved = (row.state, row.bytes, rate) != (self.state, self.bytes, self.rate);
        (self.state, self.bytes, self.rate) = (row.state, row.bytes, rate);
        self.seconds = rounded(row.seconds);
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

/// The rate of a receiver that downloads. Three significant digits, so that a steady rate is no
/// change.
fn rate_of(row: &ReceiverRow) -> u64 {
    let rate = if row.state == ReceiverState::Connected { row.rate } else { 0 };
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
            rate: 0,
            since: Some(2.0),
            seconds: 0.0,
            error: None,
        }
    }

    #[test]
    fn rates_and_times_are_those_of_the_receiver() {
        let mut shown = ShownReceiver::new(1, &row(0), 1.0);
        assert_eq!((shown.rate(), shown.seconds), (0, 0.0));
        let moving = ReceiverRow { rate: 1_234_567, seconds: 4.0, ..row(5_000_000) };
        assert_eq!(shown.update(&moving), Change::Progress);
        assert_eq!((shown.rate(), shown.seconds), (1_230_000, 4.0));
        let steady = ReceiverRow { rate: 1_234_999, seconds: 5.0, ..moving };
        assert_eq!(shown.update(&steady), Change::Nothing);
        let done = ReceiverRow { state: ReceiverState::Complete, seconds: 5.5, ..steady };
        assert_eq!(shown.update(&done), Change::Progress);
        assert_eq!((shown.rate(), shown.seconds), (0, 5.5));
        let failed = ReceiverRow { error: Some("no space".into()), ..done };
        assert_eq!(shown.update(&failed), Change::All);
    }

    #[test]
    fn one_that_comes_and_completes_between_two_updates_has_its_time() {
        let quick = ReceiverRow { state: ReceiverState::Complete, seconds: 0.4, ..row(9) };
        let shown = ShownReceiver::new(1, &quick, 30.0);
        assert_eq!((shown.since, shown.seconds), (2.0, 0.4));
    }

    #[test]
    fn texts_of_receivers_are_cleaned() {
        let shown = ShownReceiver::new(1, &row(0), 0.0);
        assert_eq!(shown.name, "web1\\u{202e}<b>");
    }
}
