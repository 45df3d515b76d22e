//! `sow` and other BitTorrent programs, as people run them: whole processes on hosts of their own
//! (network namespaces), in both directions, by .torrent and by magnet link. Nothing here looks
//! inside `sow`.
//!
//! Needs Debian's packages aria2, transmission-daemon, transmission-cli, python3-libtorrent and
//! iproute2; `./test interop` installs them. Without one of them a test fails and says which.

mod aria2;
mod content;
mod libtorrent;
#[path = "../support/process.rs"]
mod process;
mod sow;
mod tracker;
mod transmission;
#[path = "../support/world.rs"]
mod world;

mod from_sow;
mod harness_itself;
mod liar;
mod mixed;
mod to_sow;
