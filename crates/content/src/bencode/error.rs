//! Bencode errors. Each message names the byte position, and what is wrong there.

/// Why bytes are not valid bencoding. Positions count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BencodeError {
    /// The bytes end inside a value.
    #[error("truncated: the bytes end at byte {at}, inside a value")]
    Truncated {
        /// The number of bytes.
        at: usize,
    },
    /// A string is longer than the rest of the bytes.
    #[error(
        "truncated: the string at byte {at} has a length of {claimed}, but {left} bytes are left"
    )]
    StringPastEnd {
        /// Where the string begins.
        at: usize,
        /// The length in the string's prefix.
        claimed: u64,
        /// The number of bytes after the prefix.
        left: usize,
    },
    /// A byte that does not begin a value.
    #[error("byte {at} is {byte:#04x}, which does not begin a value")]
    Unexpected {
        /// The position of the byte.
        at: usize,
        /// The byte.
        byte: u8,
    },
    /// An integer without digits, with a leading zero, a minus zero or a stray character.
    #[error("the integer at byte {at} is malformed")]
    BadInteger {
        /// Where the integer begins.
        at: usize,
    },
    /// An integer that does not fit in 64 bits.
    #[error("the integer at byte {at} is out of range")]
    IntegerRange {
        /// Where the integer begins.
        at: usize,
    },
    /// A string length with a leading zero, too many digits or a stray character.
    #[error("the string length at byte {at} is malformed")]
    BadLength {
        /// Where the length begins.
        at: usize,
    },
    /// A dictionary key that sorts before the previous key.
    #[error("the dictionary key at byte {at} is out of order")]
    KeyOrder {
        /// Where the key begins.
        at: usize,
    },
    /// Two equal keys in one dictionary.
    #[error("the dictionary at byte {at} has a duplicate key")]
    DuplicateKey {
        /// Where the dictionary begins.
        at: usize,
    },
    /// Lists and dictionaries are nested too deep.
    #[error("nested deeper than {limit} levels at byte {at}")]
    TooDeep {
        /// Where the innermost one begins.
        at: usize,
        /// [`Limits::depth`](super::Limits::depth).
        limit: usize,
    },
    /// Too many values.
    #[error("more than {limit} values; the limit is reached at byte {at}")]
    TooMany {
        /// Where the first value above the limit begins.
        at: usize,
        /// [`Limits::items`](super::Limits::items).
        limit: usize,
    },
    /// Bytes after the end of the value.
    #[error("unexpected bytes after the end, at byte {at}")]
    Trailing {
        /// Where the value ends.
        at: usize,
    },
    /// A value of the wrong type.
    #[error("expected {want} at byte {at}")]
    WrongKind {
        /// Where the value begins.
        at: usize,
        /// The expected type, with its article.
        want: &'static str,
    },
}
