//! Every decision of a swarm, without IO: inputs in, outputs out, time and randomness as arguments.
//!
//! No socket, no file, no clock, no thread; and no payload: the engine decides with (piece, offset,
//! length).

mod address_book;
mod announcer;
mod availability;
mod choker;
pub mod client_server;
pub mod config;
mod connections;
mod disconnect;
mod downloads;
mod engine;
pub mod io;
mod metadata_fetch;
mod open_piece;
mod picker;
mod pipeline;
mod rate;
mod session;
mod status;
mod uploads;

pub use announcer::JSON_TRACKER;
pub use config::{Choking, ChunkConfig, Config, Content, Integrity, PickOrder};
pub use disconnect::{DisconnectReason, Misbehavior};
pub use engine::Engine;
pub use io::{
    Announce, AnnounceError, AnnounceEvent, AnnounceReply, ConnId, Dialect, Direction, Event,
    Input, Message, Output, PeerHandshake, PeerSource, StoreMode, StoreOutcome, Time,
};
pub use status::{PeerStatus, Status};
