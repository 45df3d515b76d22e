//! The events of `--json`: one object a line, each with `event` and `t`. Their names and fields are
//! part of the command line's contract.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;
use sow_content::untrusted::is_unprintable;
use sow_lab::{
    network::{Calibration, LabStatus},
    record::{Failure, Missing, Run},
    run::Outcome,
};

/// An event for scripts. Sizes are in bytes, rates in bytes per second.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event<'a> {
    /// Other machines can download from here now.
    Ready {
        /// The WHAT for `sow get`.
        ticket: Option<String>,
        /// The magnet link, for any BitTorrent program.
        magnet: Option<String>,
        /// The URL of the .torrent file.
        torrent: Option<String>,
        /// The port on which this program listens.
        port: u16,
    },
    /// Progress; once a second.
    Progress {
        /// `get`: verified bytes; `send`: bytes sent.
        bytes: u64,
        /// The size of the content; `null` while it is unknown.
        total: Option<u64>,
        /// The rate of receiving.
        rate_down: u64,
        /// The rate of sending.
        rate_up: u64,
        /// Connected peers.
        peers: usize,
        /// `get`: bytes sent to other peers.
        #[serde(skip_serializing_if = "Option::is_none")]
        sent: Option<u64>,
    },
    /// `send`: the state of a receiver has changed.
    Receiver {
        /// What identifies it: the id of its copy, or else its address.
        id: &'a str,
        /// Its name, or else its address.
        name: &'a str,
        /// Its address.
        peer: &'a str,
        /// The bytes that it has verified.
        bytes: u64,
        /// Its state.
        state: ReceiverState,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
    /// `serve`: content is shared from now on, or no more.
    Share {
        /// Its path.
        path: &'a str,
        /// Whether it is shared.
        state: ShareState,
        /// Its swarm, in hexadecimal digits.
        info_hash: &'a str,
        /// The WHAT for `sow get`; `null` when it is withdrawn.
        ticket: Option<&'a str>,
        /// Its size.
        bytes: u64,
        /// The bytes that were hashed for it: 0 when it was remembered.
        hashed: u64,
        /// Why it is withdrawn.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    /// `get`: a target is complete; `send`: the expected number of receivers is complete.
    Complete {
        /// The path of the target.
        path: &'a str,
        /// Its size.
        bytes: u64,
        /// The duration.
        seconds: f64,
        /// The bytes that an earlier run has downloaded.
        resumed_bytes: u64,
        /// The bytes by peer.
        from: BTreeMap<String, u64>,
    },
    /// The same event for a transfer in memory or without piece checks (`raw`, `framed`).
    #[serde(rename = "complete")]
    StreamComplete {
        /// The path of the target; `null` for memory.
        path: Option<&'a str>,
        /// Its size.
        bytes: u64,
        /// The duration.
        seconds: f64,
        /// Always 0: such a transfer starts with the first byte.
        resumed_bytes: u64,
        /// The bytes by peer.
        from: BTreeMap<String, u64>,
        /// The server announced the length, or the command line named it.
        length_known: bool,
        /// The MD5 of content in memory.
        #[serde(skip_serializing_if = "Option::is_none")]
        md5: Option<&'a str>,
    },
    /// `lab`: a network that is up.
    Lab(&'a LabStatus),
    /// `lab`: the measurement of its links.
    Calibration(&'a Calibration),
    /// `lab run`: the plan.
    Plan {
        /// The number of runs.
        runs: usize,
        /// The number of runs that were made before.
        done: usize,
        /// The expected duration.
        expected_seconds: u64,
    },
    /// `lab run`: a program is not installed.
    Missing(&'a Missing),
    /// `lab run`: a run was made.
    Run(&'a Run),
    /// `lab run`: a run could not be made.
    Failure(&'a Failure),
    /// `lab run`: the outcome, and the files of the report.
    Outcome {
        /// The number of runs by outcome.
        #[serde(flatten)]
        outcome: &'a Outcome,
        /// The HTML page first.
        files: &'a [Cow<'a, str>],
    },
    /// A failure, before the program or one of several downloads ends.
    Error {
        /// The exit code of the failure.
        code: u8,
        /// The message of the failure.
        message: &'a str,
    },
}

/// Whether content is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ShareState {
    /// It is, from now on.
    Shared,
    /// It is no more.
    Withdrawn,
}

/// The state of a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReceiverState {
    /// It is connected and downloads.
    Connected,
    /// It has verified the whole content.
    Complete,
    /// It disconnected before it was complete.
    Gone,
    /// It has given up, and said why.
    Failed,
    /// It is expected and was never connected.
    Missing,
}

impl ReceiverState {
    /// As it stands in events and files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Complete => "complete",
            Self::Gone => "gone",
            Self::Failed => "failed",
            Self::Missing => "missing",
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Event<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The WHAT of one of several downloads.
    what: Option<&'a str>,
    t: f64,
}

/// The line of an event, without the newline. `t` is the time in seconds since the start, `what`
/// the WHAT of one of several downloads.
pub(super) fn line(t: f64, what: Option<&str>, event: &Event<'_>) -> String {
    let line = Line { event, what, t: (t * 1000.0).round() / 1000.0 };
    serde_json::to_string(&line).expect("numbers, texts and maps of texts become JSON")
}

/// JSON with the characters escaped that JSON allows in its strings but that can steer a terminal.
/// Outside strings all of JSON is ASCII.
pub(super) fn ascii_controls(json: &str) -> Cow<'_, str> {
    let is_escaped = |c: char| !c.is_ascii() && is_unprintable(c);
    if !json.contains(|c| is_escaped(c) || c == '\u{7f}') {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if is_escaped(c) || c == '\u{7f}' {
            c.encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_transfer_have_the_names_and_fields_of_the_contract() {
        let ready = Event::Ready {
            ticket: Some("10.0.0.1:52000/abc".into()),
            magnet: Some("magnet:?x".into()),
            torrent: None,
            port: 52000,
        };
        assert_eq!(
            line(0.12345, None, &ready),
            concat!(
                r#"{"event":"ready","ticket":"10.0.0.1:52000/abc","magnet":"magnet:?x","#,
                r#""torrent":null,"port":52000,"t":0.123}"#
            )
        );
        let progress = Event::Progress {
            bytes: 1,
            total: Some(2),
            rate_down: 3,
            rate_up: 4,
            peers: 5,
            sent: None,
        };
        assert_eq!(
            line(1.0, None, &progress),
            concat!(
                r#"{"event":"progress","bytes":1,"total":2,"rate_down":3,"rate_up":4,"#,
                r#""peers":5,"t":1.0}"#
            )
        );
        let with_uploads = Event::Progress {
            bytes: 1,
            total: None,
            rate_down: 3,
            rate_up: 4,
            peers: 5,
            sent: Some(6),
        };
        assert_eq!(
            line(1.0, None, &with_uploads),
            concat!(
                r#"{"event":"progress","bytes":1,"total":null,"rate_down":3,"rate_up":4,"#,
                r#""peers":5,"sent":6,"t":1.0}"#
            )
        );
        let receiver = Event::Receiver {
            id: "0a",
            name: "web01",
            peer: "[::1]:9",
            bytes: 7,
            state: ReceiverState::Complete,
            error: None,
        };
        assert_eq!(
            line(2.0, None, &receiver),
            concat!(
                r#"{"event":"receiver","id":"0a","name":"web01","peer":"[::1]:9","bytes":7,"#,
                r#""state":"complete","t":2.0}"#
            )
        );
    }

    #[test]
    fn strings_in_json_cannot_steer_the_terminal() {
        let name = "a\u{1b}\u{7f}\u{9b}\u{2028}\u{202e}\u{e0001}ü\n";
        let json = serde_json::to_string(name).unwrap();
        let escaped = ascii_controls(&json);
        assert_eq!(escaped, r#""a\u001b\u007f\u009b\u2028\u202e\udb40\udc01ü\n""#);
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), name);
        assert!(matches!(ascii_controls("{}"), Cow::Borrowed("{}")));
    }

    #[test]
    fn the_last_events_have_the_names_and_fields_of_the_contract() {
        let complete = Event::Complete {
            path: "a",
            bytes: 9,
            seconds: 1.5,
            resumed_bytes: 0,
            from: BTreeMap::from([("10.0.0.1:52000".to_owned(), 9)]),
        };
        assert_eq!(
            line(3.0, None, &complete),
            concat!(
                r#"{"event":"complete","path":"a","bytes":9,"seconds":1.5,"resumed_bytes":0,"#,
                r#""from":{"10.0.0.1:52000":9},"t":3.0}"#
            )
        );
        let stream = Event::StreamComplete {
            path: None,
            bytes: 9,
            seconds: 1.5,
            resumed_bytes: 0,
            from: BTreeMap::new(),
            length_known: false,
            md5: Some("ab"),
        };
        assert_eq!(
            line(3.0, None, &stream),
            concat!(
                r#"{"event":"complete","path":null,"bytes":9,"seconds":1.5,"resumed_bytes":0,"#,
                r#""from":{},"length_known":false,"md5":"ab","t":3.0}"#
            )
        );
        assert_eq!(
            line(4.0, Some("x.torrent"), &Event::Error { code: 8, message: "a\nb" }),
            r#"{"event":"error","code":8,"message":"a\nb","what":"x.torrent","t":4.0}"#
        );
    }
}
