//! What goes into an engine and what comes out: the whole contract between decisions and the world.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    ops::Add,
    time::Duration,
};

use bytes::Bytes;
use sow_content::{Block, Geometry};
use sow_wire::bittorrent::{Handshake, PeerId};
pub use sow_wire::{
    dialect::{Dialect, Message},
    tracker::AnnounceEvent,
};

use crate::{
    config::Content,
    disconnect::{DisconnectReason, Misbehavior},
};

/// A point in time: microseconds since the engine's world began. The world makes it; engines only
/// compare.
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

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// We did.
    Dialed,
    /// The peer did.
    Accepted,
}

/// How a connection began, by its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerHandshake {
    /// Both handshakes are through; this is the peer's, and its info-hash is ours.
    BitTorrent(Handshake),
    /// The connection is open, and what we have to say first is still to be said.
    Chunk {
        /// Our own address on it.
        local: IpAddr,
    },
    /// The same.
    JsonTorrent {
        /// Our own address on it.
        local: IpAddr,
    },
}

/// What is to be done with a piece that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// Check its hash, then write it.
    Verify {
        /// A digest for each 16 KiB is wanted although the piece may be right: somebody lied
        /// before.
        digests: bool,
    },
    /// Write it: the dialect has no hashes of pieces.
    WriteUnverified,
    /// It was written before, and this is how the authority has it: write it where that differs,
    /// and say whether it did.
    WriteIfDifferent,
}

/// Where a peer's address came from, most trusted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerSource {
    /// The user named it (a ticket, `x.pe`).
    Named,
    /// A tracker.
    Tracker,
    /// Another peer (BEP 11).
    Pex,
    /// It called us.
    Incoming,
}

/// What became of a piece that was handed over with [`Output::Store`].
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
    /// The blocks kept for it are not exactly the piece, so it was not hashed: a defect of this
    /// program, and no fault of a peer. The piece is fetched again.
    IncompleteBuffer,
    /// It could not be written. The world reports the error itself; the engine stops asking for
    /// pieces.
    Failed,
}

/// What a tracker answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnounceReply {
    /// When it wants to hear from us again.
    pub interval: Duration,
    /// Peers that it knows.
    pub peers: Vec<SocketAddr>,
    /// How many have everything, where it says so.
    pub complete: Option<u32>,
    /// How many have not, where it says so.
    pub incomplete: Option<u32>,
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
}

/// What happens to an engine. Blocks that arrive have a way of their own: `Engine::block_arrived`.
#[derive(Debug, Clone)]
pub enum Input {
    /// A connection is open and both handshakes are through.
    Connected {
        /// The new connection.
        conn: ConnId,
        /// The peer's address as the socket knows it.
        addr: SocketAddr,
        /// Who called.
        direction: Direction,
        /// How it began.
        introduction: PeerHandshake,
    },
    /// A dial came to nothing.
    DialFailed {
        /// As in [`Output::Dial`].
        addr: SocketAddr,
    },
    /// A dial reached ourselves; the dialect has no names by which that could be told later.
    DialedOurselves {
        /// As in [`Output::Dial`].
        addr: SocketAddr,
    },
    /// A connection is gone, for whatever reason but our own [`Output::Disconnect`].
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// What came on a connection, or how it came, is against the rules, and nothing more of it is
    /// read. The engine answers it as far as the dialect has an answer, and closes it with
    /// [`Output::Disconnect`].
    ReadFailed {
        /// Which.
        conn: ConnId,
        /// What is wrong: [`DisconnectReason::Misbehaved`] or [`DisconnectReason::MessageTimeout`].
        reason: DisconnectReason,
    },
    /// A message came.
    Message {
        /// On which connection.
        conn: ConnId,
        /// The message.
        message: Message,
    },
    /// A block of [`Output::SendBlock`] is with the kernel, whole.
    BlockSent {
        /// On which connection.
        conn: ConnId,
        /// Which block.
        block: Block,
    },
    /// The answer to [`Output::Store`].
    Stored {
        /// Which piece.
        piece: u32,
        /// What became of it.
        verdict: StoreOutcome,
    },
    /// Addresses of peers.
    PeersFound {
        /// Where they come from.
        source: PeerSource,
        /// What they speak.
        dialect: Dialect,
        /// The addresses.
        addrs: Vec<SocketAddr>,
    },
    /// The sum of the content was taken so far, from its beginning.
    DigestProgress {
        /// In bytes.
        bytes: u64,
    },
    /// The answer to [`Output::DigestFile`].
    FileDigest {
        /// The MD5 of the content as it is stored.
        md5: [u8; 16],
    },
    /// The answer to [`Output::Announce`].
    Announced {
        /// Which tracker.
        url: String,
        /// What it said; `Err` is its failure reason or what went wrong on the way.
        reply: Result<AnnounceReply, AnnounceError>,
    },
    /// The metadata of [`Event::Metadata`] or [`Event::GeometryLearned`] was taken: here is the
    /// content.
    ContentReady(Box<Content>),
    /// Time has come to what `Engine::next_wake` said.
    Tick,
    /// Say goodbye to the trackers, drop everybody.
    Stop,
}

