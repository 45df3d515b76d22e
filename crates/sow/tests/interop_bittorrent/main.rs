//! `sow` and other BitTorrent programs as whole processes, each on a host of its own (a network
//! namespace): downloads in both directions, by .torrent file and by magnet link. Nothing here uses
//! the crates of `sow`.
//!
//! The tests need Debian's packages aria2, transmission-daemon, transmission-cli,
//! python3-libtorrent and iproute2; `./test interop` installs them. A test fails with the name of
//! the package that is missing.

#[path = "../support/mod.rs"]
mod support;

mod aria2;
mod content;
mod libtorrent;
mod sow;
mod tracker;
mod transmission;

mod corrupt_peer;
mod from_sow;
mod harness;
mod mixed_swarm;
mod to_sow;
