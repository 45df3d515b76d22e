//! The interface of an engine: its inputs, its outputs, and the types in them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    ops::Add,
    time::Duration,
};

use bytes::Bytes;
use sow_content::{Block, Geometry};
use sow_wire::bittorrent::{CopyState, Handshake, PeerId, ReceiverReport};
pub use sow_wire::{
    dialect::{Dialect, Message},
    tracker::AnnounceEvent,
};

use crate::{
    config::Content,
    disconnect::{DisconnectReason, Misbehavior},
};

/// A point in time, in microseconds since a start that the caller chooses. Engines only compare
/// times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// The time since `earlier`; zero when that is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, duration: Duration) -> Time {
        Time(self.0 + duration.as_micros() as u64)
    }
}

/// A connection, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Which side opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// We dialed.
    Dialed,
    /// The peer connected.
    Accepted,
}

/// How a connection began, by its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerHandshake {
    /// Both handshakes were exchanged. This is the peer's, and its info hash is ours.
    BitTorrent(Handshake),
    /// The connection is open. The first message is still to be sent.
    Chunk {
        /// Our own address on it.
        local: IpAddr,
    },
    /// The connection is open. The first message is still to be sent.
    JsonTorrent {
        /// Our own address on it.
        local: IpAddr,
    },
}

impl PeerHandshake {
    /// The dialect that was begun.
    pub fn dialect(&self) -> Dialect {
        match self {
            PeerHandshake::BitTorrent(_) => Dialect::BitTorrent,
            PeerHandshake::Chunk { .. } => Dialect::Chunk,
            PeerHandshake::JsonTorrent { .. } => Dialect::JsonTorrent,
        }
    }
}

/// How a whole piece is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// Check its hash, then write it.
    Verify {
        /// A digest of each 16 KiB is wanted even if the piece is right: it was corrupt before.
        digests: bool,
    },
    /// Write it: the dialect has no hashes of pieces.
    WriteUnverified,
    /// The piece was written before, and this is what a server has: write it where that differs,
    /// and report whether it did.
    WriteIfDifferent,
}

/// Where an address of a peer came from, from the most trusted source to the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerSource {
    /// The user named it, or a ticket.
    Named,
    /// A magnet link names it (`x.pe`).
    Link,
    /// A tracker.
    Tracker,
    /// Another peer (BEP 11).
    Pex,
    /// The peer connected to us.
    Incoming,
}

/// The answer to [`Output::Store`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreOutcome {
    /// Its hash is right and it is written.
    Verified {
        /// A digest for each 16 KiB, when the [`Output::Store`] asked for them; else empty.
        digests: Vec<[u8; 20]>,
    },
    /// There is no hash to check; it is written.
    WrittenUnverified {
        /// After [`StoreMode::WriteIfDifferent`]: what was written before differed.
        differed: bool,
    },
    /// Its hash is wrong; nothing was written.
    Corrupt {
        /// A digest for each 16 KiB.
        digests: Vec<[u8; 20]>,
    },
    /// It could not be written. The caller reports the error itself; the engine requests no more
    /// pieces.
    Failed,
    /// The buffer of the piece does not hold the bytes that the engine accepted: the two records
    /// disagree, which is a bug and no fault of any peer. Nothing was checked or written. The
    /// engine requests the piece again and suspects no peer.
    IncompleteBuffer,
}

/// What a tracker answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnounceReply {
    /// The address of the tracker, if it is known. Only a tracker on the loopback interface may
    /// name peers there.
    pub from: Option<SocketAddr>,
    /// The interval until the next announce.
    pub interval: Duration,
    /// The shortest interval that the tracker allows, if it says so.
    pub min_interval: Option<Duration>,
    /// The peers that it names.
    pub peers: Vec<SocketAddr>,
    /// How many peers have everything, if it says so.
    pub complete: Option<u32>,
    /// How many peers lack something, if it says so.
    pub incomplete: Option<u32>,
    /// A warning of the tracker that it did not give last time.
    pub warning: Option<String>,
}

/// Why an announce failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// The URL is not one.
    #[error("not a URL")]
    InvalidUrl,
    /// The URL lacks a part that its scheme needs.
    #[error("the tracker's URL has no {0}")]
    IncompleteUrl(&'static str),
    /// No tracker protocol has this scheme.
    #[error("trackers cannot be reached by {0:?}")]
    UnsupportedScheme(String),
    /// The tracker answered with its failure reason.
    #[error("{0}")]
    Refused(String),
    /// The tracker did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The tracker was not reached, or the exchange with it failed. The text is the system's or the
    /// library's.
    #[error("{0}")]
    Unreachable(String),
    /// The answer is not one.
    #[error("{0}")]
    InvalidResponse(String),
    /// A torrent or a magnet link may not send this machine there.
    #[error("{0}")]
    Forbidden(&'static str),
}

impl AnnounceError {
    /// Whether every further announce to the same URL would fail in the same way.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::InvalidUrl
            | Self::IncompleteUrl(_)
            | Self::UnsupportedScheme(_)
            | Self::Forbidden(_) => true,
            Self::Refused(_) | Self::Timeout | Self::Unreachable(_) | Self::InvalidResponse(_) => {
                false
            }
        }
    }
}

