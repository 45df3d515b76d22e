//! The kinds of misbehavior. What each does in a dialect is in that dialect's file.

/// A kind of misbehavior.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostileKind {
    /// Connects often, and says nothing.
    Idle,
    /// Claims everything, delivers nothing, keeps the connection alive.
    Starve,
    /// Delivers one block in five seconds.
    Slow,
    /// Alternates between interested and not interested.
    FlapInterest,
    /// Claims everything, and alternates between choke and unchoke.
    FlapChoke,
    /// Delivers corrupt blocks.
    Corrupt,
    /// Never answers a request for metadata.
    MetadataSilent,
    /// Answers requests for metadata with other bytes.
    MetadataWrong,
    /// Asks for metadata without end.
    MetadataRequests,
    /// Announces pieces without end.
    HaveFlood,
    /// Requests without end.
    RequestFlood,
    /// Cancels without end what it did not request.
    CancelFlood,
    /// Sends extension messages without end.
    ExtendedFlood,
    /// Sends a bitfield of the wrong length.
    BadBitfield,
    /// Names pieces and blocks that do not exist.
    OutOfRange,
    /// Accepts connections, and never sends its handshake.
    HalfOpen,
    /// Names peers that do not exist, in peer exchange.
    PexFlood,
    /// Announces many ports to the tracker, at which it accepts nothing.
    TrackerFlood,
    /// Claims everything, and refuses each request.
    Reject,
    /// Closes the connection after some blocks, and comes back.
    Reset,
    /// Stops answering after some blocks, as after a crash without a reset.
    Vanish,
    /// Sends blocks that were not requested.
    Unsolicited,
}

impl HostileKind {
    /// All kinds.
    pub const ALL: &[Self] = &[
        Self::Idle,
        Self::Starve,
        Self::Slow,
        Self::FlapInterest,
        Self::FlapChoke,
        Self::Corrupt,
        Self::MetadataSilent,
        Self::MetadataWrong,
        Self::MetadataRequests,
        Self::HaveFlood,
        Self::RequestFlood,
        Self::CancelFlood,
        Self::ExtendedFlood,
        Self::BadBitfield,
        Self::OutOfRange,
        Self::HalfOpen,
        Self::PexFlood,
        Self::TrackerFlood,
        Self::Reject,
        Self::Reset,
        Self::Vanish,
        Self::Unsolicited,
    ];

    /// The name, for records.
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.extend(letter.to_lowercase());
        }
        name
    }

    /// Whether it claims to have everything.
    pub(super) fn claims_everything(self) -> bool {
        use HostileKind as K;
        matches!(
            self,
            K::Starve
                | K::Slow
                | K::FlapChoke
                | K::Corrupt
                | K::MetadataSilent
                | K::MetadataWrong
                | K::Reject
                | K::Reset
                | K::Vanish
                | K::Unsolicited
        )
    }

    /// Connections that it opens to each peer.
    pub(super) fn connections_per_target(self) -> usize {
        match self {
            Self::Idle => 8,
            Self::Starve => 3,
            Self::HalfOpen => 0,
            _ => 1,
        }
    }
}
