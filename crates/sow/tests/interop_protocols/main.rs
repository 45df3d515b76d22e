//! The protocols `raw`, `framed`, `chunk` and `json-torrent` between `sow` and reference programs:
//! whole processes in both roles, each on a host of its own (a network namespace). The reference
//! programs (`interop/*.py`) have the habits of the original programs. Nothing here uses the crates
//! of `sow`.
//!
//! The tests need Debian's packages python3 and iproute2; `./test interop` installs them.

#[path = "../support/mod.rs"]
mod support;

mod reference;
mod shared_file;
mod sow;

mod chunk;
mod client_server;
mod corrupt_peers;
mod harness;
mod hostile;
mod json_torrent;
mod random_kills;
