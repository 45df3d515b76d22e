//! A tracker without sockets: who is in which swarm, and whom to tell of whom (BEP 3, 7, 23, 48).
//!
//! Time and randomness come in as arguments. What carries announces here is said elsewhere.

mod limits;
mod registry;
mod roster;
mod swarm;

pub use limits::Limits;
pub use registry::{Caller, Mode, Registry, SwarmReport, UnknownSwarm};
