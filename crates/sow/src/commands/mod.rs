//! The commands: each from its plan to its exit code.

pub(crate) mod chunk;
pub(crate) mod client_server;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod get;
pub(crate) mod json_torrent;
pub(crate) mod lab;
pub(crate) mod man;
pub(crate) mod push;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod torrent;
pub(crate) mod tracker;
