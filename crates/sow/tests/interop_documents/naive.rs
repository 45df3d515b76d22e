//! The naive programs of `interop/`, started on a host. `line` is a program's name and arguments,
//! split at spaces.

use serde_json::Value;

use crate::{process::Process, world::World};

const INTEROP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop");
const PYTHON: &str = "python3";

/// Which of the two spellings of document 1's P2P protocol a program speaks.
pub(crate) const SPELLINGS: [&str; 2] = ["documented", "original"];

/// Starts one that serves on the host's own address, and waits until it accepts connections.
pub(crate) fn serve(world: &World, host: u8, line: &str) -> Process {
    let mut process = run(world, host, &format!("{line} --bind {}", world.address(host)));
    process.wait_event("listening");
    process
}

/// Starts one.
pub(crate) fn run(world: &World, host: u8, line: &str) -> Process {
    let (program, arguments) = line.split_once(' ').expect("a program has arguments");
    let script = format!("{INTEROP}/{program}.py");
    let mut command = vec![PYTHON, &script];
    command.extend(arguments.split_whitespace());
    world.start(host, &format!("naive {line}"), &command)
}

/// How many chunks or pieces a program that is complete got from others than those in `but`.
pub(crate) fn count_from_others(complete: &Value, but: &[&str]) -> u64 {
    let from = complete["from"].as_object().expect("counts by peer");
    from.iter()
        .filter(|(peer, _)| !but.contains(&peer.as_str()))
        .filter_map(|(_, count)| count.as_u64())
        .sum()
}
