//! The processes of ours that run inside a lab, by role. The command line that starts them is no
//! business of users.

use std::io::{self, Read as _};

use serde::de::DeserializeOwned;

use super::{probe, relay};

/// A task is a list of links at most: a thousand of them.
const MAX_TASK: u64 = 1 << 20;

/// Does what a role asks for, with its task as JSON on standard input: `relay` delays frames,
/// `listen` and `measure` are the ends of a calibration.
///
/// # Errors
/// When the role is unknown, the task cannot be read, or it cannot be done.
pub fn run(role: &str) -> io::Result<()> {
    match role {
        "relay" => relay::run(&task()?),
        "listen" => probe::listen(&task()?),
        "measure" => probe::measure(&task()?),
        _ => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no helper `{role}`")))
        }
    }
}

fn task<T: DeserializeOwned>() -> io::Result<T> {
    let mut text = String::new();
    io::stdin().take(MAX_TASK).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}
