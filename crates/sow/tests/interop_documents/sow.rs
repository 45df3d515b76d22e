//! `sow` itself, started on a host. `line` is its arguments, split at spaces.

use std::path::Path;

use serde_json::Value;

use crate::{process::Process, world::World};

const SOW: &str = env!("CARGO_BIN_EXE_sow");

/// Starts one that serves, and waits until it accepts connections.
pub(crate) fn serve(world: &World, host: u8, line: &str) -> Process {
    let mut process = start(world, host, &format!("{line} --json -v"));
    process.wait_event("ready");
    process
}

/// Starts one that downloads to `out`.
pub(crate) fn fetch(world: &World, host: u8, line: &str, out: &Path) -> Process {
    start(world, host, &format!("{line} -o {} --timeout 50s --json -v", out.display()))
}

/// Starts one that downloads to its working folder.
pub(crate) fn fetch_in(world: &World, host: u8, line: &str, folder: &Path) -> Process {
    let (folder, line) = (folder.display().to_string(), format!("{line} --timeout 50s --json -v"));
    let mut command = vec!["env", "-C", &folder, SOW];
    command.extend(line.split_whitespace());
    world.start(host, &format!("sow {line}"), &command)
}

/// Starts it with these arguments alone.
pub(crate) fn start(world: &World, host: u8, line: &str) -> Process {
    let mut command = vec![SOW];
    command.extend(line.split_whitespace());
    world.start(host, &format!("sow {line}"), &command)
}

/// Starts it on 127.0.0.1 of this machine, outside of any world.
pub(crate) fn here(line: &str) -> Process {
    let mut command = vec![SOW];
    command.extend(line.split_whitespace());
    Process::start(&format!("sow {line}"), &command)
}

/// How many bytes a program that is complete got from a peer.
pub(crate) fn bytes_from(complete: &Value, peer: &str) -> u64 {
    complete["from"][peer].as_u64().unwrap_or(0)
}

/// How many bytes it got from others than this one.
pub(crate) fn bytes_from_others(complete: &Value, but: &str) -> u64 {
    let from = complete["from"].as_object().expect("bytes by peer");
    from.iter().filter(|(peer, _)| *peer != but).filter_map(|(_, bytes)| bytes.as_u64()).sum()
}
