//! A simulated world that runs the real engine: hosts, links with rates and delays, a tracker, a
//! virtual clock.
//!
//! Everything follows from a seed; there is no socket, no thread, no file and no real time. Payload
//! is not simulated, only its size and whether it is what it should be. Faults and checkers are
//! separate from the world.

pub mod checkers;
pub mod faults;
mod host;
mod link;
mod world;

pub use faults::{Fault, Faults};
pub use host::HostId;
pub use link::Rates;
pub use world::{Scenario, World};
