//! Every decision of a swarm, without IO: inputs in, outputs out, time and randomness as arguments.
//!
//! No socket, no file, no clock, no thread; and no payload: the engine decides with (piece, offset, length).

pub mod config;
pub mod io;

pub use config::{Choking, Config, Content, PickOrder};
pub use io::{
    Announce, AnnounceEvent, AnnounceReply, ConnId, Direction, DropReason, Event, Input, Output, PeerSource,
    Time, Verdict,
};
