//! The events of `--json`: one object a line, each with `event` and `t`, in the words of the
//! contract.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;
use sow_lab::{
    network::{Calibration, LabStatus},
    record::{Failure, Missing, Run},
    run::Outcome,
};

/// Something that scripts are told. Sizes are bytes, rates bytes per second.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event<'a> {
    /// Others can fetch from here now.
    Ready {
        /// What they give to `sow get`.
        ticket: Option<String>,
        /// For any BitTorrent program.
        magnet: Option<String>,
        /// Where the .torrent file can be downloaded.
        torrent: Option<String>,
        /// The port that is listened on.
        port: u16,
    },
    /// How far it is; once a second.
    Progress {
        /// `get`: verified bytes; `send`: bytes sent.
        bytes: u64,
        /// The size of the content; `null` while it is not known.
        total: Option<u64>,
        /// Coming in.
        rate_down: u64,
        /// Going out.
        rate_up: u64,
        /// Connected peers.
        peers: usize,
        /// `get`: bytes sent to others.
        #[serde(skip_serializing_if = "Option::is_none")]
        sent: Option<u64>,
    },
    /// `send`: something changed with a receiver.
    Receiver {
        /// Its address.
        peer: &'a str,
        /// How much it has verified.
        bytes: u64,
        /// What it is doing.
        state: ReceiverState,
    },
    /// `get`: a download is in place; `send`: as many receivers are complete as were expected.
    Complete {
        /// Where it is.
        path: &'a str,
        /// Its size.
        bytes: u64,
        /// How long it took.
        seconds: f64,
        /// How much an earlier run had fetched already.
        resumed_bytes: u64,
        /// Who sent how much.
        from: BTreeMap<String, u64>,
    },
    /// The same of a stream without checks (`raw`, `framed`), under the same name.
    #[serde(rename = "complete")]
    StreamComplete {
        /// Where it is; `null` when it is in memory.
        path: Option<&'a str>,
        /// Its size.
        bytes: u64,
        /// How long it took.
        seconds: f64,
        /// Never anything: a stream begins with its first byte.
        resumed_bytes: u64,
        /// Who sent how much.
        from: BTreeMap<String, u64>,
        /// The length was announced, or known beforehand.
        length_known: bool,
        /// Of what is in memory.
        #[serde(skip_serializing_if = "Option::is_none")]
        md5: Option<&'a str>,
    },
    /// `lab`: a network that is up.
    Lab(&'a LabStatus),
    /// `lab`: what its links do.
    Calibration(&'a Calibration),
    /// `lab run`: what is about to be done.
    Plan {
        /// How many runs.
        runs: usize,
        /// How many were made before.
        done: usize,
        /// About how long it takes.
        expected_seconds: u64,
    },
    /// `lab run`: a program is not installed.
    Missing(&'a Missing),
    /// `lab run`: a run was made.
    Run(&'a Run),
    /// `lab run`: a run could not be made.
    Failure(&'a Failure),
    /// `lab run`: the end, and the files of the report.
    Outcome {
        /// How many runs came to what.
        #[serde(flatten)]
        outcome: &'a Outcome,
        /// The page first.
        files: &'a [Cow<'a, str>],
    },
    /// What went wrong, before the program ends (or, with several downloads, one of them).
    Error {
        /// The exit code that goes with it.
        code: u8,
        /// What, and where.
        message: &'a str,
    },
}

/// What a receiver is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReceiverState {
    /// It is there and fetches.
    Connected,
    /// It has verified everything.
    Complete,
    /// It left before it had everything.
    Gone,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Event<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'a str>,
    t: f64,
}

/// An event as it is printed, without the newline. `t` is seconds since start, `what` which of
/// several downloads is meant.
pub(super) fn line(t: f64, what: Option<&str>, event: &Event<'_>) -> String {
    let line = Line { event, what, t: (t * 1000.0).round() / 1000.0 };
    serde_json::to_string(&line).expect("numbers, texts and maps of texts become JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_spelled_as_in_the_contract() {
        let ready = Event::Ready {
            ticket: Some("10.0.0.1:52000/abc".into()),
            magnet: Some("magnet:?x".into()),
            torrent: None,
            port: 52000,
        };
        assert_eq!(
            line(0.12345, None, &ready),
            r#"{"event":"ready","ticket":"10.0.0.1:52000/abc","magnet":"magnet:?x","torrent":null,"port":52000,"t":0.123}"#
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
            r#"{"event":"progress","bytes":1,"total":2,"rate_down":3,"rate_up":4,"peers":5,"t":1.0}"#
        );
        let passing_on = Event::Progress {
            bytes: 1,
            total: None,
            rate_down: 3,
            rate_up: 4,
            peers: 5,
            sent: Some(6),
        };
        assert_eq!(
            line(1.0, None, &passing_on),
            r#"{"event":"progress","bytes":1,"total":null,"rate_down":3,"rate_up":4,"peers":5,"sent":6,"t":1.0}"#
        );
        let receiver =
            Event::Receiver { peer: "[::1]:9", bytes: 7, state: ReceiverState::Complete };
        assert_eq!(
            line(2.0, None, &receiver),
            r#"{"event":"receiver","peer":"[::1]:9","bytes":7,"state":"complete","t":2.0}"#
        );
        let complete = Event::Complete {
            path: "a",
            bytes: 9,
            seconds: 1.5,
            resumed_bytes: 0,
            from: BTreeMap::from([("10.0.0.1:52000".to_owned(), 9)]),
        };
        assert_eq!(
            line(3.0, None, &complete),
            r#"{"event":"complete","path":"a","bytes":9,"seconds":1.5,"resumed_bytes":0,"from":{"10.0.0.1:52000":9},"t":3.0}"#
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
            r#"{"event":"complete","path":null,"bytes":9,"seconds":1.5,"resumed_bytes":0,"from":{},"length_known":false,"md5":"ab","t":3.0}"#
        );
        assert_eq!(
            line(4.0, Some("x.torrent"), &Event::Error { code: 8, message: "a\nb" }),
            r#"{"event":"error","code":8,"message":"a\nb","what":"x.torrent","t":4.0}"#
        );
    }
}
