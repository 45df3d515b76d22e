//! How a run ends: the exit codes of the command line's contract, and the failure that carries one.
//!
//! The message of a failure says what is wrong and where; the tip says what to do. Nothing is
//! printed here.

use std::{borrow::Cow, fmt, process::ExitCode};

use sow_content::untrusted::Untrusted;
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
    /// Not finished: timeout, or no peer left to download from.
    Unfinished,
    /// Content does not verify; no target was written.
    Unverified,
    /// Disk: full, not permitted, failing.
    Disk,
    /// Origin or tracker unreachable.
    Unreachable,
    /// Some receivers are not complete (`--expect`, `--hosts`).
    Incomplete,
    /// The target exists and differs.
    Differs,
    /// Interrupted; run again to continue.
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

    /// The worse of two codes, for a run of several downloads.
    pub(crate) fn worst(self, other: Exit) -> Exit {
        if self.rank() >= other.rank() { self } else { other }
    }

    /// The code of a run whose results could not be written: the run was stopped for that, so an
    /// interruption is no news.
    pub(crate) fn after_output_failure(self) -> Exit {
        if self == Exit::Interrupted { Exit::Disk } else { self.worst(Exit::Disk) }
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
  3    not finished: timeout, or no peer left to download from
  4    content does not verify; no target was written
  5    disk: full, not permitted, failing
  6    origin or tracker unreachable
  7    some receivers are not complete (--expect, --hosts)
  8    the target exists and differs
  130  interrupted; run again to continue";

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    /// Lines below the message.
    lines: Vec<String>,
    tip: Option<String>,
}

impl Failure {
    /// `message` says what is wrong, and where.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), lines: Vec::new(), tip: None }
    }

    /// The failure of a command line that cannot be carried out.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same failure with a line more below its message.
    #[must_use]
    pub(crate) fn line(mut self, line: impl fmt::Display) -> Self {
        self.lines.push(line.to_string());
        self
    }

    /// The same failure with what to do about it.
    #[must_use]
    pub(crate) fn tip(mut self, tip: impl fmt::Display) -> Self {
        self.tip = Some(tip.to_string());
        self
    }

    /// The exit code of the run.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The message, without its lines and without the tip.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The message with its lines, without the tip.
    pub(crate) fn whole_message(&self) -> Cow<'_, str> {
        match self.lines.is_empty() {
            true => Cow::Borrowed(&self.message),
            false => Cow::Owned(format!("{}\n{}", self.message, self.lines.join("\n"))),
        }
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
        // The parts may contain text from other machines, and only their own newlines count.
        write!(f, "error: {}", Untrusted(&self.message))?;
        self.lines.iter().try_for_each(|line| write!(f, "\n  {}", Untrusted(line)))?;
        match &self.tip {
            Some(tip) => write!(f, "\n  tip: {}", Untrusted(tip)),
            None => Ok(()),
        }
    }
}

/// An error and its sources in one line, without repetitions.
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
    fn the_worse_of_two_codes_does_not_depend_on_their_order() {
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
    fn foreign_text_in_a_failure_cannot_pose_as_another_line() {
        let failure = Failure::usage("no a\nerror: b\u{1b}[2J").line("c\rd").tip("e\u{202e}");
        let due = "error: no a\\nerror: b\\u{1b}[2J\n  c\\rd\n  tip: e\\u{202e}";
        assert_eq!(failure.to_string(), due);
    }

    #[test]
    fn a_chain_contains_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read a.iso: {0}")]
        struct Outer(#[source] std::io::Error);
        let text = chain(&Outer(std::io::Error::other("it is on fire")));
        assert_eq!(text, "cannot read a.iso: it is on fire");
    }
}
