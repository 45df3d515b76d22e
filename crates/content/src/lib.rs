//! What is shared: geometry, bitfield, hashes, metainfo, magnet links and tickets.
//!
//! Pure data and arithmetic. No IO, no clock, no randomness, no protocol state.

pub mod bitfield;
pub mod geometry;
pub mod info_hash;

pub use bitfield::Bitfield;
pub use geometry::{BLOCK_LENGTH, Block, Geometry};
pub use info_hash::InfoHash;
