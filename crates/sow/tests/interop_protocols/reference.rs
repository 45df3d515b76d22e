//! The reference programs of `interop/`, started on a host. `line` is the name and the arguments of
//! a program, split at spaces.

use serde_json::Value;

use crate::support::{process::Process, test_network::TestNetwork};

const INTEROP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop");
const PYTHON: &str = "python3";

/// The event of a program with `--corrupt` when it has sent a corrupt chunk or piece.
pub(crate) const SENT_CORRUPT: &str = "sent_corrupt";

/// The two spellings of the `chunk` protocol.
pub(crate) const SPELLINGS: [&str; 2] = ["documented", "original"];

/// Starts one that serves on the address of the host; returns when it accepts connections.
pub(crate) fn serve(network: &TestNetwork, host: u8, line: &str) -> Process {
    let mut process = run(network, host, &format!("{line} --bind {}", network.address(host)));
    process.wait_event("listening");
    process
}

/// Starts one.
pub(crate) fn run(network: &TestNetwork, host: u8, line: &str) -> Process {
    let (program, arguments) = line.split_once(' ').expect("a program has arguments");
    let script = format!("{INTEROP}/{program}.py");
    let mut command = vec![PYTHON, &script];
    command.extend(arguments.split_whitespace());
    network.start(host, &format!("reference {line}"), &command)
}

/// The chunks or pieces that a complete program received from other peers than `except`.
pub(crate) fn count_from_others(complete: &Value, except: &[&str]) -> u64 {
    let from = complete["from"].as_object().expect("counts by peer");
    from.iter()
        .filter(|(peer, _)| !except.contains(&peer.as_str()))
        .filter_map(|(_, count)| count.as_u64())
        .sum()
}
