//! The raw records of an experiment and their format on disk. Runs write them, reports are made of
//! them. A record states what was observed; statistics are elsewhere.
//!
//! # The format
//!
//! A directory of records has one file, `records.jsonl`: one JSON object a line, UTF-8, each with a
//! `record` field that names its kind. A line is written in one piece as soon as it is known, so a
//! run that is killed leaves all lines but the last.
//!
//! | `record` | content | how often |
//! |---|---|---|
//! | `header` | experiment, machine, versions, network ([`Header`]) | once, first line |
//! | `run` | one transfer: mode, users, file, times, bytes ([`Run`]) | each repetition |
//! | `sample` | bytes of a host at a time of a run ([`Sample`]) | any number |
//! | `failure` | a run that could not be made ([`Failure`]) | any number |
//! | `missing` | a program that is not installed ([`Missing`]) | any number |
//! | `labels` | words for the report ([`Labels`]); the last one counts | any number |
//!
//! Units are in the names: `…_bytes`, `…_seconds`, `…_bits_per_second` (of the link, as the shaper
//! counts: with the Ethernet header). Times are seconds since the start of their run, which is when
//! the first receiver was started. Numbers are finite and not negative. Hosts are named as the
//! network names them (`h1`).
//!
//! Samples name their run by its number and may precede it; a run is written when it is over.
//!
//! # Versions
//!
//! `header.version` is [`VERSION`]. A reader ignores fields and kinds of records that it does not
//! know, so additions do not change the version. A change of meaning does, and an older reader
//! refuses the newer version.

mod labels;
mod line_error;
mod reader;
mod writer;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    labels::{AXES, LINES, Labels, TITLES},
    line_error::LineError,
    reader::{READ_LIMITS, ReadLimits, RecordError, Records, Series, SeriesPoint, read, read_with},
    writer::Writer,
};

/// The version of the format that this crate writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The name of the file in a directory of records.
pub const FILE_NAME: &str = "records.jsonl";

/// The experiment, the machine and the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// The experiment's name, such as `cs-vs-p2p`.
    pub experiment: String,
    /// The command line that made these records, word by word.
    pub command: Vec<String>,
    /// The seed of files and orders.
    pub seed: u64,
    /// The compared modes in the order of tables. Modes that were added later are missing here.
    #[serde(default)]
    pub modes: Vec<String>,
    /// The start of the experiment: RFC 3339 in UTC.
    pub date: String,
    /// The measured program: the version of `sow`.
    pub program: String,
    /// The kernel, as printed by `uname -sr`.
    pub kernel: String,
    /// TCP's congestion control in the hosts, such as `cubic`.
    pub congestion_control: String,
    /// The number of CPUs that all hosts shared.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// The network.
    pub topology: Topology,
    /// The measurement of the network before the first run.
    #[serde(default)]
    pub calibration: Vec<Calibration>,
    /// Notes for readers of the report, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// All other values that runs depend on. An experiment that continues these records must have
    /// the same.
    #[serde(default)]
    pub settings: serde_json::Value,
}

/// Hosts around a switch, or around two switches with a trunk between them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// Every host and its link.
    pub hosts: Vec<Host>,
    /// The configured delay of a link, one way, in seconds. A path between two hosts on a switch
    /// has two links.
    pub delay_seconds: f64,
    /// How frames were delayed: `netem`, `relay` (frames held in user space), or `none`.
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

/// The measured and the expected properties of a path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The sending host.
    pub from: String,
    /// The receiving host.
    pub to: String,
    /// The TCP payload that arrived, in bytes per second.
    #[serde(default)]
    pub payload_bytes_per_second: Option<f64>,
    /// The payload that the links should carry, in the same unit.
    #[serde(default)]
    pub expected_payload_bytes_per_second: Option<f64>,
    /// The median round trip of the idle network.
    #[serde(default)]
    pub round_trip_seconds: Option<f64>,
    /// The sum of the configured delays, both ways.
    #[serde(default)]
    pub expected_round_trip_seconds: Option<f64>,
    /// The share of the pings that was lost, 0 to 1.
    #[serde(default)]
    pub loss: Option<f64>,
}

/// One transfer: one file, from the origins to all receivers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its number in this directory, from 0; samples refer to it.
    pub run: u32,
    /// The mode: `raw`, `framed`, `chunk`, `json-torrent`, `swarm` (that is `sow send` and
    /// `sow get`), `aria2`, …
    pub mode: String,
    /// Whether receivers upload; decides which bound applies.
    pub model: Model,
    /// The program and its version, for programs of others.
    #[serde(default)]
    pub program: Option<String>,
    /// Whether it was simulated and not measured.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
    /// The repetition of the same run, from 0.
    pub repetition: u32,
    /// The number of receivers.
    pub users: u32,
    /// The file that was sent.
    pub file: File,
    /// The seed of this run.
    pub seed: u64,
    /// The hosts that had the whole file at the start; usually one.
    pub origins: Vec<Origin>,
    /// The hosts that fetched it.
    pub receivers: Vec<Receiver>,
    /// The commands as they were run, `host: command line`.
    #[serde(default)]
    pub commands: Vec<String>,
    /// The events of the run.
    #[serde(default)]
    pub note: Option<String>,
}