/// What an engine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Open a connection, and exchange handshakes where the dialect has them; answer with
    /// [`Input::Connected`], [`Input::DialFailed`] or [`Input::DialedOurselves`].
    Dial {
        /// Whom to call.
        addr: SocketAddr,
        /// What to speak.
        dialect: Dialect,
    },
    /// Send a message. Messages of one connection leave in the order given; they may overtake
    /// blocks, but none overtakes a choke.
    Send {
        /// To whom.
        conn: ConnId,
        /// The message.
        message: Message,
    },
    /// Send a `piece` message from the store; answer with [`Input::BlockSent`].
    SendBlock {
        /// To whom.
        conn: ConnId,
        /// Which bytes.
        block: Block,
    },
    /// Close a connection; no [`Input::Closed`] follows.
    Disconnect {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: DisconnectReason,
    },
    /// All blocks of a piece were kept: check and write it, answer with [`Input::Stored`], and let
    /// the blocks go.
    Store {
        /// Which piece.
        piece: u32,
        /// What to do with it.
        mode: StoreMode,
        /// Its length in bytes, which the kept blocks must have together.
        length: u32,
    },
    /// Every piece is stored: answer with [`Input::FileDigest`].
    DigestFile,
    /// Let the blocks kept for a piece go.
    DiscardBlocks {
        /// Which piece.
        piece: u32,
    },
    /// Ask a tracker; answer with [`Input::Announced`].
    Announce {
        /// Which tracker.
        url: String,
        /// What to tell it.
        announce: Announce,
    },
    /// Something that people may want to know.
    Event(Event),
}

/// The numbers that go into an announce (BEP 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announce {
    /// Why we announce.
    pub event: AnnounceEvent,
    /// Payload bytes sent so far.
    pub uploaded: u64,
    /// Payload bytes received so far.
    pub downloaded: u64,
    /// Bytes still missing; [`u64::MAX`] while the size is unknown.
    pub left: u64,
    /// How many peers are wanted.
    pub numwant: u32,
}

/// Something that people may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer is there.
    PeerConnected {
        /// Its connection.
        conn: ConnId,
        /// Its address.
        addr: SocketAddr,
        /// Its name.
        peer_id: PeerId,
    },
    /// A peer is gone.
    PeerDisconnected {
        /// What was its connection.
        conn: ConnId,
        /// Its address.
        addr: SocketAddr,
        /// Where others reach it, as far as we know.
        listen_addr: Option<SocketAddr>,
        /// Its name.
        peer_id: PeerId,
        /// Payload bytes that came from it.
        downloaded: u64,
        /// Why we dropped it; `None` when it left.
        reason: Option<DisconnectReason>,
    },
    /// A peer has everything now.
    PeerComplete {
        /// Where others reach it, or else where it called from.
        addr: SocketAddr,
        /// Its name.
        peer_id: PeerId,
    },
    /// The info dictionary arrived and has the right hash; answer with [`Input::ContentReady`].
    Metadata(Bytes),
    /// A server said what it has (`SHEL`); answer with [`Input::ContentReady`].
    GeometryLearned {
        /// The server.
        addr: SocketAddr,
        /// Size and chunks.
        geometry: Geometry,
    },
    /// The server has another file than what is here: every piece was fetched again and the sum
    /// still does not fit.
    FileMismatch,
    /// A piece is verified and on the disk, or stored where the dialect has no hashes of pieces.
    PieceVerified {
        /// Which.
        piece: u32,
        /// Who sent how many bytes of it.
        from: Vec<(ConnId, u64)>,
    },
    /// Whoever is at an address broke its protocol time and again, and is not called any more.
    PeerGivenUp {
        /// The address that was called.
        addr: SocketAddr,
        /// What it did last.
        misbehavior: Misbehavior,
    },
    /// A piece did not verify.
    PieceCorrupt {
        /// Which.
        piece: u32,
    },
    /// The address is not talked to any more: it sent data that does not verify.
    Banned {
        /// Who.
        addr: SocketAddr,
        /// The piece that gave it away.
        piece: u32,
    },
    /// A peer was answered with an error of its dialect.
    RequestRefused {
        /// Who.
        addr: SocketAddr,
        /// What it asked, cut short and printable.
        asked: String,
        /// The error.
        answer: &'static str,
    },
    /// Every piece is verified, or the whole is confirmed by the server's sum.
    Complete,
    /// A tracker did not answer, or refused.
    TrackerFailed {
        /// Which.
        url: String,
        /// Why.
        error: AnnounceError,
    },
    /// A tracker answered.
    TrackerAnswered {
        /// Which.
        url: String,
        /// How many peers it named.
        peers: usize,
    },
}
