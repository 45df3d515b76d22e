//! `sow` itself, as a program among others.

use std::path::Path;

use crate::{content::Content, process::Process, world::World};

const SOW: &str = env!("CARGO_BIN_EXE_sow");
/// Where `sow get` listens in these tests.
pub(crate) const GET_PORT: u16 = 51_413;

/// A running `sow send`.
pub(crate) struct Origin {
    /// The process.
    pub(crate) process: Process,
    /// What `sow get` takes.
    pub(crate) ticket: String,
    /// What other programs take.
    pub(crate) magnet: String,
    /// A file that other programs take.
    pub(crate) torrent: String,
}

/// Starts `sow send` on a host and waits until it serves.
pub(crate) fn send(world: &World, host: u8, content: &Content, more: &[&str]) -> Origin {
    let torrent = content.room("torrents").join("from-sow.torrent").display().to_string();
    let (path, option) = (content.path.display().to_string(), format!("--torrent={torrent}"));
    let address = world.address(host).to_string();
    let mut command = vec![SOW, "send", &path, "--bind", &address, &option, "--json", "-v"];
    command.extend(more);
    let mut process = world.start(host, "sow send", &command);
    let ready = process.wait_event("ready");
    let field = |name: &str| {
        ready[name].as_str().unwrap_or_else(|| panic!("ready has no {name}: {ready}")).to_owned()
    };
    Origin { ticket: field("ticket"), magnet: field("magnet"), torrent, process }
}

/// Starts `sow get` on a host.
pub(crate) fn get(world: &World, host: u8, what: &str, folder: &Path, more: &[&str]) -> Process {
    let (folder, port) = (folder.display().to_string(), GET_PORT.to_string());
    let mut command =
        vec![SOW, "get", what, "-o", &folder, "--port", &port, "--timeout", "60s", "--json", "-v"];
    command.extend(more);
    world.start(host, "sow get", &command)
}
