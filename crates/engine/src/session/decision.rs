//! What the engine decides to say to a peer, in the terms of no dialect.

use sow_content::Block;

/// What the engine decides to say. A dialect that has no message for a decision sends none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    KeepAlive,
    Choke,
    Unchoke,
    Interested,
    NotInterested,
    Have(u32),
    Request(Block),
    Cancel(Block),
    /// Refuse a request of the peer (BEP 6).
    Reject(Block),
    /// Allow a piece to be requested while the peer is choked (BEP 6).
    AllowFast(u32),
}
