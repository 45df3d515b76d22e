//! Bodies of the extension messages: the extension handshake (BEP 10), metadata exchange (BEP 9),
//! peer exchange (BEP 11), withdrawal, receivers' reports and relaying. The envelope around them is
//! in [`super::message`].

mod handshake;
mod metadata;
mod pex;
mod receiver;
mod relay;
mod withdrawal;

use sow_content::bencode::BencodeError;

pub use handshake::{ExtensionHandshake, MAX_CLIENT_NAME};
pub use metadata::{MAX_METADATA_SIZE, METADATA_PIECE_LENGTH, MetadataMessage};
pub use pex::{MAX_PEX_PEERS, PexMessage};
pub use receiver::{CopyId, CopyState, MAX_FAILURE_REASON, MAX_RECEIVER_NAME, ReceiverReport};
pub use relay::{MAX_STRIPES, Parent, RelayMessage};
pub use withdrawal::{MAX_WITHDRAWAL_REASON, Withdrawal};

/// Why the body of an extension message is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// The body is not bencoded.
    #[error(transparent)]
    Bencode(#[from] BencodeError),
    /// The body is bencoded, but not a dictionary.
    #[error("the message is not a dictionary")]
    NotADictionary,
    /// A required key is missing, or a value has the wrong type or is out of range.
    #[error("`{0}` is missing or invalid")]
    Key(&'static str),
    /// The length of metadata is not that of its piece.
    #[error("a metadata piece of {got} bytes instead of {want}")]
    DataLength {
        /// The number of bytes received.
        got: usize,
        /// The length of the piece in bytes.
        want: usize,
    },
    /// A metadata message of an unknown type. BEP 9 requires to ignore it.
    #[error("a metadata message of unknown type {0}")]
    UnknownType(i64),
}
