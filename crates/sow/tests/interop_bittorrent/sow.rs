//! `sow` as one of the programs.

use std::path::Path;

use crate::{
    content::Content,
    support::{process::Process, test_network::TestNetwork},
};

const SOW: &str = env!("CARGO_BIN_EXE_sow");
/// The port on which `sow get` listens in these tests.
pub(crate) const GET_PORT: u16 = 51_413;

/// A running `sow send`.
pub(crate) struct Origin {
    /// The process.
    pub(crate) process: Process,
    /// The ticket for `sow get`.
    pub(crate) ticket: String,
    /// The magnet link for other programs.
    pub(crate) magnet: String,
    /// The path of the .torrent file for other programs.
    pub(crate) torrent: String,
}

/// Starts `sow send` on a host and waits until it serves.
pub(crate) fn send(network: &TestNetwork, host: u8, content: &Content, more: &[&str]) -> Origin {
    let torrent = content.subfolder("torrents").join("from-sow.torrent").display().to_string();
    let (path, option) = (content.path.display().to_string(), format!("--torrent={torrent}"));
    let address = network.address(host).to_string();
    let mut command = vec![SOW, "send", &path, "--bind", &address, &option, "--json", "-v"];
    command.extend(more);
    let mut process = network.start(host, "sow send", &command);
    let ready = process.wait_event("ready");
    let field = |name: &str| {
        ready[name].as_str().unwrap_or_else(|| panic!("ready has no {name}: {ready}")).to_owned()
    };
    Origin { ticket: field("ticket"), magnet: field("magnet"), torrent, process }
}

/// Starts `sow get` on a host.
pub(crate) fn get(
    network: &TestNetwork,
    host: u8,
    source: &str,
    folder: &Path,
    more: &[&str],
) -> Process {
    let (folder, port) = (folder.display().to_string(), GET_PORT.to_string());
    let mut command = vec![
        SOW,
        "get",
        source,
        "-o",
        &folder,
        "--port",
        &port,
        "--timeout",
        "100s",
        "--json",
        "-v",
    ];
    command.extend(more);
    network.start(host, "sow get", &command)
}
