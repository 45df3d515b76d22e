//! Content: what a swarm distributes, and the texts that identify it.
//!
//! This crate describes files before any protocol is involved. It is pure data and arithmetic:
//! no input or output, no clock, no randomness, no protocol state.
//!
//! Three types are central:
//!
//! - [`Geometry`] divides content into pieces and blocks. It checks untrusted indexes once and
//!   turns them into a [`Block`]; [`Bitfield`] is a set of its pieces.
//! - [`Metainfo`] is a `.torrent` (BEP 3) and [`Info`] the description inside it: name, geometry,
//!   piece hashes and files. [`JsonTorrent`] is its counterpart in the `json-torrent` protocol.
//! - [`InfoHash`] identifies a swarm. A [`Ticket`] and a [`Magnet`] link carry it as text.
//!
//! ```
//! use sow_content::{Geometry, Info, Metainfo, Ticket, hash::sha1, metainfo::Files};
//!
//! // Describe new content: 40,000 bytes in pieces of 16 KiB.
//! let content = vec![7; 40_000];
//! let geometry = Geometry::new(content.len() as u64, 16 * 1024)?;
//! let piece_hashes = content.chunks(16 * 1024).map(sha1).collect();
//! let info = Info::from_parts("big.iso", geometry, Files::Single, piece_hashes, false)?;
//! let metainfo = Metainfo::new(info);
//!
//! // What was written reads back the same, and every error names a field.
//! assert_eq!(Metainfo::decode(&metainfo.encode())?, metainfo);
//!
//! // The last piece is shorter, and a block past its end is rejected.
//! assert_eq!(geometry.pieces(), 3);
//! assert_eq!(geometry.length_of(2), 40_000 - 2 * 16 * 1024);
//! assert_eq!(geometry.block(2, 0, 16 * 1024), None);
//!
//! // The line that one machine prints and another one pastes.
//! let ticket = Ticket { host: "10.0.0.1".into(), port: 52000, info_hash: metainfo.info_hash };
//! assert_eq!(ticket.to_string().parse::<Ticket>()?, ticket);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
pub mod untrusted;

pub use bitfield::Bitfield;
pub use geometry::{BLOCK_LENGTH, Block, Geometry};
pub use info_hash::InfoHash;
pub use json_torrent::JsonTorrent;
pub use magnet::Magnet;
pub use metainfo::{Info, Metainfo};
pub use path::SafePath;
pub use ticket::Ticket;
