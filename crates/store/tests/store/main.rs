//! The public interface of the store: content that is received, interrupted, committed, served,
//! hashed and verified.

mod conformance;
mod interruption;
mod kill;
mod limits;
mod sample;
mod sharing;
mod strangers;
mod target;
