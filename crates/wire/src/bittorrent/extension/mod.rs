//! Bodies of the extension protocol's messages: its handshake (BEP 10), metadata exchange (BEP 9),
//! peer exchange (BEP 11), and what programs of this project say to each other. The envelope is
//! [`super::message`]'s.

mod handshake;
mod metadata;
mod pex;

use sow_content::bencode::BencodeError;

pub use handshake::{ExtensionHandshake, MAX_CLIENT};
pub use metadata::{MAX_METADATA, METADATA_PIECE, MetadataMessage};
pub use pex::{MAX_PEX, PexMessage};

/// How the body of an extension message can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// It is not one bencoded dictionary.
    #[error(transparent)]
    Bencode(#[from] BencodeError),
    /// A key that must be there is not, or its value is of another kind or out of range.
    #[error("`{0}` is missing or makes no sense")]
    Key(&'static str),
    /// Metadata of another length than its place in the whole asks for.
    #[error("{got} bytes of metadata where {want} were due")]
    DataLength {
        /// Bytes that came.
        got: usize,
        /// Bytes that were due.
        want: usize,
    },
    /// A metadata message of a type that is not known. BEP 9 wants it to be passed over.
    #[error("a metadata message of the unknown type {0}")]
    UnknownType(i64),
}
