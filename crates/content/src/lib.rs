//! What is shared: geometry, bitfield, hashes, metainfo, magnet links and tickets.
//!
//! Pure data and arithmetic. No IO, no clock, no randomness, no protocol state.

pub mod bencode;
pub mod bitfield;
pub mod geometry;
pub mod hash;
pub mod info_hash;
pub mod json;
pub mod json_torrent;
pub mod magnet;
pub mod metainfo;
pub mod path;
pub mod percent;
pub mod ticket;

pub use bitfield::Bitfield;
pub use geometry::{BLOCK_LENGTH, Block, Geometry};
pub use info_hash::InfoHash;
pub use json_torrent::JsonTorrent;
pub use magnet::Magnet;
pub use metainfo::{Info, Metainfo};
pub use path::SafePath;
pub use ticket::Ticket;
