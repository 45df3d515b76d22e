//! What can go wrong with a lab's network.

use std::{fmt, io};

/// Why a lab could not be built, entered, measured or taken down.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The name would not do as part of the names of namespaces.
    #[error("`{0}` is no name for a lab: 1 to 24 of a-z, 0-9 and -, a letter first")]
    Name(String),
    /// The network that is asked for cannot be.
    #[error("{0}")]
    Topology(String),
    /// There is no lab of that name.
    #[error("there is no lab `{0}`")]
    NoSuchLab(String),
    /// A lab of that name is up.
    #[error("the lab `{0}` is up already")]
    AlreadyUp(String),
    /// A lab of that name is half built, or what it is made of was taken away.
    #[error("the lab `{0}` is not whole: it was not built to its end, or parts of it were ended")]
    Broken(String),
    /// It was asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// Another process is building it or taking it down.
    #[error("another command is working on the lab `{0}`")]
    Busy(String),
    /// The lab has no host of that name.
    #[error("the lab has hosts h1 to h{hosts}, and no `{host}`")]
    NoSuchHost {
        /// What was asked for.
        host: String,
        /// How many there are.
        hosts: usize,
    },
    /// A lab was to be taken down by a program that runs in it.
    #[error("this shell is inside the lab `{0}`; leave it first")]
    Inside(String),
    /// Neither root nor user namespaces.
    #[error("a lab needs root, or a kernel that lets ordinary users make namespaces ({0})")]
    NotPermitted(String),
    /// A program is not installed.
    #[error("the program `{0}` is missing; Debian has it in the package {1}")]
    Missing(&'static str, &'static str),
    /// One step of the building failed.
    #[error("{what}: {said}")]
    Step {
        /// Which.
        what: String,
        /// What the program said that did it.
        said: String,
    },
    /// The measurement came to no result.
    #[error("calibration of {path}: {said}")]
    Calibration {
        /// From which host to which.
        path: String,
        /// Why.
        said: String,
    },
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl NetworkError {
    pub(super) fn io(what: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        let what = what.to_string();
        move |source| Self::Io { what, source }
    }

    pub(super) fn step(what: impl fmt::Display, said: impl fmt::Display) -> Self {
        Self::Step { what: what.to_string(), said: said.to_string() }
    }
}
