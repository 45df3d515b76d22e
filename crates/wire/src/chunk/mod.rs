//! Document 1's P2P protocol (section 2.2): a head in text, CR LF, a body. The payload of a `DATA`
//! message never passes through here.
//!
//! The protocol has no hashes of chunks, no lengths of bodies and no authentication; nothing here
//! makes up for that.

mod decoder;
mod encoder;
mod head;
mod json;

use std::net::SocketAddr;

use sow_content::hash::hexadecimal;

pub use decoder::{ChunkError, Decoder, MAX_ERROR_TEXT, MAX_HEAD, MAX_LIST, MAX_PEER_LIST};
pub use encoder::{ORIGINAL_LIMIT, data_head, encode, fitting_ids, fitting_peers};
pub use json::MAX_PEERS;

/// How every connection begins: a message that says [`Hello`](Message::Hello). No other dialect's
/// first bytes are these.
pub const PREFIX: &[u8] = b"CHEL ";

/// How the answer to `CLREQ` is spelled, and how long control messages may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spelling {
    /// As document 1 has it: `CLRSP`, lists as long as they are.
    #[default]
    Documented,
    /// As the original programs have it: `CLRES <count>`, control messages of at most 1,024 bytes,
    /// head and body together.
    Original,
}

/// Every message but `DATA`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// `CHEL port`: who calls says where it can be called.
    Hello {
        /// Its listening port; 0 when nobody can call it.
        port: u16,
    },
    /// `SHEL filesize chunksize` and the peers that the server knows.
    ServerHello {
        /// The size of the file in bytes.
        file_size: u64,
        /// The size of every chunk but the last, in bytes.
        chunk_size: u64,
        /// Listening addresses. Entries that are none were left out by the decoder.
        peers: Vec<SocketAddr>,
    },
    /// `PHEL`: a peer takes us in.
    PeerHello,
    /// `CLREQ`: which chunks do you have?
    ListRequest,
    /// `CLRSP`, or `CLRES count`: these. Not checked against any geometry.
    List(Vec<u32>),
    /// `DREQ chunkid`. Negative and absurd numbers are kept as they came, or as the nearest that
    /// fits: there is an answer to them.
    Request(i64),
    /// `CHECK md5`: is this the sum of the file? The answer is the same message, or an error.
    Check([u8; 16]),
    /// `ERROR errorid`, and what there is to add.
    Error {
        /// What is wrong.
        id: ErrorId,
        /// The body: optional, bounded, printable. The original server puts its MD5 here with
        /// `CHECKSUM_NOT_FIT`.
        text: String,
    },
    /// A head that is none of these, or one that its arguments do not fit: there is an answer to
    /// it. Nothing after it can be made sense of.
    Unknown {
        /// The head, cut short and printable.
        head: String,
    },
}

impl Message {
    /// The head, for people: as it is spelled in document 1, cut short and printable.
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

/// The errors of section 2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorId {
    /// `UNKNOWN_COMMAND`: no such command, a bad head, or one out of place. The original spells it
    /// `UNKONWN_COMMAND`.
    UnknownCommand,
    /// `OFFSET_OVERFLOW`: a chunk that does not exist.
    OffsetOverflow,
    /// `CHUNK_UNDOWNLOADED`: a chunk that is not here yet.
    ChunkUndownloaded,
    /// `CHECKSUM_NOT_FIT`: the file is not the server's.
    ChecksumNotFit,
    /// Any other word, or none.
    Other,
}

impl ErrorId {
    /// As document 1 spells it.
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

/// What the decoder found next in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A whole message.
    Message(Message),
    /// The head of a `DATA` message: exactly `size` bytes of payload follow in the stream.
    Data {
        /// Where they belong in the file, in bytes.
        offset: u64,
        /// How many, in bytes; at most what the decoder was made for.
        size: u32,
    },
}
