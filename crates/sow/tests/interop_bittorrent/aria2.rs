//! aria2.

use std::path::Path;

use crate::{
    content::{Content, Torrent},
    process::{Process, require},
    world::World,
};

/// Where it listens.
pub(crate) const PORT: u16 = 6881;

const COMMON: [&str; 12] = [
    "--no-conf=true",
    "--enable-dht=false",
    "--enable-dht6=false",
    "--bt-enable-lpd=false",
    "--file-allocation=none",
    "--bt-tracker-interval=2",
    "--bt-save-metadata=false",
    "--allow-overwrite=true",
    "--summary-interval=1",
    "--show-console-readout=false",
    "--console-log-level=notice",
    "--listen-port=6881",
];

/// Starts a download that ends by itself, with success, when it is complete. `what` is a .torrent
/// file or a magnet link.
pub(crate) fn download(world: &World, host: u8, what: &str, folder: &Path) -> Process {
    start(world, host, what, folder, "--seed-time=0")
}

/// Starts a download that goes on to serve others when it is complete.
pub(crate) fn join(world: &World, host: u8, what: &str, folder: &Path) -> Process {
    start(world, host, what, folder, "--seed-ratio=0.0")
}

/// Serves content that is complete.
pub(crate) fn seed(world: &World, host: u8, content: &Content, torrent: &Torrent) -> Process {
    let torrent = torrent.path.display().to_string();
    let mut process = start(world, host, &torrent, content.parent(), "--check-integrity=true");
    process.wait_for("listening port", |lines| {
        lines.iter().any(|line| line.contains("listening on TCP port")).then_some(())
    });
    process
}

fn start(world: &World, host: u8, what: &str, folder: &Path, ending: &str) -> Process {
    require("aria2c", "aria2");
    let folder = format!("--dir={}", folder.display());
    let mut command = vec!["aria2c"];
    command.extend(COMMON);
    command.extend([folder.as_str(), ending, what]);
    world.start(host, "aria2", &command)
}
