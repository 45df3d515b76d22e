//! What an experiment is: which programs send which files over which network to how many users, and
//! what happens meanwhile. Plain data with every unit resolved; nothing here runs anything.
//!
//! A scenario is written as a TOML file. Those that come with the program are such files too
//! ([`built_in`]), and good ones to start from.

mod built_in;
mod check;
mod error;
mod format;
mod mode;
mod network;
mod reading;
mod values;

use std::{path::PathBuf, time::Duration};

pub use self::{
    built_in::{NAMES, built_in, built_in_text},
    check::MAX_RUNS,
    error::{Misfit, ScenarioError},
    mode::{Mode, UnknownMode},
    network::{HostPart, LinkException, Network, Shape},
    reading::read,
    values::{CountsError, counts},
};

/// An experiment, ready to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// What its results are called: a built-in name, or that of the file without `.toml`. Fit to be
    /// part of a path.
    pub name: String,
    /// One line that says what it shows.
    pub title: String,
    /// How many receivers there are: each number is a run of its own. Ascending, none twice, 1 to
    /// [`MAX_USERS`].
    pub users: Vec<u16>,
    /// How many hosts have the file at the start: each number is a run of its own. Ascending, none
    /// twice, 1 to [`MAX_USERS`].
    pub origins: Vec<u16>,
    /// What is compared, in the order of the tables, none twice.
    pub modes: Vec<Mode>,
    /// How often each run is repeated, 1 to [`MAX_REPEAT`].
    pub repeat: u16,
    /// Bytes of a piece for modes that take one; `None` leaves it to each program.
    pub piece_length: Option<u32>,
    /// From which files and orders are drawn.
    pub seed: u64,
    /// When a run is given up; `None` leaves it to the runner.
    pub limit: Option<Duration>,
    /// The network.
    pub network: Network,
    /// What is sent: each is a run of its own. Names differ.
    pub files: Vec<FileSpec>,
    /// What happens during a run, by time.
    pub events: Vec<Event>,
}

/// The most receivers, and the most origins, of a scenario. Both together fit into a lab.
pub const MAX_USERS: u16 = 500;
/// The most repetitions.
pub const MAX_REPEAT: u16 = 1000;

/// A file that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Its name, as tables show it and as it is called on the disk: letters, digits, `.`, `-` and
    /// `_`.
    pub name: String,
    /// Where its bytes come from.
    pub content: Content,
}

/// The bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Random bytes from the scenario's seed.
    Random {
        /// How many.
        bytes: u64,
    },
    /// Lines of words from the scenario's seed, which a compressor would make much shorter.
    Text {
        /// How many.
        bytes: u64,
    },
    /// A file that is there. It is read when the scenario runs; relative paths were resolved.
    Path(PathBuf),
}

/// Something that the experiment itself does to a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When, counted from the start of the run.
    pub at: Duration,
    /// Which receiver, from 1. Runs with fewer users pass over it.
    pub receiver: u16,
    /// What is done.
    pub action: Action,
}

/// What can be done to a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Its program is killed and never started again.
    Leave,
    /// Its program is killed; a later [`Action::Start`] is sure to follow.
    Kill,
    /// Its program is started: for the first time, so that it joins late, or after
    /// [`Action::Kill`], so that it goes on.
    Start,
}

impl Scenario {
    /// The events of a run with this many users, by time.
    pub fn events_for(&self, users: u16) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.receiver <= users)
    }

    /// When a receiver (from 1) is first started: at once, unless its first event is a later start.
    pub fn first_start(&self, receiver: u16) -> Duration {
        match self.events.iter().find(|event| event.receiver == receiver) {
            Some(Event { at, action: Action::Start, .. }) => *at,
            _ => Duration::ZERO,
        }
    }

    /// Every combination of origins and users, origins first: a lab each.
    pub fn shapes(&self) -> impl Iterator<Item = Shape> {
        self.origins
            .iter()
            .flat_map(|&origins| self.users.iter().map(move |&users| Shape { origins, users }))
    }
}
