//! Runs an experiment: a scenario's transfers, one after the other on a network that is built for them, and records what they did.

pub(crate) mod programs;
