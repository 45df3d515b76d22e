//! Bytes to messages and back, a module per dialect.
//!
//! Pure: no sockets, no clock, no swarm state. Every length is bounded before anything is allocated
//! for it, and every decoder takes any segmentation of its input.

pub mod bittorrent;
pub mod chunk;
pub mod compact;
pub mod dialect;
pub mod framing;
pub mod json_torrent;
pub mod tracker;
pub mod tracker_http;
pub mod tracker_udp;

pub use dialect::Dialect;
