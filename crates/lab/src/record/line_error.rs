//! What can be wrong with a line of records. No reading.

use super::VERSION;

/// The limit of characters of a wrong text in an error.
const MAX_QUOTED_CHARS: usize = 40;

/// The limit of a name of a host, a mode or a file.
pub(super) const MAX_NAME_CHARS: usize = 120;

/// Why a line is not a record, or not one that may stand where it does.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LineError {
    /// The line is longer than the limit, in bytes.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// The line is not JSON, or its fields are not those of its kind. The text is the parser's.
    #[error("{0}")]
    Malformed(String),
    /// There is no record.
    #[error("there is no header; is this a file of records?")]
    NoHeader,
    /// The first record is of another kind.
    #[error("the first record must be the header, not {}", quoted(.0))]
    NotHeader(String),
    /// A header follows the first one.
    #[error("a second header; each experiment needs a directory of its own")]
    SecondHeader,
    /// The format is newer than this program.
    #[error("written in version {0} of the format; this program knows versions up to {VERSION}")]
    UnknownVersion(u32),
    /// A name is empty, too long, or holds control characters.
    #[error("{} is no name: 1 to {MAX_NAME_CHARS} printable characters", quoted(.0))]
    InvalidName(String),
    /// A number is negative, too large, or not finite.
    #[error("{field} is {value}")]
    InvalidNumber {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
    },
    /// The length of a file is 0 or too large, in bytes.
    #[error("a file of {0} bytes")]
    InvalidFileLength(u64),
    /// A run has no origin or no receiver.
    #[error("a run needs an origin and a user")]
    EmptyRun,
    /// A receiver finished before it started.
    #[error("{0} finished before it started")]
    FinishedBeforeStart(String),
    /// Two runs have the same number.
    #[error("a second run with the number {0}")]
    RepeatedRun(u32),
    /// There are more records than the limit.
    #[error("more than {0} records")]
    TooManyRecords(usize),
    /// There are more samples than the limit.
    #[error("more than {0} samples")]
    TooManySamples(usize),
    /// There are more hosts, or other things of which each host has one, than the limit.
    #[error("{count} {what}; the limit is {limit}")]
    TooManyHosts {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
}

/// The beginning of a text in quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut start: String = text.chars().take(MAX_QUOTED_CHARS).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}
