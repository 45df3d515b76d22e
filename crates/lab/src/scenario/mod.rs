//! The description of an experiment: which programs send which files over which network to how many
//! users, and which events happen meanwhile. Plain data in base units; nothing is run here.
//!
//! A scenario is a TOML file. The built-in experiments ([`built_in`]) are such files, too, and can
//! be copied and changed.

mod built_in;
mod check;
mod error;
mod labels;
mod mode;
mod network;
mod parse;
mod toml_tables;
mod values;

use std::{path::PathBuf, time::Duration};

pub use self::{
    built_in::{BUILT_IN_NAMES, built_in, built_in_text},
    check::MAX_RUNS,
    error::{ScenarioConflict, ScenarioError},
    mode::{Mode, UnknownMode},
    network::{HostSelector, LinkException, Network, Shape},
    parse::{read, read_simulated},
    values::{CountsError, counts, counts_up_to, is_printable},
};
use crate::record::Labels;

/// An experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The name of its results: a built-in name, or that of the file without `.toml`. It is valid
    /// as a part of a path.
    pub name: String,
    /// One line about its purpose.
    pub title: String,
    /// The numbers of receivers, a run for each: ascending, none twice, 1 to
    /// [`MAX_USERS`], or to [`MAX_SIMULATED_USERS`] where the runs are simulated.
    pub users: Vec<u16>,
    /// The numbers of hosts that have the file at the start, a run for each: ascending, none twice,
    /// 1 to [`MAX_USERS`].
    pub origins: Vec<u16>,
    /// The compared modes in the order of the tables, none twice.
    pub modes: Vec<Mode>,
    /// The number of repetitions of each run, 1 to [`MAX_REPEAT`].
    pub repeat: u16,
    /// The piece length in bytes for modes that take one; `None` leaves it to each program.
    pub piece_length: Option<u32>,
    /// The seed of files and orders.
    pub seed: u64,
    /// The limit of a run; `None` leaves it to the runner.
    pub limit: Option<Duration>,
    /// The network.
    pub network: Network,
    /// The files to send, a run for each. Their names differ.
    pub files: Vec<FileSpec>,
    /// The events during a run, ascending by time.
    pub events: Vec<Event>,
    /// Words for its report.
    pub labels: Labels,
}

/// The limit of receivers and of origins in a scenario. Both together fit into a lab.
pub const MAX_USERS: u16 = 500;
/// The limit of receivers in a simulated run.
pub const MAX_SIMULATED_USERS: u16 = 10_000;
/// The limit of repetitions.
pub const MAX_REPEAT: u16 = 1000;

/// A file to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Its name in tables and plots: 1 to 64 printable characters of any script.
    pub name: String,
    /// The source of its bytes.
    pub content: Content,
}

impl FileSpec {
    /// Its name on the disk and in URLs, for the file with this index. Programs are compared, not
    /// what they do with names, so that it has ASCII letters, digits, `.`, `-` and `_` only.
    pub fn disk_name(&self, index: usize) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_safe = self.name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if is_safe && self.name.chars().all(is_plain) {
            self.name.clone()
        } else {
            format!("file-{}", index + 1)
        }
    }
}

/// The source of a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Random bytes from the scenario's seed.
    Random {
        /// The length.
        bytes: u64,
    },
    /// Lines of words from the scenario's seed, which can be compressed well.
    Text {
        /// The length.
        bytes: u64,
    },
    /// An existing file, read when the scenario runs. A relative path is already resolved.
    Path(PathBuf),
}

/// An action of the experiment on a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The time since the start of the run.
    pub at: Duration,
    /// The receiver, from 1. Runs with fewer users ignore the event.
    pub receiver: u16,
    /// The action.
    pub action: Action,
}

/// An action on a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Its program is killed and never started again.
    Leave,
    /// Its program is killed; an [`Action::Start`] always follows.
    Kill,
    /// Its program is started: for the first time, so that it joins late, or after
    /// [`Action::Kill`], so that it resumes.
    Start,
}

impl Scenario {
    /// The events of a run with this number of users, ascending by time.
    pub fn events_for(&self, users: u16) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.receiver <= users)
    }

    /// The time of a receiver's first start (receivers count from 1): zero, unless its first event
    /// is a later start.
    pub fn first_start(&self, receiver: u16) -> Duration {
        match self.events.iter().find(|event| event.receiver == receiver) {
            Some(Event { at, action: Action::Start, .. }) => *at,
            _ => Duration::ZERO,
        }
    }

    /// Every combination of origins and users, origins first.
    pub fn shapes(&self) -> impl Iterator<Item = Shape> {
        self.origins
            .iter()
            .flat_map(|&origins| self.users.iter().map(move |&users| Shape { origins, users }))
    }
}
