//! Relaying: how a crowd of our own program passes a file on in the order of its pieces, with every
//! uplink busy, without asking around. No messages, no connections.
//!
//! The pieces are dealt out to *stripes*, and for each stripe the receivers form a tree below the
//! origin: each one fetches the stripe from its *parent*. A receiver has children in one tree and
//! is a leaf of the others, so that every uplink carries as much as the downlink (as in
//! SplitStream, Castro et al., 2003). The origin decides who is whose parent (`plan`), a receiver
//! follows that for as long as it works (`parents`). A child requests a piece before its parent has
//! it, and the parent answers when it has: so data flows without a round trip for each piece, and
//! no faster than the child takes it.

mod parents;
mod plan;

pub(crate) use self::{
    parents::{Orphaned, ParentState, Parents, StripeProgress},
    plan::{Plan, Progress},
};
