//! The traffic of the links, as the switch's interfaces count it. What the counts mean is decided
//! by the readers.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead as _, BufReader, Read as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde::{Deserialize, Serialize};

use super::{NetworkError, host_number};

/// The script of the holder: it reports that it is in the namespace, and runs until its input ends.
/// The input ends with the process that started it.
const HOLDER_SCRIPT: &str = "echo ready; exec cat >/dev/null";
/// The limit of bytes read from /proc/net/dev; a thousand interfaces need less.
const MAX_COUNTER_BYTES: u64 = 1 << 20;

/// The traffic of a host's link in whole Ethernet frames, counted at the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Bytes that the host sent.
    pub sent_bytes: u64,
    /// Frames that the host sent.
    pub sent_frames: u64,
    /// Bytes that the host received.
    pub received_bytes: u64,
    /// Frames that the host received.
    pub received_frames: u64,
}

/// Reads the counters of all hosts, often and at little cost. It keeps a process in the switches'
/// namespace and reads through that process's folder in /proc.
#[derive(Debug)]
pub struct CounterReader {
    holder: Child,
    path: PathBuf,
}

impl CounterReader {
    /// `shell` is a shell in the switches' namespace.
    pub(super) fn start(mut shell: Command) -> Result<Self, NetworkError> {
        let failed = NetworkError::io("counters");
        shell.args(["-c", HOLDER_SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = shell.spawn().map_err(failed)?;
        let path = PathBuf::from(format!("/proc/{}/net/dev", holder.id()));
        let stdout = holder.stdout.take();
        let reader = Self { holder, path };
        let mut line = String::new();
        let read = stdout.map(|stdout| BufReader::new(stdout).read_line(&mut line));
        match (read, line.trim()) {
            (Some(Ok(_)), "ready") => Ok(reader),
            _ => Err(NetworkError::step("counters", "the switches' namespace cannot be entered")),
        }
    }

    /// The traffic of each host's link since the network was built.
    ///
    /// # Errors
    /// When the network no longer exists.
    pub fn read(&self) -> io::Result<BTreeMap<String, Counters>> {
        let mut text = String::new();
        fs::File::open(&self.path)?.take(MAX_COUNTER_BYTES).read_to_string(&mut text)?;
        Ok(parse_counters(&text))
    }
}

impl Drop for CounterReader {
    fn drop(&mut self) {
        // The kill fails when the holder has already ended, which is no error.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Parses /proc/net/dev of the switches' namespace. A port receives what its host sends.
pub(super) fn parse_counters(text: &str) -> BTreeMap<String, Counters> {
    let ports = text.lines().filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        let name = name.trim();
        host_number(name)?;
        let numbers: Vec<u64> =
            numbers.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
        let counters = Counters {
            sent_bytes: *numbers.first()?,
            sent_frames: *numbers.get(1)?,
            received_bytes: *numbers.get(8)?,
            received_frames: *numbers.get(9)?,
        };
        Some((name.to_owned(), counters))
    });
    ports.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_switch() {
        let text = concat!(
            "Inter-|   Receive                                      |  Transmit\n",
            " face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs\n",
            "    lo:       0       0 0 0 0 0 0 0        0       0 0 0 0 0 0 0\n",
            "    s1:     640       9 0 0 0 0 0 9        0       0 0 0 0 0 0 0\n",
            "    h1: 1514000    1000 0 0 0 0 0 0    66000    1000 0 3 0 0 0 0\n",
            "   h12:      10       1 0 0 0 0 0 0       20       2 0 0 0 0 0 0\n",
        );
        let counters = parse_counters(text);
        assert_eq!(counters.keys().collect::<Vec<_>>(), ["h1", "h12"]);
        assert_eq!(
            counters["h1"],
            Counters {
                sent_bytes: 1_514_000,
                sent_frames: 1000,
                received_bytes: 66_000,
                received_frames: 1000
            }
        );
    }
}