/// Which hosts send in a mode; decides which bound applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Only origins send.
    ClientServer,
    /// Receivers send, too.
    PeerToPeer,
    /// The origin sends every byte once, and the network copies it for each receiver.
    Multicast,
}

/// The file of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct File {
    /// Its name in tables and plots.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A host that had the file at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Its name.
    pub host: String,
    /// The bytes of the file that it sent, repeated parts included; `None` if unknown.
    #[serde(default)]
    pub payload_up_bytes: Option<u64>,
    /// The bytes that its interface sent, headers included.
    #[serde(default)]
    pub wire_up_bytes: Option<u64>,
    /// The bytes that its interface received, headers included.
    #[serde(default)]
    pub wire_down_bytes: Option<u64>,
}

/// A host that fetched the file, and its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receiver {
    /// Its name.
    pub host: String,
    /// The start of its program, in seconds since the start of the run.
    pub started_seconds: f64,
    /// The time at which its copy was in place; `None` if it never was.
    #[serde(default)]
    pub finished_seconds: Option<f64>,
    /// Whether the copy was compared with the original and is the same.
    pub verified: bool,
    /// The time at which the experiment killed it for good (churn). Such a receiver is not waited
    /// for and does not count.
    #[serde(default)]
    pub left_seconds: Option<f64>,
    /// The bytes of the file that it received from each host; empty if unknown.
    #[serde(default)]
    pub from_bytes: BTreeMap<String, u64>,
    /// The bytes that its interface sent, headers included.
    #[serde(default)]
    pub wire_up_bytes: Option<u64>,
    /// The bytes that its interface received, headers included.
    #[serde(default)]
    pub wire_down_bytes: Option<u64>,
    /// The CPU time of its program.
    #[serde(default)]
    pub cpu_seconds: Option<f64>,
    /// The error, if it has no correct copy.
    #[serde(default)]
    pub error: Option<String>,
}

/// How [`Topology::shaped_by`] begins where nothing was measured.
const SIMULATOR: &str = "simulator";

impl Topology {
    /// Whether the network was simulated.
    pub fn is_simulated(&self) -> bool {
        self.shaped_by.starts_with(SIMULATOR)
    }
}

impl Run {
    /// The receivers that count: all that the experiment did not kill for good.
    pub fn staying(&self) -> impl Iterator<Item = &Receiver> {
        self.receivers.iter().filter(|receiver| receiver.left_seconds.is_none())
    }

    /// Whether a receiver that counts lacks a correct copy.
    pub fn lacks_copies(&self) -> bool {
        self.staying().any(|receiver| receiver.seconds().is_none())
    }

    /// The time at which the first receiver joined, in seconds since the start of the run; `None`
    /// without receivers. A receiver that left later counts here, because it used the origin's
    /// link.
    pub fn began(&self) -> Option<f64> {
        self.receivers.iter().map(|receiver| receiver.started_seconds).reduce(f64::min)
    }

    /// The time from [`Run::began`] until the last receiver that counts was complete; `None` if
    /// none was.
    pub fn last_seconds(&self) -> Option<f64> {
        let ended =
            self.staying().filter_map(|receiver| receiver.finished_seconds).reduce(f64::max)?;
        Some(ended - self.began()?)
    }
}

impl Receiver {
    /// The time from its start to its verified copy.
    pub fn seconds(&self) -> Option<f64> {
        self.finished_seconds
            .filter(|_| self.verified)
            .map(|finished| finished - self.started_seconds)
    }
}

/// The counters of a host's interface at a time, since the start of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The number of the run.
    pub run: u32,
    /// Seconds since the start of the run.
    pub t: f64,
    /// The host.
    pub host: String,
    /// Bytes sent so far.
    pub up_bytes: u64,
    /// Bytes received so far.
    pub down_bytes: u64,
}

/// A run that could not be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The mode.
    pub mode: String,
    /// The number of receivers.
    pub users: u32,
    /// The repetition, from 0.
    pub repetition: u32,
    /// The file's name.
    pub file: String,
    /// The error.
    pub message: String,
}

/// A program that an experiment needs and that is not installed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Missing {
    /// The mode that is left out.
    pub mode: String,
    /// The program.
    pub program: String,
    /// How to install it.
    #[serde(default)]
    pub hint: Option<String>,
}
