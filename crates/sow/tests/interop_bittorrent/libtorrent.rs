//! libtorrent, through a script that uses its Python binding.

use std::path::Path;

use crate::{
    content::{Content, INTEROP, PYTHON, Torrent},
    support::{process::Process, test_network::TestNetwork},
};

/// The port on which it listens.
pub(crate) const PORT: u16 = 6881;

/// Starts a download; the event `complete` reports its end. `source` is a .torrent file or a magnet
/// link.
pub(crate) fn download(network: &TestNetwork, host: u8, source: &str, folder: &Path) -> Process {
    let kind = if source.starts_with("magnet:") { "--magnet" } else { "--torrent" };
    start(network, host, &[kind, source, "--save", &folder.display().to_string()])
}

/// Starts a download from one peer.
pub(crate) fn download_from(
    network: &TestNetwork,
    host: u8,
    peer: &str,
    torrent: &Torrent,
    folder: &Path,
) -> Process {
    let (torrent, save) = (torrent.path.display().to_string(), folder.display().to_string());
    start(network, host, &["--torrent", &torrent, "--save", &save, "--connect", peer])
}

/// Serves complete content; `more` are further options of the script.
pub(crate) fn seed(
    network: &TestNetwork,
    host: u8,
    content: &Content,
    torrent: &Torrent,
    more: &[&str],
) -> Process {
    let (torrent, save) =
        (torrent.path.display().to_string(), content.parent().display().to_string());
    let mut arguments = vec!["--torrent", &torrent, "--save", &save, "--seed"];
    arguments.extend(more);
    start(network, host, &arguments)
}

fn start(network: &TestNetwork, host: u8, arguments: &[&str]) -> Process {
    let script = format!("{INTEROP}/libtorrent_peer.py");
    let (address, port) = (network.address(host).to_string(), PORT.to_string());
    let mut command = vec![PYTHON, &script, "--listen", &address, "--port", &port];
    command.extend(arguments);
    let mut process = network.start(host, "libtorrent", &command);
    process.wait_for("listening port (needs package python3-libtorrent)", |lines| {
        lines.iter().any(|line| line.contains("\"listening\"")).then_some(())
    });
    process
}
