//! The BitTorrent peer protocol, the native protocol of this program: BEP 3, 6, 9, 10, 11 and 23.
//! It has the handshake, the messages after it, and the bodies of extension messages. What the
//! engine does with them is not known here.

pub mod extension;
pub mod handshake;
pub mod message;

pub use extension::{
    CopyId, CopyState, ExtensionError, ExtensionHandshake, MetadataMessage, Parent, PexMessage,
    ReceiverReport, RelayMessage, Withdrawal,
};
pub use handshake::{Handshake, PeerId};
pub use message::{BlockRequest, Decoded, Decoder, Message, WireError};
