//! libtorrent, through a script that its Python binding runs.

use std::path::Path;

use crate::{
    content::{Content, INTEROP, PYTHON, Torrent},
    process::Process,
    world::World,
};

/// Where it listens.
pub(crate) const PORT: u16 = 6881;

/// Starts a download; event `complete` says that it has everything. `what` is a .torrent file or a
/// magnet link.
pub(crate) fn download(world: &World, host: u8, what: &str, folder: &Path) -> Process {
    let kind = if what.starts_with("magnet:") { "--magnet" } else { "--torrent" };
    start(world, host, &[kind, what, "--save", &folder.display().to_string()])
}

/// Starts a download that knows one peer.
pub(crate) fn download_from(
    world: &World,
    host: u8,
    peer: &str,
    torrent: &Torrent,
    folder: &Path,
) -> Process {
    let (torrent, save) = (torrent.path.display().to_string(), folder.display().to_string());
    start(world, host, &["--torrent", &torrent, "--save", &save, "--connect", peer])
}

/// Serves content that is complete; `more` are further options of the script.
pub(crate) fn seed(
    world: &World,
    host: u8,
    content: &Content,
    torrent: &Torrent,
    more: &[&str],
) -> Process {
    let (torrent, save) =
        (torrent.path.display().to_string(), content.parent().display().to_string());
    let mut arguments = vec!["--torrent", &torrent, "--save", &save, "--seed"];
    arguments.extend(more);
    start(world, host, &arguments)
}

fn start(world: &World, host: u8, arguments: &[&str]) -> Process {
    let script = format!("{INTEROP}/libtorrent_peer.py");
    let (address, port) = (world.address(host).to_string(), PORT.to_string());
    let mut command = vec![PYTHON, &script, "--listen", &address, "--port", &port];
    command.extend(arguments);
    let mut process = world.start(host, "libtorrent", &command);
    process.wait_for("listening port (needs package python3-libtorrent)", |lines| {
        lines.iter().any(|line| line.contains("\"listening\"")).then_some(())
    });
    process
}
