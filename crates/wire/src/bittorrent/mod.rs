//! The real BitTorrent, as the native swarm speaks it: BEP 3, 6, 9, 10, 11, 16, 23.

pub mod extension;
pub mod handshake;
pub mod message;

pub use extension::{ExtensionError, ExtensionHandshake, MetadataMessage, PexMessage};
pub use handshake::{Handshake, PeerId};
pub use message::{BlockRequest, Decoded, Decoder, Message, WireError};
