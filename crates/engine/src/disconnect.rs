//! Why a connection is closed: one variant for each way in which a peer can misbehave, apart from
//! the reasons that are no fault of the peer. No decisions.

use std::sync::Arc;

use sow_wire::bittorrent::ExtensionError;

/// Why the engine disconnected a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DisconnectReason {
    /// The peer violated its protocol.
    #[error("{0}")]
    Misbehaved(#[from] Misbehavior),
    /// The address is our own.
    #[error("the address is our own")]
    Ourselves,
    /// The peer is connected already.
    #[error("connected already")]
    DuplicateConnection,
    /// No connection slot is free.
    #[error("too many connections")]
    TooManyConnections,
    /// Places are scarce, and another peer needs this one's more.
    #[error("it made room for another peer: it exchanged the least data")]
    Replaced,
    /// The peer is banned; [`Event::Banned`](crate::Event::Banned) reported it.
    #[error("banned: it sent data that does not verify")]
    Banned,
    /// The peer requested a chunk that is not here yet, and its program understands no refusal.
    #[error("a request for a chunk that is not here yet, which its program cannot be told")]
    PieceNotAvailable,
    /// The peer began a message and did not complete it in time.
    #[error("a message took too long to arrive")]
    MessageTimeout,
    /// The peer announced that it stops.
    #[error("it says that it stops")]
    PeerStopped,
    /// Neither side has requested anything for a while.
    #[error("neither side wants anything at the moment")]
    Idle,
    /// The content is no longer right here, so nothing is served.
    #[error("the content is no longer shared from here")]
    ContentWithdrawn,
    /// The peer no longer has the content, as it says.
    #[error("it no longer has the content")]
    PeerWithdrew,
    /// Nothing was received for too long.
    #[error("silent for too long")]
    PeerTimeout,
    /// The swarm turned out to be private, and another peer named this one.
    #[error("a private swarm takes peers from its trackers alone")]
    PrivateSwarm,
    /// Neither side has anything that the other lacks.
    #[error("neither side needs the other")]
    NothingToTrade,
    /// The engine is stopping.
    #[error("stopping")]
    ShuttingDown,
}

/// Every way in which a peer can violate its protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misbehavior {
    /// A bitfield of the wrong length or with spare bits set (BEP 3).
    #[error("a bitfield that does not fit the content")]
    BitfieldMismatch,
    /// A have-all or have-none after the first message about pieces (BEP 6). Another bitfield is
    /// allowed: aria2 sends one for many new pieces.
    #[error("have-all or have-none after other messages about pieces")]
    LateBitfield,
    /// A bitfield after the first one, in a dialect that allows one.
    #[error("a second bitfield")]
    SecondBitfield,
    /// A piece index beyond the content.
    #[error("a piece index that does not exist")]
    PieceIndexOutOfRange,
    /// A request outside the content or longer than allowed.
    #[error("a request for bytes that do not exist")]
    RequestOutOfRange,
    /// More requests than the advertised queue holds.
    #[error("more requests than allowed")]
    TooManyRequests,
    /// A message of the fast extension (BEP 6) without its handshake bit.
    #[error("a message of an extension that was not negotiated")]
    ExtensionNotNegotiated,
    /// An extension message (BEP 10) that cannot be decoded.
    #[error("an extension message that cannot be decoded")]
    MalformedExtension,
    /// Repeated blocks that were not requested; in dialects of whole pieces also a part of one.
    #[error("data that was not requested, or not all of what was requested")]
    UnsolicitedData,
    /// A message that its dialect does not have, or does not allow in this state.
    #[error("an unexpected message: {0}")]
    UnexpectedMessage(Arc<str>),
    /// Bytes that are no message of the dialect, or a message that is longer than allowed.
    #[error("a malformed message: {0}")]
    MalformedMessage(Arc<str>),
    /// The peer serves another file than the first server that answered.
    #[error("it has another file: its size or chunk size differs")]
    DifferentFile,
    /// A geometry that is not possible: too many chunks, or too large ones.
    #[error("it offers an invalid file: too large, or with chunks that are too large or too many")]
    InvalidGeometry,
    /// The peer refused a chunk that it listed or must have.
    #[error("it refuses a chunk that it advertised")]
    RefusedAdvertisedPiece,
    /// Repeated errors.
    #[error("too many errors")]
    TooManyErrors,
}

impl DisconnectReason {
    /// How the peer misbehaved, if it did. [`DisconnectReason::Banned`] is no misbehavior: the ban
    /// has its own event.
    pub fn misbehavior(&self) -> Option<&Misbehavior> {
        match self {
            Self::Misbehaved(misbehavior) => Some(misbehavior),
            _ => None,
        }
    }

    /// Whether the peer was sent the reason, so that queued messages should still be delivered
    /// before the connection closes.
    pub fn is_answered(&self) -> bool {
        matches!(
            self,
            Self::ContentWithdrawn
                | Self::Misbehaved(
                    Misbehavior::UnexpectedMessage(_)
                        | Misbehavior::TooManyErrors
                        | Misbehavior::MalformedMessage(_)
                )
        )
    }
}

impl Misbehavior {
    /// A message, by the beginning of its text form, that is not allowed in this state.
    pub(crate) fn unexpected(message: String) -> Self {
        Self::UnexpectedMessage(message.into())
    }

    /// Whether a new connection to the same peer is expected to end in the same way.
    pub(crate) fn is_persistent(&self) -> bool {
        matches!(
            self,
            Self::UnexpectedMessage(_)
                | Self::DifferentFile
                | Self::InvalidGeometry
                | Self::RefusedAdvertisedPiece
                | Self::TooManyErrors
        )
    }
}

impl From<ExtensionError> for Misbehavior {
    fn from(_: ExtensionError) -> Self {
        Self::MalformedExtension
    }
}
