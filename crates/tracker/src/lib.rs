//! A tracker without sockets: who is in which swarm, and whom to tell of whom (BEP 3, 7, 23, 48;
//! document 2's tracker).
//!
//! Time and randomness come in as arguments. What carries announces here is said elsewhere.

mod json_registry;
mod limits;
mod registry;
mod roster;
mod swarm;

pub use json_registry::{JsonLimits, JsonRegistry};
pub use limits::Limits;
pub use registry::{Announcer, Mode, Registry, SwarmReport, UnknownSwarm};
