//! The errors of a lab's network. What a user can do about each is part of its text or of the
//! command line's tips; nothing is decided here.

use std::{fmt, io};

/// Why a lab could not be built, entered, measured or taken down.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The name does not fit into the names of namespaces.
    #[error("`{0}` is no name for a lab: 1 to 24 of a-z, 0-9 and -, a letter first")]
    Name(String),
    /// The requested network cannot be built.
    #[error("{0}")]
    Topology(String),
    /// There is no lab of that name.
    #[error("there is no lab `{0}`")]
    NoSuchLab(String),
    /// A lab of that name is up.
    #[error("the lab `{0}` is up already")]
    AlreadyUp(String),
    /// A lab of that name is partly built, or parts of it were removed.
    #[error("the lab `{0}` is not whole: it was not built to its end, or parts of it were ended")]
    Broken(String),
    /// The caller requested a stop.
    #[error("interrupted")]
    Interrupted,
    /// Another process is building the lab or taking it down.
    #[error("another command is working on the lab `{0}`")]
    Busy(String),
    /// The lab has no host of that name.
    #[error("the lab has hosts h1 to h{hosts}, and no `{host}`")]
    NoSuchHost {
        /// The requested name.
        host: String,
        /// The number of hosts in the lab.
        hosts: usize,
    },
    /// A program that runs inside a lab tried to take that lab down.
    #[error("this shell is inside the lab `{0}`; leave it first")]
    Inside(String),
    /// The user is not root, and the kernel refuses user namespaces.
    #[error("a lab needs root, or a kernel that lets ordinary users make namespaces ({0})")]
    NotPermitted(String),
    /// Frames can only be delayed by the relay, and an ordinary user may not open its device.
    #[error(
        "an ordinary user cannot delay frames on this machine: {device} is not writable for this \
         user; run as root, leave out the delay, or ask for `chmod 666 {device}`"
    )]
    DelayNotPermitted {
        /// The device that the relay opens.
        device: &'static str,
    },
    /// Frames can only be delayed by the relay, and its device cannot be opened.
    #[error(
        "frames cannot be delayed on this machine: {device}: {source}; load the kernel module tun, \
         or leave out the delay"
    )]
    NoDelayDevice {
        /// The device that the relay opens.
        device: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A program is not installed.
    #[error("the program `{0}` is missing; Debian has it in the package {1}")]
    Missing(&'static str, &'static str),
    /// A step of the setup failed.
    #[error("{step}: {message}")]
    Step {
        /// The step.
        step: String,
        /// The output of the program that failed.
        message: String,
    },
    /// A measurement gave no result.
    #[error("calibration of {path}: {message}")]
    Calibration {
        /// The two hosts, in the direction of the data.
        path: String,
        /// The cause.
        message: String,
    },
    /// A system call failed.
    #[error("{operation}: {source}")]
    Io {
        /// The operation, or the file that it was about.
        operation: String,
        /// The system's error.
        source: io::Error,
    },
}

impl NetworkError {
    pub(super) fn io(operation: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        let operation = operation.to_string();
        move |source| Self::Io { operation, source }
    }

    pub(super) fn step(step: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self::Step { step: step.to_string(), message: message.to_string() }
    }
}
