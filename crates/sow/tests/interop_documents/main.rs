//! `sow` and the two documents' programs, as people run them: whole processes on hosts of their own
//! (network namespaces), in both roles. The others are naive implementations with the originals'
//! habits (`interop/*.py`). Nothing here looks inside `sow`.
//!
//! Needs Debian's packages python3 and iproute2; `./test interop` installs them.

#[path = "../support/process.rs"]
mod process;
#[path = "../support/world.rs"]
mod world;

mod naive;
mod shared;
mod sow;

mod chunk;
mod client_server;
mod corrupting;
mod harness_itself;
mod hostile;
mod json_torrent;
mod kills;
