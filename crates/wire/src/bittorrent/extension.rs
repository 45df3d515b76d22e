//! Bodies of the extension protocol's messages: its handshake (BEP 10), metadata exchange (BEP 9), peer exchange
//! (BEP 11), and what programs of this project say to each other.

use std::net::SocketAddr;

use bytes::Bytes;

/// The bencoded dictionary that both sides send as extended message 0 (BEP 10). What is absent is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtensionHandshake {
    /// The sender's number for `ut_metadata` messages.
    pub ut_metadata: Option<u8>,
    /// The sender's number for `ut_pex` messages.
    pub ut_pex: Option<u8>,
    /// The port that the sender listens on (`p`).
    pub listen_port: Option<u16>,
    /// The sender's name and version (`v`), at most 64 characters are kept.
    pub client: Option<String>,
    /// How many requests the sender will queue (`reqq`).
    pub request_queue: Option<u32>,
    /// The length of the bencoded info dictionary in bytes (BEP 9).
    pub metadata_size: Option<u32>,
    /// The longest block that the sender answers a request for, in bytes: this project's own key `sow_block`.
    pub max_block: Option<u32>,
    /// The sender only uploads (BEP 21, `upload_only`).
    pub upload_only: bool,
}

/// A metadata exchange message (BEP 9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataMessage {
    /// Asks for 16 KiB of the info dictionary.
    Request {
        /// Which 16 KiB.
        piece: u32,
    },
    /// 16 KiB of the info dictionary; the last piece may be shorter.
    Data {
        /// Which 16 KiB.
        piece: u32,
        /// The whole dictionary's length in bytes.
        total_size: u32,
        /// The bytes.
        data: Bytes,
    },
    /// The sender does not have it, or does not want to send it.
    Reject {
        /// Which 16 KiB.
        piece: u32,
    },
}

/// A peer exchange message (BEP 11): at most 50 additions and 50 removals are kept of what comes in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PexMessage {
    /// Peers that the sender met since its last message, both address families.
    pub added: Vec<SocketAddr>,
    /// Peers that the sender lost since.
    pub dropped: Vec<SocketAddr>,
}
