//! The raw records of an experiment, as they lie on disk: what a run writes while it goes and what
//! a report is made of. No statistics here; a record says what was seen, not what it means.
//!
//! # The format
//!
//! A directory of records has one file, `records.jsonl`: one JSON object a line, UTF-8, each with a
//! `record` field that says what it is. A line is written whole as soon as it is known, so a run
//! that is killed leaves all lines but the last.
//!
//! | `record` | says | how often |
//! |---|---|---|
//! | `header` | what was done, where, by which versions, on which network ([`Header`]) | once, first line |
//! | `run` | one transfer: mode, users, file, each receiver's times and bytes ([`Run`]) | each repetition |
//! | `sample` | how many bytes a host had sent and received at a time of a run ([`Sample`]) | any number |
//! | `failure` | a run that could not be carried out ([`Failure`]) | any number |
//! | `missing` | a program that is not installed ([`Missing`]) | any number |
//!
//! Units are in the names: `…_bytes`, `…_seconds`, `…_bits_per_second` (of the link, as the shaper
//! counts: with the Ethernet header). Times are seconds since the start of their run, which is when
//! the first receiver was started. Numbers are finite and not negative. Hosts are named as the
//! network names them (`h1`).
//!
//! Samples name their run by its number and may come before it; a run is written when it is over.
//!
//! # Versions
//!
//! `header.version` is [`VERSION`]. A reader passes over fields and kinds of records that it does
//! not know, so adding some does not change the version; a change of meaning does, and an older
//! reader refuses the newer version.

mod reading;
mod writing;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    reading::{LIMITS, Limits, RecordError, Records, Series, SeriesPoint, read, read_with},
    writing::Writer,
};

/// The version of the format that this crate writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The name of the file in a directory of records.
pub const FILE_NAME: &str = "records.jsonl";

/// What was done, where, with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// The experiment's name, such as `cs-vs-p2p`.
    pub experiment: String,
    /// The command line that made these records, word by word.
    pub command: Vec<String>,
    /// The seed from which files and orders were drawn.
    pub seed: u64,
    /// What was to be compared, in the order of tables; modes that were added later are not among
    /// them.
    #[serde(default)]
    pub modes: Vec<String>,
    /// When it began: RFC 3339 in UTC.
    pub date: String,
    /// What was measured: the version of `sow`.
    pub program: String,
    /// The kernel, as `uname -sr` says it.
    pub kernel: String,
    /// TCP's congestion control in the hosts, such as `cubic`.
    pub congestion_control: String,
    /// How many CPUs all hosts shared.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// The network.
    pub topology: Topology,
    /// What the network was measured to do before the first run.
    #[serde(default)]
    pub calibration: Vec<Calibration>,
    /// Anything else that a reader of the report should know, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Whatever else runs depended on, as their maker writes it: what goes on with these records
    /// must find the same.
    #[serde(default)]
    pub settings: serde_json::Value,
}

/// Hosts round a switch, or round two switches with a trunk between them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// Every host and its link.
    pub hosts: Vec<Host>,
    /// What a link's delay was set to, one way, in seconds. Between two hosts on a switch there are
    /// two links.
    pub delay_seconds: f64,
    /// How the delay was made: `netem`, `relay` (frames held in user space), or `none`.
    pub delay_by: String,
    /// How rates were limited: `tbf`, `htb`, or `none`.
    pub shaped_by: String,
    /// The link between two switches, if there are two.
    #[serde(default)]
    pub trunk: Option<TrunkLink>,
}

/// A host and its link to the switch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// The rate from it to the switch; `None` if it was not limited.
    #[serde(default)]
    pub up_bits_per_second: Option<u64>,
    /// The rate from the switch to it; `None` if it was not limited.
    #[serde(default)]
    pub down_bits_per_second: Option<u64>,
}

/// A link between two switches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrunkLink {
    /// Its rate, in each direction.
    pub bits_per_second: u64,
    /// The hosts beyond it, seen from the first host.
    pub far_hosts: Vec<String>,
}

/// What was measured between two hosts, beside what was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Who sent.
    pub from: String,
    /// Who received.
    pub to: String,
    /// TCP payload that arrived, in bytes per second.
    #[serde(default)]
    pub payload_bytes_per_second: Option<f64>,
    /// What the links should carry, in the same unit.
    #[serde(default)]
    pub expected_payload_bytes_per_second: Option<f64>,
    /// The median round trip of an idle network.
    #[serde(default)]
    pub round_trip_seconds: Option<f64>,
    /// What the delays that were asked for add up to, there and back.
    #[serde(default)]
    pub expected_round_trip_seconds: Option<f64>,
    /// The part of the probes that was lost, 0 to 1.
    #[serde(default)]
    pub loss: Option<f64>,
}

