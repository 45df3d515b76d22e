//! What the messages of a peer amount to, whatever its dialect. No state.

use std::net::SocketAddr;

use bytes::Bytes;
use sow_content::Geometry;
use sow_wire::bittorrent::{BlockRequest, ReceiverReport, RelayMessage};

use crate::disconnect::Misbehavior;

/// One thing that a peer said, checked against the state of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SessionEvent {
    /// The peer has a piece that it did not have before.
    Have(u32),
    /// The peer sent a bitfield, or its equivalent; these pieces are new.
    Bitfield(Vec<u32>),
    /// The peer refuses requests from now on.
    Choked,
    /// The peer accepts requests from now on.
    Unchoked,
    /// The peer wants something.
    Interested,
    /// The peer wants nothing.
    NotInterested,
    /// The peer requests a block.
    BlockRequested(BlockRequest),
    /// The peer takes a request back.
    RequestCancelled(BlockRequest),
    /// The peer refuses a request (BEP 6).
    RequestRejected(BlockRequest),
    /// The peer accepts requests for a piece even while it chokes (BEP 6).
    AllowedFast(u32),

    /// The peer sent its extension handshake (BEP 10); the session keeps it.
    ExtensionHandshake,
    /// The peer asks for a piece of the metadata (BEP 9).
    MetadataRequested(u32),
    /// The peer sent a piece of the metadata (BEP 9).
    MetadataReceived { piece: u32, data: Bytes },
    /// The peer has no metadata to give (BEP 9).
    MetadataRefused,
    /// The peer named other peers (BEP 11).
    PeersFound(Vec<SocketAddr>),
    /// The peer no longer has the content (`sow_withdraw`).
    Withdrawn { reason: String },
    /// The peer reported its copy (`sow_receiver`).
    ReceiverReported(ReceiverReport),
    /// The peer said something about relaying (`sow_relay`).
    Relay(RelayMessage),

    /// json-torrent: the peer requests a whole piece.
    PieceRequested(u32),
    /// json-torrent: the peer announces its pieces, so that ours may be announced at any time.
    AnnouncementsAllowed,

    /// chunk: a client said where it accepts connections, for the first time or again.
    ClientHello { port: u16, is_first: bool },
    /// chunk: a client asks which chunks are here.
    ListRequested,
    /// chunk: a client requests a chunk, by an index that may be anything.
    ChunkRequested(i64),
    /// chunk: a client asks whether its MD5 is that of the file.
    DigestCheckRequested,
    /// chunk: a client sent a command that has no answer but an error. `then`: the connection
    /// cannot be read on.
    CommandRefused { command: String, then: Option<Misbehavior> },
    /// chunk: a server said what it serves and which clients it knows.
    ServerHello { geometry: Geometry, peers: Vec<SocketAddr> },
    /// chunk: the other side is a client like ourselves.
    PeerHello,
    /// chunk: the chunks that the peer has.
    ListReceived(Vec<u32>),
    /// chunk: a peer does not have the chunk that it was asked for.
    ChunkRefused(u32),
    /// chunk: the server confirms an MD5.
    DigestConfirmed([u8; 16]),
    /// chunk: the server's file has another MD5, which it may name.
    DigestMismatch { expected: Option<[u8; 16]> },
    /// chunk: the server does not say whether an MD5 is right.
    DigestCheckRefused,
}
