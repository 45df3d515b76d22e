//! What has crossed the links, as the switch's interfaces count it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead as _, BufReader, Read as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde::{Deserialize, Serialize};

use super::{NetworkError, host_number};

/// Says that it is where it should be, and stays until its input ends, as it does with whoever
/// started it.
const STAY: &str = "echo ready; exec cat >/dev/null";
/// What the kernel says of a thousand interfaces is shorter.
const MOST: u64 = 1 << 20;

/// What has crossed a host's link, in whole Ethernet frames, counted at the switch.
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

/// Reads the counters of all hosts, often and at little cost. Holds a process in the switches'
/// namespace, through which it looks in.
#[derive(Debug)]
pub struct CounterReader {
    holder: Child,
    path: PathBuf,
}

impl CounterReader {
    /// `inside` makes a program run in the switches' namespace.
    pub(super) fn start(mut inside: Command) -> Result<Self, NetworkError> {
        let failed = NetworkError::io("counters");
        let holder = inside.args(["-c", STAY]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut holder = holder.map_err(failed)?;
        let path = PathBuf::from(format!("/proc/{}/net/dev", holder.id()));
        let stdout = holder.stdout.take();
        let reader = Self { holder, path };
        let mut said = String::new();
        let heard = stdout.map(|stdout| BufReader::new(stdout).read_line(&mut said));
        match (heard, said.trim()) {
            (Some(Ok(_)), "ready") => Ok(reader),
            _ => Err(NetworkError::step("counters", "the switches' namespace cannot be entered")),
        }
    }

    /// What has crossed each host's link since the network was built.
    ///
    /// # Errors
    /// When the network is gone.
    pub fn read(&self) -> io::Result<BTreeMap<String, Counters>> {
        let mut text = String::new();
        fs::File::open(&self.path)?.take(MOST).read_to_string(&mut text)?;
        Ok(counters_of(&text))
    }
}

impl Drop for CounterReader {
    fn drop(&mut self) {
        // Whoever stands in the way of its end is not to be waited for.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Reads /proc/net/dev of the switches' namespace. What a port received is what its host sent.
pub(super) fn counters_of(text: &str) -> BTreeMap<String, Counters> {
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
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
    s1:     640       9    0    0    0     0          0         9        0       0    0    0    0     0       0          0
    h1: 1514000    1000    0    0    0     0          0         0    66000    1000    0    3    0     0       0          0
   h12:      10       1    0    0    0     0          0         0       20       2    0    0    0     0       0          0
";
        let counters = counters_of(text);
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
