//! Every decision of a swarm, without IO: inputs in, outputs out, time and randomness as arguments.
//!
//! No socket, no file, no clock, no thread; and no payload: the engine decides with (piece, offset, length).

mod announce;
mod availability;
mod choker;
pub mod config;
mod culprits;
mod downloading;
mod engine;
mod extension;
pub mod io;
mod meeting;
mod metadata;
mod open_piece;
mod peer;
mod peer_book;
mod picker;
mod pipeline;
mod rate;
mod spread;
mod status;
mod uploading;

pub use config::{Choking, Config, Content, PickOrder};
pub use engine::Engine;
pub use io::{
    Announce, AnnounceEvent, AnnounceReply, ConnId, Direction, DropReason, Event, Input, Output, PeerSource,
    Time, Verdict,
};
pub use status::{PeerStatus, Status};
