//! What can be wrong with a scenario, in words that say where and what to write instead.

use std::{io, path::PathBuf};

use super::{HostPart, MAX_RUNS, Mode, Shape, built_in::NAMES};
use crate::network::NetworkError;

/// Why there is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// There is no built-in one of this name.
    #[error("there is no experiment `{0}`; there are {all}, and files that end in .toml", all = NAMES.join(", "))]
    NoSuchName(String),
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML, or has keys that a scenario has not.
    #[error("{}, line {line}: {said}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        said: String,
    },
    /// A value is not what its key wants.
    #[error("{}, line {line}, `{key}`: {said}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, with the tables that it is in.
        key: String,
        /// What is wrong, and what to write.
        said: String,
    },
    /// Each value may be, but not together with the others.
    #[error("{}: {source}", path.display())]
    Together {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: Misfit,
    },
}

/// What does not fit together in a scenario.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    /// The network cannot be built.
    #[error("network: {0}")]
    Network(#[from] NetworkError),
    /// A client/server mode, and never one server.
    #[error("mode `{0}` has one origin only; leave it out of `modes`, or let `origins` have a 1")]
    ManyOrigins(Mode),
    /// A piece length that the mode cannot do.
    #[error(
        "mode `{mode}` cannot have pieces of {bytes} bytes; `piece-length` has to be a power of two from 16KiB to 16MiB"
    )]
    PieceLength {
        /// Which mode.
        mode: Mode,
        /// What was wanted.
        bytes: u32,
    },
    /// A receiver's events contradict each other.
    #[error("receiver {receiver}: {said}")]
    Events {
        /// Which, from 1.
        receiver: u16,
        /// What is wrong, and what to write.
        said: &'static str,
    },
    /// A host has a link of its own, and no run has that host.
    #[error(
        "`network.hosts.{part}` has a link of its own, and there are at most {} origins and {} receivers; let there be more \
         users, or leave it out of a file of your own (sow lab new)",
        shape.origins, shape.users
    )]
    NoSuchHost {
        /// Which.
        part: HostPart,
        /// The hosts of the largest run.
        shape: Shape,
    },
    /// All receivers leave.
    #[error("with {0} users, nobody stays to the end; take away an event that says \"leave\"")]
    NobodyStays(u16),
    /// There is no end to it.
    #[error(
        "that makes {0} runs, and more than {MAX_RUNS} are refused; lower `repeat`, or name fewer `users`"
    )]
    TooManyRuns(u64),
}
