//! What each command does, from its plan to its exit code.

pub(crate) mod completions;
pub(crate) mod man;
pub(crate) mod torrent;
