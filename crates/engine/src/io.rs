//! What goes into an engine and what comes out: the whole contract between decisions and the world.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    ops::Add,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use sow_content::{Block, Geometry};
use sow_wire::bittorrent::{Handshake, PeerId};
pub use sow_wire::{
    dialect::{Dialect, Message},
    tracker::AnnounceEvent,
};

use crate::config::Content;

/// A point in time: microseconds since the engine's world began. The world makes it; engines only compare.
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
pub enum Introduction {
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
pub enum Storing {
    /// Check its hash, then write it.
    Verify {
        /// A digest for each 16 KiB is wanted although the piece may be right: somebody lied before.
        digests: bool,
    },
    /// Write it: the dialect has no hashes of pieces.
    Keep,
    /// It was written before, and this is how the authority has it: write it where that differs, and say whether it did.
    Correct,
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
pub enum Verdict {
    /// Its hash is right and it is written.
    Verified {
        /// A digest for each 16 KiB, when the [`Output::Store`] asked for them; else empty.
        digests: Vec<[u8; 20]>,
    },
    /// There is no hash to check; it is written.
    Kept {
        /// After [`Storing::Correct`]: what was written before differed.
        differed: bool,
    },
    /// Its hash is wrong; nothing was written.
    Corrupt {
        /// A digest for each 16 KiB.
        digests: Vec<[u8; 20]>,
    },
    /// It could not be written. The world reports the error itself; the engine stops asking for pieces.
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
        introduction: Introduction,
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
    /// A connection is gone, for whatever reason but our own [`Output::Drop`].
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// What came on a connection, or how it came, is against the rules, and nothing more of it is read. The engine answers it
    /// as far as the dialect has an answer, and closes it with [`Output::Drop`].
    Broken {
        /// Which.
        conn: ConnId,
        /// What is wrong: [`DropReason::Unreadable`] or [`DropReason::Trickle`].
        reason: DropReason,
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
        verdict: Verdict,
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
    SummedUp {
        /// In bytes.
        bytes: u64,
    },
    /// The answer to [`Output::DigestWhole`].
    WholeDigest {
        /// The MD5 of the content as it is stored.
        md5: [u8; 16],
    },
    /// The answer to [`Output::Announce`].
    Announced {
        /// Which tracker.
        url: String,
        /// What it said; `Err` is its failure reason or what went wrong on the way.
        reply: Result<AnnounceReply, String>,
    },
    /// The metadata of [`Event::Metadata`] or [`Event::Described`] was taken: here is the content.
    ContentReady(Box<Content>),
    /// Time has come to what `Engine::next_wake` said.
    Tick,
    /// Say goodbye to the trackers, drop everybody.
    Stop,
}

/// What an engine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Open a connection, and exchange handshakes where the dialect has them; answer with [`Input::Connected`],
    /// [`Input::DialFailed`] or [`Input::DialedOurselves`].
    Dial {
        /// Whom to call.
        addr: SocketAddr,
        /// What to speak.
        dialect: Dialect,
    },
    /// Send a message. Messages of one connection leave in the order given; they may overtake blocks, but none overtakes a
    /// choke.
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
    Drop {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: DropReason,
    },
    /// All blocks of a piece were kept: check and write it, answer with [`Input::Stored`], and let the blocks go.
    Store {
        /// Which piece.
        piece: u32,
        /// How.
        storing: Storing,
    },
    /// Every piece is stored: answer with [`Input::WholeDigest`].
    DigestWhole,
    /// Let the blocks kept for a piece go.
    Forget {
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
    PeerGone {
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
        reason: Option<DropReason>,
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
    Described {
        /// The server.
        addr: SocketAddr,
        /// Size and chunks.
        geometry: Geometry,
    },
    /// The server has another file than what is here: every piece was fetched again and the sum still does not fit.
    Unprovable,
    /// A piece is verified and on the disk, or stored where the dialect has no hashes of pieces.
    PieceVerified {
        /// Which.
        piece: u32,
        /// Who sent how many bytes of it.
        from: Vec<(ConnId, u64)>,
    },
    /// Whoever is at an address broke its protocol time and again, and is not called any more.
    GivenUp {
        /// The address that was called.
        addr: SocketAddr,
        /// What it did last.
        reason: DropReason,
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
    Refused {
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
        /// Why, as it said.
        reason: String,
    },
    /// A tracker answered.
    TrackerAnswered {
        /// Which.
        url: String,
        /// How many peers it named.
        peers: usize,
    },
}

impl DropReason {
    /// Whether the peer was told why, so that what was said should still reach it.
    pub fn is_answered(&self) -> bool {
        matches!(self, Self::OutOfPlace(_) | Self::Errors | Self::Unreadable(_))
    }

    /// Whether the peer broke the rules of its protocol, rather than left, was too slow or is not needed. Who is banned was
    /// reported by [`Event::Banned`].
    pub fn breaks_protocol(&self) -> bool {
        match self {
            Self::BadBitfield
            | Self::LateBitfield
            | Self::SecondBitfield
            | Self::BadIndex
            | Self::BadRequest
            | Self::Flood
            | Self::NotAgreed
            | Self::BadExtension
            | Self::Unrequested
            | Self::OutOfPlace(_)
            | Self::Unreadable(_)
            | Self::OtherFile
            | Self::BadGeometry
            | Self::Refuses
            | Self::Errors => true,
            Self::Ourselves
            | Self::Duplicate
            | Self::Full
            | Self::Banned
            | Self::NotHere
            | Self::Trickle
            | Self::Leaving
            | Self::Finished
            | Self::Silent
            | Self::NothingToTrade
            | Self::Stopping => false,
        }
    }

    /// Whether the same is to be expected when the peer is called again soon.
    pub(crate) fn is_for_good(&self) -> bool {
        matches!(
            self,
            Self::OutOfPlace(_) | Self::OtherFile | Self::BadGeometry | Self::Refuses | Self::Errors
        )
    }
}

/// Every way in which a peer can make us drop it, and our own reasons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// It is ourselves.
    #[error("the address is our own")]
    Ourselves,
    /// It is connected already.
    #[error("connected already")]
    Duplicate,
    /// There is no room.
    #[error("too many connections")]
    Full,
    /// Its address is banned.
    #[error("banned: it sent data that does not verify")]
    Banned,
    /// A bitfield of the wrong length or with spare bits.
    #[error("a bitfield that does not fit the content")]
    BadBitfield,
    /// A have-all or have-none after it said what it has. (Another bitfield is how aria2 says many new pieces.)
    #[error("have-all or have-none out of place")]
    LateBitfield,
    /// A bitfield after the first one, in a dialect that has one alone.
    #[error("a second bitfield")]
    SecondBitfield,
    /// A piece index beyond the content.
    #[error("a piece index that does not exist")]
    BadIndex,
    /// A request outside the content or longer than allowed.
    #[error("a request for bytes that do not exist")]
    BadRequest,
    /// A request for what is not here yet, by a program that takes no refusal.
    #[error("a request for a chunk that is not here yet, which its program cannot be told")]
    NotHere,
    /// More requests than we said we would queue.
    #[error("more requests than allowed")]
    Flood,
    /// A fast-extension message without the extension (BEP 6).
    #[error("a message of an extension that was not agreed on")]
    NotAgreed,
    /// An extension message that cannot be read.
    #[error("an extension message that cannot be read")]
    BadExtension,
    /// Blocks nobody asked for, time and again; in dialects of whole pieces also a part of one.
    #[error("data that nobody asked for, or not all of what was asked for")]
    Unrequested,
    /// A message that its dialect does not have, or has not in that place.
    #[error("a message out of place: {0}")]
    OutOfPlace(Arc<str>),
    /// What came is no message of its dialect, or is longer than allowed.
    #[error("what it sent cannot be understood: {0}")]
    Unreadable(Arc<str>),
    /// It began a message and did not end it in time.
    #[error("a message took too long to arrive")]
    Trickle,
    /// It serves another file than the first server that answered.
    #[error("it has another file: its size or chunk size differs")]
    OtherFile,
    /// A geometry that cannot be: too many chunks, or too large ones.
    #[error("it offers a file that cannot be: too large, or in chunks too large or too many")]
    BadGeometry,
    /// A chunk that was listed, or must be there, was refused.
    #[error("it refuses what it says it has")]
    Refuses,
    /// Errors, time and again.
    #[error("too many errors")]
    Errors,
    /// It says that it ends.
    #[error("it says that it ends")]
    Leaving,
    /// Neither side has asked for anything for a while.
    #[error("neither side wants anything at the moment")]
    Finished,
    /// Nothing was heard for too long.
    #[error("silent for too long")]
    Silent,
    /// Neither side has anything that the other lacks.
    #[error("neither side needs the other")]
    NothingToTrade,
    /// We are stopping.
    #[error("stopping")]
    Stopping,
}
