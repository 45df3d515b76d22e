//! The wire formats of every protocol that this program speaks: bytes to messages and back.
//!
//! This crate is pure: no sockets, no clock, no state of a swarm. Every length is bounded before
//! memory is allocated for it, and every decoder accepts any segmentation of its input.
//!
//! There is a module for each protocol, with its messages, its decoder and its encoder:
//!
//! | module | protocol | described in |
//! |---|---|---|
//! | [`bittorrent`] | BitTorrent peers | BEP 3, 6, 9, 10, 11 |
//! | [`tracker_http`], [`tracker_udp`] | BitTorrent trackers | BEP 3, 7, 15, 23, 41, 48 |
//! | [`chunk`] | peers and server of `chunk` | `docs/protocols/chunk.md` |
//! | [`json_torrent`] | peers and tracker of `json-torrent` | `docs/protocols/json-torrent.md` |
//! | [`framing`] | frames of `framed` and `json-torrent` | `docs/protocols/framed.md` |
//!
//! The `raw` protocol (`docs/protocols/raw.md`) has no messages and so no module: the bytes of the
//! connection are the file. [`Dialect`] is the closed choice of protocols between the peers of a
//! swarm.
//!
//! The protocols between peers have the same three types: a `Message`, a `Decoder`, and `Decoded`,
//! which is a message or the head of a payload. The decoder never touches payload: the owner of the
//! socket moves it from the stream to where it belongs.
//!
//! ```
//! use bytes::{Buf, BytesMut};
//! use sow_wire::bittorrent::{
//!     BlockRequest, Decoded, Decoder, Message,
//!     message::{block_head, encode},
//! };
//!
//! let block = BlockRequest { piece: 7, offset: 0, length: 5 };
//! let mut stream = BytesMut::new();
//! encode(&Message::Have(7), &mut stream);
//! stream.extend_from_slice(&block_head(block));
//! stream.extend_from_slice(b"bytes");
//!
//! let mut decoder = Decoder::new(16 * 1024);
//! assert_eq!(decoder.decode(&mut stream)?, Some(Decoded::Message(Message::Have(7))));
//! assert_eq!(decoder.decode(&mut stream)?, Some(Decoded::Block(block)));
//! // The payload is next in the stream; the caller takes it before it decodes further.
//! assert_eq!(&stream[..5], b"bytes");
//! stream.advance(5);
//! assert_eq!(decoder.decode(&mut stream)?, None);
//! # Ok::<(), sow_wire::bittorrent::WireError>(())
//! ```

pub mod bittorrent;
pub mod chunk;
pub mod compact;
pub mod dialect;
pub mod framing;
pub mod json_torrent;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
pub mod tracker;
pub mod tracker_http;
pub mod tracker_udp;

pub use dialect::Dialect;
