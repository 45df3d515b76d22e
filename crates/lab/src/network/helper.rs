//! The helper processes that run inside a lab, by role. `sow lab helper` starts them; that command
//! is not meant for users.

use std::io::{self, Read as _};

use serde::de::DeserializeOwned;

use super::{probe, relay};

/// The limit of a task in bytes. The largest task is a list of a thousand links.
const MAX_TASK_BYTES: u64 = 1 << 20;

/// Runs a role, with its task as JSON on standard input: `relay` delays frames, `listen` and
/// `measure` are the two ends of a calibration.
///
/// # Errors
/// When the role is unknown, the task cannot be read, or the role fails.
pub fn run(role: &str) -> io::Result<()> {
    match role {
        "relay" => relay::run(&read_task()?),
        "listen" => probe::listen(&read_task()?),
        "measure" => probe::measure(&read_task()?),
        _ => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no helper `{role}`")))
        }
    }
}

fn read_task<T: DeserializeOwned>() -> io::Result<T> {
    let mut text = String::new();
    io::stdin().take(MAX_TASK_BYTES).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}