/// What happened. Blocks that arrive have a method of their own, `Engine::block_arrived`.
#[derive(Debug, Clone)]
pub enum Input {
    /// A connection is open, and handshakes were exchanged where the dialect has them.
    Connected {
        /// The new connection.
        conn: ConnId,
        /// The address of the peer, as the socket knows it.
        addr: SocketAddr,
        /// Which side opened it.
        direction: Direction,
        /// How it began.
        handshake: PeerHandshake,
    },
    /// A dial failed.
    DialFailed {
        /// As in [`Output::Dial`].
        addr: SocketAddr,
    },
    /// A dial reached ourselves, in a dialect that has no identities by which the engine could see
    /// that.
    DialedOurselves {
        /// As in [`Output::Dial`].
        addr: SocketAddr,
    },
    /// A connection is over, for any reason but [`Output::Disconnect`].
    Closed {
        /// The connection.
        conn: ConnId,
    },
    /// What was received cannot be decoded, or took too long, and nothing more is read. The engine
    /// answers as far as the dialect has an answer, and closes the connection with
    /// [`Output::Disconnect`].
    ReadFailed {
        /// The connection.
        conn: ConnId,
        /// What is wrong: [`DisconnectReason::Misbehaved`] or [`DisconnectReason::MessageTimeout`].
        reason: DisconnectReason,
    },
    /// A message was received.
    Message {
        /// The connection.
        conn: ConnId,
        /// The message.
        message: Message,
    },
    /// A block of [`Output::SendBlock`] was written to the socket, all of it.
    BlockSent {
        /// The connection.
        conn: ConnId,
        /// The block.
        block: Block,
    },
    /// The answer to [`Output::Store`].
    Stored {
        /// The index of the piece.
        piece: u32,
        /// The outcome.
        outcome: StoreOutcome,
    },
    /// Addresses of peers.
    PeersFound {
        /// Where they come from.
        source: PeerSource,
        /// The dialect that they speak.
        dialect: Dialect,
        /// The addresses.
        addrs: Vec<SocketAddr>,
    },
    /// The MD5 of the content was taken up to a byte, from its beginning.
    DigestProgress {
        /// The number of bytes.
        bytes: u64,
    },
    /// The answer to [`Output::DigestFile`].
    FileDigest {
        /// The MD5 of the content as it is stored.
        md5: [u8; 16],
    },
    /// The answer to [`Output::Announce`].
    Announced {
        /// The URL of the tracker.
        url: String,
        /// What it answered, or why it did not.
        reply: Result<AnnounceReply, AnnounceError>,
    },
    /// A store was made for what [`Event::Metadata`] or [`Event::GeometryLearned`] reported: here
    /// is the content.
    ContentReady(Box<Content>),
    /// The content is no longer right: nothing of it is served from now on, and the peers are told
    /// the reason, a short text for people.
    Withdraw {
        /// Why.
        reason: String,
    },
    /// This is what became of our copy. Peers that collect the reports of receivers are told, those
    /// that connect later too.
    ReportCopy(ReceiverReport),
    /// The time that `Engine::next_wake` named has come.
    Tick,
    /// Stop: tell the trackers, and disconnect every peer.
    Stop,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Open a connection, and exchange handshakes where the dialect has them; answer with
    /// [`Input::Connected`], [`Input::DialFailed`] or [`Input::DialedOurselves`].
    Dial {
        /// The address to dial.
        addr: SocketAddr,
        /// The dialect to speak.
        dialect: Dialect,
    },
    /// Send a message. Messages of one connection leave in the order given; they may overtake
    /// blocks, but none overtakes a choke.
    Send {
        /// The connection.
        conn: ConnId,
        /// The message.
        message: Message,
    },
    /// Send a `piece` message from the store; answer with [`Input::BlockSent`].
    SendBlock {
        /// The connection.
        conn: ConnId,
        /// The bytes to send.
        block: Block,
    },
    /// Close a connection; no [`Input::Closed`] follows.
    Disconnect {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: DisconnectReason,
    },
    /// All blocks of a piece are here: check and write it, answer with [`Input::Stored`], and free
    /// its buffer.
    Store {
        /// The index of the piece.
        piece: u32,
        /// How it is checked and written.
        mode: StoreMode,
        /// The length of the piece in bytes, all of which the engine accepted. A buffer that holds
        /// anything else is reported as [`StoreOutcome::IncompleteBuffer`] and is not hashed.
        length: u32,
    },
    /// Take the MD5 of the content as it is stored, and answer with [`Input::FileDigest`].
    DigestFile,
    /// Free the buffer of a piece.
    DiscardBlocks {
        /// The index of the piece.
        piece: u32,
    },
    /// Announce to a tracker, and answer with [`Input::Announced`].
    Announce {
        /// The URL of the tracker.
        url: String,
        /// The numbers to announce.
        announce: Announce,
    },
    /// Something to report to people.
    Event(Event),
}

