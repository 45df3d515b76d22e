//! What can be wrong with bencoded bytes. Each text says where, and what is there.

/// What is wrong with bencoded bytes, and at which byte, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BencodeError {
    /// The bytes end inside a value.
    #[error("cut short: the bytes end at byte {at}, inside a value")]
    Truncated {
        /// How many bytes there are.
        at: usize,
    },
    /// A string is longer than the rest of the bytes.
    #[error(
        "cut short: the string at byte {at} has a length of {claimed}, but {left} bytes are left"
    )]
    StringPastEnd {
        /// Where the string begins.
        at: usize,
        /// Its length as it says.
        claimed: u64,
        /// The bytes that are there.
        left: usize,
    },
    /// Something else than a value.
    #[error("byte {at} is {byte:#04x}, which begins no value")]
    Unexpected {
        /// Where.
        at: usize,
        /// The byte there.
        byte: u8,
    },
    /// An integer with no digits, a leading zero, a minus zero or a stray character.
    #[error("the integer at byte {at} is malformed")]
    BadInteger {
        /// Where it begins.
        at: usize,
    },
    /// An integer that 64 bits do not hold.
    #[error("the integer at byte {at} is out of range")]
    IntegerRange {
        /// Where it begins.
        at: usize,
    },
    /// A string length with a leading zero, too many digits or a stray character.
    #[error("the string length at byte {at} is malformed")]
    BadLength {
        /// Where it begins.
        at: usize,
    },
    /// A dictionary key that sorts before its predecessor.
    #[error("the dictionary key at byte {at} is out of order")]
    KeyOrder {
        /// Where it begins.
        at: usize,
    },
    /// A dictionary key that was there before.
    #[error("the dictionary at byte {at} has a key twice")]
    DuplicateKey {
        /// Where the dictionary begins.
        at: usize,
    },
    /// Lists and dictionaries inside each other beyond the limit.
    #[error("nested deeper than {limit} levels at byte {at}")]
    TooDeep {
        /// Where.
        at: usize,
        /// [`Limits::depth`](super::Limits::depth).
        limit: usize,
    },
    /// More values than the limit.
    #[error("more than {limit} values, counted to byte {at}")]
    TooMany {
        /// Where.
        at: usize,
        /// [`Limits::items`](super::Limits::items).
        limit: usize,
    },
    /// Bytes after the end of the value.
    #[error("something follows the end at byte {at}")]
    Trailing {
        /// Where.
        at: usize,
    },
    /// A value of another kind than was due.
    #[error("{want} was due at byte {at}")]
    WrongKind {
        /// Where.
        at: usize,
        /// What was due, with its article.
        want: &'static str,
    },
}
