//! The messages of the `chunk` protocol: a text head, CR LF, a body. The protocol is described in
//! `docs/protocols/chunk.md`.
//!
//! The payload of a `DATA` message never passes through here. The protocol has no hashes of chunks,
//! no lengths of bodies and no authentication; this module adds none.

mod decoder;
mod encoder;
mod head;
mod json;

use std::net::SocketAddr;

use sow_content::hash::hexadecimal;

pub use decoder::{ChunkError, Decoder, MAX_CHUNK_LIST, MAX_ERROR_TEXT, MAX_HEAD, MAX_PEER_LIST};
pub use encoder::{ORIGINAL_MESSAGE_LIMIT, data_head, encode, fitting_ids, fitting_peers};
pub use json::MAX_LISTED_PEERS;

/// The first bytes of every connection: the op of [`Hello`](Message::Hello). No other dialect
/// begins with them.
pub const HELLO_PREFIX: &[u8] = b"CHEL ";

/// The spelling of the response to `CLREQ`, and the limit on control messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spelling {
    /// As the protocol's description has it: `CLRSP`, lists of any length.
    #[default]
    Documented,
    /// As the original programs have it: `CLRES <count>`, control messages of at most 1,024 bytes,
    /// head and body together.
    Original,
}

/// A message other than `DATA`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// `CHEL port`: the first message of the side that opened the connection.
    Hello {
        /// The port that the sender listens on; 0 when it does not listen.
        port: u16,
    },
    /// `SHEL filesize chunksize` and the peers that the server knows.
    ServerHello {
        /// The size of the file in bytes.
        file_size: u64,
        /// The size of every chunk but the last, in bytes.
        chunk_size: u64,
        /// The addresses that the peers listen on. The decoder omits malformed entries.
        peers: Vec<SocketAddr>,
    },
    /// `PHEL`: a peer accepts the connection.
    PeerHello,
    /// `CLREQ`: requests the list of the receiver's chunks.
    ListRequest,
    /// `CLRSP` or `CLRES count`: the sender's chunks. Not checked against a geometry.
    List(Vec<u32>),
    /// `DREQ chunkid`: requests a chunk. A number that does not fit in 64 bits is clamped. Invalid
    /// numbers are kept, because the protocol answers them with an error.
    Request(i64),
    /// `CHECK md5`: asks whether this is the MD5 of the file. The response is the same message, or
    /// an error.
    Check([u8; 16]),
    /// `ERROR errorid`, and an optional text.
    Error {
        /// The kind of error.
        id: ErrorId,
        /// The body: optional, bounded, printable. The original server sends its MD5 here with
        /// `CHECKSUM_NOT_FIT`.
        text: String,
    },
    /// An unknown head, or one with invalid arguments; the protocol answers it with an error.
    /// Nothing after it can be decoded.
    Unknown {
        /// The head, truncated and printable.
        head: String,
    },
}

impl Message {
    /// The head of the message for logs, in the documented spelling, truncated and printable.
    pub fn head(&self) -> String {
        match self {
            Self::Hello { port } => format!("CHEL {port}"),
            Self::ServerHello { file_size, chunk_size, .. } => {
                format!("SHEL {file_size} {chunk_size}")
            }
            Self::PeerHello => "PHEL".to_owned(),
            Self::ListRequest => "CLREQ".to_owned(),
            Self::List(_) => "CLRSP".to_owned(),
            Self::Request(id) => format!("DREQ {id}"),
            Self::Check(md5) => format!("CHECK {}", hexadecimal(md5)),
            Self::Error { id, .. } => format!("ERROR {}", id.name()),
            Self::Unknown { head } => head.clone(),
        }
    }
}

/// The errors of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorId {
    /// `UNKNOWN_COMMAND`: an unknown, malformed or unexpected message. The original programs spell
    /// it `UNKONWN_COMMAND`.
    UnknownCommand,
    /// `OFFSET_OVERFLOW`: the chunk does not exist.
    OffsetOverflow,
    /// `CHUNK_UNDOWNLOADED`: the sender does not have the chunk yet.
    ChunkUndownloaded,
    /// `CHECKSUM_NOT_FIT`: the MD5 is not that of the server's file.
    ChecksumNotFit,
    /// An unknown error id, or none.
    Other,
}

impl ErrorId {
    /// The error id in the documented spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownCommand => "UNKNOWN_COMMAND",
            Self::OffsetOverflow => "OFFSET_OVERFLOW",
            Self::ChunkUndownloaded => "CHUNK_UNDOWNLOADED",
            Self::ChecksumNotFit => "CHECKSUM_NOT_FIT",
            Self::Other => "of another kind",
        }
    }
}

/// The next item of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A complete message.
    Message(Message),
    /// The head of a `DATA` message: exactly `size` bytes of payload follow in the stream.
    Data {
        /// The offset of the payload in the file, in bytes.
        offset: u64,
        /// The size of the payload in bytes, at most the decoder's `max_data`.
        size: u32,
    },
}
