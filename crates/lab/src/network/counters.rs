//! What has crossed the links, as the switch's interfaces count it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::host_number;

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

/// Reads /proc/net/dev of the switches' namespace. What a port received is what its host sent.
pub(super) fn counters_of(text: &str) -> BTreeMap<String, Counters> {
    let ports = text.lines().filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        let name = name.trim();
        host_number(name)?;
        let numbers: Vec<u64> = numbers.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
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
