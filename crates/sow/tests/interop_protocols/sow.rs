//! `sow`, started on a host. `line` is its arguments, split at spaces.

use std::path::Path;

use serde_json::Value;

use crate::support::{process::Process, test_network::TestNetwork};

const SOW: &str = env!("CARGO_BIN_EXE_sow");

/// Starts one that serves; returns when it accepts connections.
pub(crate) fn serve(network: &TestNetwork, host: u8, line: &str) -> Process {
    let mut process = start(network, host, &format!("{line} --json -v"));
    process.wait_event("ready");
    process
}

/// Starts one that downloads to `out`.
pub(crate) fn fetch(network: &TestNetwork, host: u8, line: &str, out: &Path) -> Process {
    start(network, host, &format!("{line} -o {} --timeout 100s --json -v", out.display()))
}

/// Starts one that downloads to its current folder.
pub(crate) fn fetch_in(network: &TestNetwork, host: u8, line: &str, folder: &Path) -> Process {
    let (folder, line) = (folder.display().to_string(), format!("{line} --timeout 100s --json -v"));
    let mut command = vec!["env", "-C", &folder, SOW];
    command.extend(line.split_whitespace());
    network.start(host, &format!("sow {line}"), &command)
}

/// Starts one with these arguments and no others.
pub(crate) fn start(network: &TestNetwork, host: u8, line: &str) -> Process {
    let mut command = vec![SOW];
    command.extend(line.split_whitespace());
    network.start(host, &format!("sow {line}"), &command)
}

/// Starts one on this machine, outside of any test network.
pub(crate) fn here(line: &str) -> Process {
    let mut command = vec![SOW];
    command.extend(line.split_whitespace());
    Process::start(&format!("sow {line}"), &command)
}

/// The bytes that a complete program received from a peer.
pub(crate) fn bytes_from(complete: &Value, peer: &str) -> u64 {
    complete["from"][peer].as_u64().unwrap_or(0)
}

/// The bytes that a complete program received from other peers than this one.
pub(crate) fn bytes_from_others(complete: &Value, except: &str) -> u64 {
    let from = complete["from"].as_object().expect("bytes by peer");
    from.iter().filter(|(peer, _)| *peer != except).filter_map(|(_, bytes)| bytes.as_u64()).sum()
}