/// The numbers that go into an announce (BEP 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announce {
    /// The event of the announce.
    pub event: AnnounceEvent,
    /// Payload bytes sent so far.
    pub uploaded: u64,
    /// Payload bytes received so far.
    pub downloaded: u64,
    /// Bytes still missing; [`u64::MAX`] while the size is unknown.
    pub left: u64,
    /// The number of peers that are wanted.
    pub numwant: u32,
}

/// Something to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer is connected.
    PeerConnected {
        /// Its connection.
        conn: ConnId,
        /// Its address.
        addr: SocketAddr,
        /// Its peer id.
        peer_id: PeerId,
    },
    /// A connection is over.
    PeerDisconnected {
        /// The connection.
        conn: ConnId,
        /// Its address.
        addr: SocketAddr,
        /// Where others reach it, as far as we know.
        listen_addr: Option<SocketAddr>,
        /// Its peer id.
        peer_id: PeerId,
        /// Payload bytes that were received from it.
        downloaded: u64,
        /// Why we closed it; `None` when the peer did.
        reason: Option<DisconnectReason>,
    },
    /// A peer has everything now.
    PeerComplete {
        /// Where others reach it, or else the address that it connected from.
        addr: SocketAddr,
        /// Its peer id.
        peer_id: PeerId,
    },
    /// The info dictionary is here and has the right hash. Answer with [`Input::ContentReady`].
    Metadata(Bytes),
    /// A chunk server said what it serves (`SHEL`). Answer with [`Input::ContentReady`].
    GeometryLearned {
        /// The server.
        addr: SocketAddr,
        /// Size and chunks.
        geometry: Geometry,
    },
    /// The server has another file than this one: every chunk was fetched again, and the MD5 still
    /// differs.
    FileMismatch,
    /// A piece is verified and written; or written, where the dialect has no hashes of pieces.
    PieceVerified {
        /// The index of the piece.
        piece: u32,
        /// How many bytes of it each peer sent.
        from: Vec<(ConnId, u64)>,
    },
    /// A peer violated its protocol repeatedly. Its address is not dialed any more.
    PeerGivenUp {
        /// The address that was dialed.
        addr: SocketAddr,
        /// The last violation.
        misbehavior: Misbehavior,
    },
    /// The buffer of a piece did not hold what the engine had accepted
    /// ([`StoreOutcome::IncompleteBuffer`]); the piece is requested again.
    IncompleteBuffer {
        /// The index of the piece.
        piece: u32,
    },
    /// A piece is corrupt.
    PieceCorrupt {
        /// The index of the piece.
        piece: u32,
    },
    /// A peer sent data that does not verify, and is banned.
    Banned {
        /// Its address.
        addr: SocketAddr,
        /// The piece that was corrupt.
        piece: u32,
    },
    /// A client was answered with an error (chunk).
    RequestRefused {
        /// Its address.
        addr: SocketAddr,
        /// Its command, shortened and printable.
        asked: String,
        /// The name of the error.
        answer: &'static str,
    },
    /// A peer that the user named no longer has the content.
    OriginWithdrew {
        /// Its address.
        addr: SocketAddr,
        /// Why, as it says: bounded, without control characters.
        reason: String,
    },
    /// A peer reported its copy, for the first time or with another state (only with
    /// [`Config::collects_receivers`](crate::Config::collects_receivers)). Any peer can report
    /// anything.
    ReceiverReported {
        /// Its connection.
        conn: ConnId,
        /// Where others reach it, or else the address that it connected from.
        addr: SocketAddr,
        /// Its peer id.
        peer_id: PeerId,
        /// The report.
        report: ReceiverReport,
    },
    /// A peer that collects reports was told of our copy.
    CopyReported {
        /// Its address.
        addr: SocketAddr,
        /// What it was told of the copy's state.
        state: CopyState,
    },
    /// Every piece is verified, or a server confirmed the MD5 of the file; or nothing was missing
    /// when the content became known.
    Complete,
    /// A tracker did not answer, or refused.
    TrackerFailed {
        /// The URL of the tracker.
        url: String,
        /// Why.
        error: AnnounceError,
    },
    /// A tracker answered.
    TrackerAnswered {
        /// The URL of the tracker.
        url: String,
        /// A warning that it gives, and did not give last time.
        warning: Option<String>,
        /// How many peers it named.
        peers: usize,
    },
}
