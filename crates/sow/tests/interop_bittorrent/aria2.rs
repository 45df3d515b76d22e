//! aria2 as a downloader, a peer and a seed.

use std::path::Path;

use crate::{
    content::{Content, Torrent},
    support::{
        process::{Process, require},
        test_network::TestNetwork,
    },
};

/// The port on which it listens.
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

/// Starts a download that exits with success when it is complete. `source` is a .torrent file or a
/// magnet link.
pub(crate) fn download(network: &TestNetwork, host: u8, source: &str, folder: &Path) -> Process {
    start(network, host, source, folder, "--seed-time=0")
}

/// Starts a download that serves other peers when it is complete.
pub(crate) fn join(network: &TestNetwork, host: u8, source: &str, folder: &Path) -> Process {
    start(network, host, source, folder, "--seed-ratio=0.0")
}

/// Serves content that is complete.
pub(crate) fn seed(
    network: &TestNetwork,
    host: u8,
    content: &Content,
    torrent: &Torrent,
) -> Process {
    let torrent = torrent.path.display().to_string();
    let mut process = start(network, host, &torrent, content.parent(), "--check-integrity=true");
    process.wait_for("listening port", |lines| {
        lines.iter().any(|line| line.contains("listening on TCP port")).then_some(())
    });
    process
}

fn start(network: &TestNetwork, host: u8, source: &str, folder: &Path, ending: &str) -> Process {
    require("aria2c", "aria2");
    let folder = format!("--dir={}", folder.display());
    let mut command = vec!["aria2c"];
    command.extend(COMMON);
    command.extend([folder.as_str(), ending, source]);
    network.start(host, "aria2", &command)
}
