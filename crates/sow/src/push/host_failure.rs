//! Why a host has no copy, in one line, and the exit code that it would have.

use std::{fmt, io};

use super::ssh_errors::{self, shortened};
use crate::exit::Exit;

/// Why a host has no copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostFailure {
    /// The connection ended.
    Closed,
    /// The run was stopped.
    Stopped,
    /// This.
    Because(Exit, String),
}

impl HostFailure {
    pub(super) fn other(reason: impl fmt::Display) -> Self {
        Self::Because(Exit::Failed, shortened(&reason.to_string()))
    }

    pub(super) fn not_installed(reason: &str) -> Self {
        let lower = reason.to_lowercase();
        let is_disk = ["no space", "permission denied", "read-only", "quota"];
        let exit = match is_disk.iter().any(|part| lower.contains(part)) {
            true => Exit::Disk,
            false => Exit::Failed,
        };
        let reason = shortened(reason);
        Self::Because(exit, format!("sow could not be put there: {reason}"))
    }

    /// A failed write: the other end is gone, and says elsewhere why.
    pub(super) fn lost(_: io::Error) -> Self {
        Self::Closed
    }

    /// The reason in one line.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Closed => ssh_errors::LOST,
            Self::Stopped => "stopped",
            Self::Because(_, reason) => reason,
        }
    }
}
