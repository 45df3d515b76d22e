//! Why a host has no copy, in one line.

use std::{fmt, io};

use super::ssh_errors::{self, shortened};

/// Why a host has no copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostFailure {
    /// The connection ended.
    Closed,
    /// The run was stopped.
    Stopped,
    /// This, in one line.
    Because(String),
}

impl HostFailure {
    pub(super) fn other(reason: impl fmt::Display) -> Self {
        Self::Because(shortened(&reason.to_string()))
    }

    pub(super) fn not_installed(reason: &str) -> Self {
        Self::Because(format!("sow could not be put there: {}", shortened(reason)))
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
            Self::Because(reason) => reason,
        }
    }
}