/// One transfer: one file, from those that have it to all users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its number in this directory, from 0; samples refer to it.
    pub run: u32,
    /// What was compared: `raw`, `framed`, `chunk`, `json-torrent`, `swarm`, `aria2`, …
    pub mode: String,
    /// Whether receivers pass on what they have; says which bound applies.
    pub model: Model,
    /// The program and its version where it is not ours.
    #[serde(default)]
    pub program: Option<String>,
    /// Which repetition of the same run, from 0.
    pub repetition: u32,
    /// How many receivers there were.
    pub users: u32,
    /// What was sent.
    pub file: File,
    /// The seed of this run.
    pub seed: u64,
    /// Those that had the whole file at the start; most often one.
    pub origins: Vec<Origin>,
    /// Those that wanted it.
    pub receivers: Vec<Receiver>,
    /// The commands as they were run, `host: command line`.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Anything out of the ordinary.
    #[serde(default)]
    pub note: Option<String>,
}

/// Who sends in a mode, and so which bound applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Only origins send.
    ClientServer,
    /// Receivers send, too.
    PeerToPeer,
}

/// The file of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct File {
    /// Its name, as tables and plots show it.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A host that had the file at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Its name.
    pub host: String,
    /// Bytes of the file that it sent, counted again when sent again; `None` if nobody could tell.
    #[serde(default)]
    pub payload_up_bytes: Option<u64>,
    /// What its interface sent, headers and all.
    #[serde(default)]
    pub wire_up_bytes: Option<u64>,
    /// What its interface received.
    #[serde(default)]
    pub wire_down_bytes: Option<u64>,
}

/// What became of one receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receiver {
    /// Its name.
    pub host: String,
    /// When its program was started, in seconds since the start of the run.
    pub started_seconds: f64,
    /// When its copy was in place; `None` if that did not happen.
    #[serde(default)]
    pub finished_seconds: Option<f64>,
    /// Whether the copy was compared with the original and is the same.
    pub verified: bool,
    /// When the experiment itself took it away for good (churn). Such a receiver is not waited for,
    /// nor counted.
    #[serde(default)]
    pub left_seconds: Option<f64>,
    /// Bytes of the file that it got, by the host they came from; empty if nobody could tell.
    #[serde(default)]
    pub from_bytes: BTreeMap<String, u64>,
    /// What its interface sent.
    #[serde(default)]
    pub wire_up_bytes: Option<u64>,
    /// What its interface received.
    #[serde(default)]
    pub wire_down_bytes: Option<u64>,
    /// CPU time that its program took.
    #[serde(default)]
    pub cpu_seconds: Option<f64>,
    /// What it said when it did not end well.
    #[serde(default)]
    pub error: Option<String>,
}

impl Run {
    /// The receivers that count: all but those that the experiment took away.
    pub fn staying(&self) -> impl Iterator<Item = &Receiver> {
        self.receivers.iter().filter(|receiver| receiver.left_seconds.is_none())
    }

    /// Whether a receiver that was to get a copy has not got a right one.
    pub fn lacks_copies(&self) -> bool {
        self.staying().any(|receiver| receiver.seconds().is_none())
    }

    /// When the first receiver joined, even if it left later: it may have taken bytes off the
    /// origin. In seconds since the start of the run; `None` of no receivers.
    pub fn began(&self) -> Option<f64> {
        self.receivers.iter().map(|receiver| receiver.started_seconds).reduce(f64::min)
    }

    /// How long it took from [`Run::began`] until the last of those that count was complete; `None`
    /// if none was.
    pub fn last_seconds(&self) -> Option<f64> {
        let ended =
            self.staying().filter_map(|receiver| receiver.finished_seconds).reduce(f64::max)?;
        Some(ended - self.began()?)
    }
}

impl Receiver {
    /// How long it took from its start, if it ended with a verified copy.
    pub fn seconds(&self) -> Option<f64> {
        self.finished_seconds
            .filter(|_| self.verified)
            .map(|finished| finished - self.started_seconds)
    }
}

/// How far a host was at a time: counters of its interface, on the wire, since the start of the
/// run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The number of the run.
    pub run: u32,
    /// Seconds since its start.
    pub t: f64,
    /// The host.
    pub host: String,
    /// Bytes sent so far.
    pub up_bytes: u64,
    /// Bytes received so far.
    pub down_bytes: u64,
}

/// A run that could not be carried out or had to be given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The mode.
    pub mode: String,
    /// How many receivers there should have been.
    pub users: u32,
    /// Which repetition.
    pub repetition: u32,
    /// The file's name.
    pub file: String,
    /// Why.
    pub message: String,
}

/// A program that an experiment wanted and this machine has not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Missing {
    /// The mode that is left out for it.
    pub mode: String,
    /// The program that was looked for.
    pub program: String,
    /// How to get it.
    #[serde(default)]
    pub hint: Option<String>,
}
