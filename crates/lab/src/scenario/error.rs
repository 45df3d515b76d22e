//! The errors of a scenario. Their texts say where the error is and what to write instead.

use std::{io, path::PathBuf};

use super::{HostSelector, MAX_RUNS, Mode, Shape, built_in::BUILT_IN_NAMES};
use crate::network::NetworkError;

/// Why a scenario cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// There is no built-in experiment of this name.
    #[error(
        "there is no experiment `{0}`; there are {all}, and files that end in .toml",
        all = BUILT_IN_NAMES.join(", ")
    )]
    NoSuchName(String),
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is not TOML, or has unknown or missing keys.
    #[error("{}, line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The parser's error.
        message: String,
    },
    /// A value is invalid for its key.
    #[error("{}, line {line}, `{key}`: {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, with its tables.
        key: String,
        /// What is wrong, and what to write.
        reason: String,
    },
    /// The values are valid, but contradict each other.
    #[error("{}: {source}", path.display())]
    Conflict {
        /// The file.
        path: PathBuf,
        /// The conflict.
        source: ScenarioConflict,
    },
}

/// A conflict between values of a scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioConflict {
    /// The network cannot be built.
    #[error("network: {0}")]
    Network(#[from] NetworkError),
    /// A client/server mode, and no run with one origin.
    #[error("mode `{0}` has one origin only; leave it out of `modes`, or let `origins` have a 1")]
    ManyOrigins(Mode),
    /// A receiver joins a multicast that has begun.
    #[error(
        "mode `{0}` sends to receivers that join together; leave it out of `modes`, or remove the \
         events with \"start\""
    )]
    LateMulticast(Mode),
    /// A piece length that the mode does not support.
    #[error(
        "mode `{mode}` cannot have pieces of {bytes} bytes; `piece-length` has to be a power of \
         two from 16KiB to 16MiB"
    )]
    PieceLength {
        /// The mode.
        mode: Mode,
        /// The piece length.
        bytes: u32,
    },
    /// The events of a receiver contradict each other.
    #[error("receiver {receiver}: {reason}")]
    Events {
        /// The receiver, from 1.
        receiver: u16,
        /// What is wrong, and what to write.
        reason: &'static str,
    },
    /// Hosts have a link of their own, and no run has these hosts.
    #[error(
        "`network.hosts.{hosts}` has a link of its own, and there are at most {} origins and {} \
         receivers; let there be more users, or leave it out of a file of your own (sow lab new)",
        shape.origins, shape.users
    )]
    NoSuchHost {
        /// The hosts.
        hosts: HostSelector,
        /// The hosts of the largest run.
        shape: Shape,
    },
    /// All receivers leave.
    #[error("with {0} users, no receiver stays to the end; remove an event with \"leave\"")]
    NoReceiverStays(u16),
    /// There are too many runs.
    #[error(
        "that makes {0} runs, and the limit is {MAX_RUNS}; lower `repeat`, or name fewer `users`"
    )]
    TooManyRuns(u64),
}
