//! Every decision of a swarm, without IO: inputs in, outputs out, time and randomness as arguments.
//!
//! No socket, no file, no clock, no thread; and no payload: the engine decides with (piece, offset,
//! length).

mod announce;
mod availability;
mod choker;
mod chunk;
pub mod client_server;
pub mod config;

mod culprits;
mod disconnect;
mod downloading;
mod engine;
mod extension;
pub mod io;
mod json_torrent;
mod meeting;
mod metadata;
mod open_piece;
mod peer;
mod peer_book;
mod picker;
mod pipeline;
mod rate;
mod share;
mod sharing;
mod spread;
mod status;
mod talk;
mod uploading;
mod whole_pieces;

pub use announce::JSON_TRACKER;
pub use config::{Choking, ChunkConfig, Config, Content, Integrity, PickOrder};
pub use disconnect::{DisconnectReason, Misbehavior};
pub use engine::Engine;
pub use io::{
    Announce, AnnounceError, AnnounceEvent, AnnounceReply, ConnId, Dialect, Direction, Event,
    Input, Message, Output, PeerHandshake, PeerSource, StoreMode, StoreOutcome, Time,
};
pub use status::{PeerStatus, Status};
