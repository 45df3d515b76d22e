//! How a run ends: the exit codes that scripts rely on, and the error that carries one to the user.
//!
//! Every error text says what is wrong and where; the tip says what to do about it. Nothing here
//! prints.

use std::{fmt, process::ExitCode};

use sow_node::NodeError;

/// The exit codes of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Anything not below.
    Failed,
    /// Wrong usage.
    Usage,
    /// Not finished: timeout, or nobody left to fetch from.
    Unfinished,
    /// Content does not verify; nothing was put in place.
    Unverified,
    /// Disk: full, not permitted, failing.
    Disk,
    /// Origin or tracker out of reach.
    Unreachable,
    /// Some receivers are not complete (`--expect`).
    Incomplete,
    /// The target exists and differs.
    Differs,
    /// Interrupted; run again to go on.
    Interrupted,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unfinished => 3,
            Exit::Unverified => 4,
            Exit::Disk => 5,
            Exit::Unreachable => 6,
            Exit::Incomplete => 7,
            Exit::Differs => 8,
            Exit::Interrupted => 130,
        }
    }

    /// The worse of two ends, for a run of several downloads: what needs a person's hand most comes
    /// first.
    pub(crate) fn worst(self, other: Exit) -> Exit {
        if self.rank() >= other.rank() { self } else { other }
    }

    fn rank(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Incomplete => 1,
            Exit::Unfinished => 2,
            Exit::Unreachable => 3,
            Exit::Differs => 4,
            Exit::Failed => 5,
            Exit::Usage => 6,
            Exit::Unverified => 7,
            Exit::Disk => 8,
            Exit::Interrupted => 9,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// The table of exit codes as `--help` shows it.
pub(crate) const TABLE: &str = "\
Exit codes:
  0    done
  1    anything not below
  2    wrong usage
  3    not finished: timeout, or nobody left to fetch from
  4    content does not verify; nothing was put in place
  5    disk: full, not permitted, failing
  6    origin or tracker out of reach
  7    some receivers are not complete (--expect)
  8    the target exists and differs
  130  interrupted; run again to go on";

/// Why a command could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    tip: Option<String>,
}

impl Failure {
    /// What is wrong, and where.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), tip: None }
    }

    /// The command line asks for something that cannot be.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same failure with what to do about it.
    #[must_use]
    pub(crate) fn tip(mut self, tip: impl fmt::Display) -> Self {
        self.tip = Some(tip.to_string());
        self
    }

    /// How the run ends.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// What is wrong, without the tip.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        let exit = match error {
            NodeError::NotOurAddress { .. } | NodeError::AlreadyJoined(_) => Exit::Usage,
            NodeError::PortTaken { .. }
            | NodeError::PortForbidden { .. }
            | NodeError::Listen { .. } => Exit::Failed,
        };
        let failure = Self::new(exit, chain(&error));
        match error {
            NodeError::PortTaken { .. } => {
                failure.tip("choose another port, or let the system choose one with --port 0")
            }
            NodeError::PortForbidden { .. } => failure
                .tip("choose a port from 1024 up, or let the system choose one with --port 0"),
            NodeError::NotOurAddress { .. }
            | NodeError::AlreadyJoined(_)
            | NodeError::Listen { .. } => failure,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.tip {
            Some(tip) => write!(f, "\n  tip: {tip}"),
            None => Ok(()),
        }
    }
}

/// An error and its sources in one line, each named once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Exit; 10] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Unfinished,
        Exit::Unverified,
        Exit::Disk,
        Exit::Unreachable,
        Exit::Incomplete,
        Exit::Differs,
        Exit::Interrupted,
    ];

    #[test]
    fn the_help_table_lists_every_code_once() {
        for exit in ALL {
            let start = format!("  {} ", exit.code());
            assert_eq!(
                TABLE.lines().filter(|line| line.starts_with(&start)).count(),
                1,
                "{exit:?}"
            );
        }
        assert_eq!(TABLE.lines().count(), ALL.len() + 1);
    }

    #[test]
    fn the_worst_end_wins_whatever_the_order() {
        for one in ALL {
            assert_eq!(one.worst(Exit::Done), one);
            assert_eq!(one.worst(Exit::Interrupted), Exit::Interrupted);
            for other in ALL {
                assert_eq!(one.worst(other), other.worst(one));
            }
        }
    }

    #[test]
    fn a_tip_follows_the_message() {
        let failure = Failure::usage("no such form").tip("see --help");
        assert_eq!(failure.to_string(), "error: no such form\n  tip: see --help");
        assert_eq!(failure.exit().code(), 2);
    }

    #[test]
    fn a_port_that_is_taken_comes_with_a_tip() {
        let failure = Failure::from(NodeError::PortTaken { port: 52000, owner: None });
        let text = failure.to_string();
        assert!(text.starts_with("error: port 52000 is taken\n  tip: "), "{text}");
        assert!(text.contains("--port 0"), "{text}");
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read a.iso: {0}")]
        struct Outer(#[source] std::io::Error);
        let text = chain(&Outer(std::io::Error::other("it is on fire")));
        assert_eq!(text, "cannot read a.iso: it is on fire");
    }
}
