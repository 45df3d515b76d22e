//! Every decision of a swarm, without IO: inputs in, outputs out, time and randomness as arguments.
//!
//! No socket, no file, no clock, no thread; and no payload: the engine decides with (piece, offset, length).

mod announce;
mod availability;
mod choker;
mod chunk;
pub mod config;
pub mod cs;
mod culprits;
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
pub use config::{Choking, ChunkConfig, Config, Content, PickOrder, Proof};
pub use engine::Engine;
pub use io::{
    Announce, AnnounceEvent, AnnounceReply, ConnId, Dialect, Direction, DropReason, Event, Input,
    Introduction, Message, Output, PeerSource, Storing, Time, Verdict,
};
pub use status::{PeerStatus, Status};
