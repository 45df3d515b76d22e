//! The store as its users see it: content that is received, interrupted, put in place, served,
//! hashed and verified.

mod conformance;
mod interruption;
mod kill;
mod limits;
mod sample;
mod sharing;
mod target;
