//! The description of a network: hosts, links, switches, delays. Nothing here touches the system.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::NetworkError;

/// The limit of hosts: a bridge of Linux has 1,023 ports.
const MAX_HOSTS: usize = 1000;
/// Rates in bits per second. Below, one frame takes longer than a second; above, the machine is the
/// limit and not the link.
const LINK_RATES: std::ops::RangeInclusive<u64> = 16_000..=100_000_000_000;
const MAX_DELAY_US: u64 = 10_000_000;
const MAX_QUEUE_US: u64 = 10_000_000;

/// The name of a lab. It is part of the names of the lab's namespaces and files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

impl LabName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LabName {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.len() > 24
            || !text.starts_with(|c: char| c.is_ascii_lowercase())
            || !text.chars().all(allowed)
        {
            return Err(NetworkError::Name(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for LabName {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The link between a host and the switch. Rates are bits per second of whole Ethernet frames (14
/// bytes of header, no checksum): TCP over IPv4 carries 1,448 of every 1,514 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The rate from the host to the switch.
    pub up: u64,
    /// The rate from the switch to the host.
    pub down: u64,
    /// The propagation delay each way, in microseconds. Queueing and transmission times are added
    /// to it.
    pub delay_us: u64,
}

/// How the hosts are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switches {
    /// All on one switch.
    One,
    /// The first half of the hosts (rounded up) on one switch, the others on a second.
    Two {
        /// The rate of the link between the switches, each way, in bits per second.
        trunk: u64,
    },
}

/// The requested way to delay frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DelayChoice {
    /// Netem where the kernel has it, else the relay.
    #[default]
    Auto,
    /// The kernel's netem.
    Netem,
    /// A relay process between hosts and switch.
    Relay,
}

/// How the frames of a lab are delayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DelayMethod {
    /// They are not delayed.
    None,
    /// By the kernel's netem.
    Netem,
    /// By a relay process between hosts and switch.
    Relay,
}

/// The description of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The name of the lab.
    pub name: LabName,
    /// A link for each host, that of h1 first.
    pub links: Vec<Link>,
    /// How the hosts are connected.
    pub switches: Switches,
    /// The limit of the queue in front of each link, as the time to drain it, in microseconds.
    pub queue_us: u64,
    /// TCP's congestion control on every host.
    pub congestion_control: String,
    /// How frames are to be delayed.
    pub delay_by: DelayChoice,
}

impl Topology {
    /// The default queue: 100 ms, as in cheap routers at the ends of such links.
    pub const DEFAULT_QUEUE_US: u64 = 100_000;

    /// Hosts with equal links round one switch, with CUBIC.
    pub fn star(name: LabName, hosts: usize, link: Link) -> Self {
        Self {
            name,
            links: vec![link; hosts],
            switches: Switches::One,
            queue_us: Self::DEFAULT_QUEUE_US,
            congestion_control: "cubic".to_owned(),
            delay_by: DelayChoice::Auto,
        }
    }

    /// Checks that the network can be built.
    ///
    /// # Errors
    /// Names the value that is out of range.
    pub fn check(&self) -> Result<(), NetworkError> {
        let refuse = |reason: String| Err(NetworkError::Topology(reason));
        if !(1..=MAX_HOSTS).contains(&self.links.len()) {
            return refuse(format!("a lab has 1 to {MAX_HOSTS} hosts, not {}", self.links.len()));
        }
        let trunk = match self.switches {
            Switches::One => None,
            Switches::Two { trunk } => Some(trunk),
        };
        let rates = self.links.iter().flat_map(|link| [link.up, link.down]).chain(trunk);
        if let Some(rate) = rates.into_iter().find(|rate| !LINK_RATES.contains(rate)) {
            return refuse(format!(
                "a link of {rate} bit/s: from 16 kbit/s to 100 Gbit/s can be built"
            ));
        }
        if self.links.iter().any(|link| link.delay_us > MAX_DELAY_US) {
            return refuse("a delay is 10 s at most".to_owned());
        }
        if !(1000..=MAX_QUEUE_US).contains(&self.queue_us) {
            return refuse("a queue is between 1 ms and 10 s long".to_owned());
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.congestion_control.is_empty() || !self.congestion_control.chars().all(is_plain) {
            return refuse(format!("`{}` is no congestion control", self.congestion_control));
        }
        Ok(())
    }

    /// The number of a host's switch, from 1. Hosts count from 1.
    pub fn switch_of(&self, host: usize) -> usize {
        match self.switches {
            Switches::One => 1,
            Switches::Two { .. } => 1 + usize::from(host > self.links.len().div_ceil(2)),
        }
    }

    /// The rate of the path from one host to another, in bits per second. Hosts count from 1.
    pub fn path_rate(&self, from: usize, to: usize) -> u64 {
        let ends = self.links[from - 1].up.min(self.links[to - 1].down);
        match self.switches {
            Switches::Two { trunk } if self.switch_of(from) != self.switch_of(to) => {
                ends.min(trunk)
            }
            _ => ends,
        }
    }

    /// The round-trip time between two hosts without queueing, in microseconds. Hosts count from 1.
    pub fn round_trip_us(&self, from: usize, to: usize) -> u64 {
        2 * (self.links[from - 1].delay_us + self.links[to - 1].delay_us)
    }

    /// Whether any link has a delay.
    pub fn has_delay(&self) -> bool {
        self.links.iter().any(|link| link.delay_us > 0)
    }

    /// The number of a host of this network.
    ///
    /// # Errors
    /// When there is no host of that name.
    pub fn host(&self, name: &str) -> Result<usize, NetworkError> {
        host_number(name).filter(|number| *number <= self.links.len()).ok_or_else(|| {
            NetworkError::NoSuchHost { host: name.to_owned(), hosts: self.links.len() }
        })
    }
}

/// The number in a name such as `h3`, from 1; `None` for any other text.
pub fn host_number(name: &str) -> Option<usize> {
    let digits = name.strip_prefix('h')?;
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link = Link { up: 10_000_000, down: 20_000_000, delay_us: 5000 };

    fn star(hosts: usize) -> Topology {
        Topology::star("lab".parse().unwrap(), hosts, LINK)
    }

    #[test]
    fn names_are_short_and_plain() {
        for name in ["lab", "a", "cs-vs-p2p-5", "abcdefghijklmnopqrstuvwx"] {
            assert_eq!(name.parse::<LabName>().unwrap().as_str(), name);
        }
        for name in
            ["", "1a", "-a", "Lab", "a/b", "a b", "ä", "abcdefghijklmnopqrstuvwxy", "..", "a\n"]
        {
            assert!(name.parse::<LabName>().is_err(), "{name:?}");
            assert!(serde_json::from_str::<LabName>(&format!("{name:?}")).is_err(), "{name:?}");
        }
    }

    #[test]
    fn hosts_are_counted_from_one() {
        assert_eq!(host_number("h1"), Some(1));
        assert_eq!(host_number("h1000"), Some(1000));
        for name in
            ["", "h", "1", "h0", "h01", "h+1", "h-1", "H1", "h1 ", "h99999999999999999999999"]
        {
            assert_eq!(host_number(name), None, "{name:?}");
        }
        assert_eq!(star(3).host("h3").unwrap(), 3);
        assert!(matches!(star(3).host("h4"), Err(NetworkError::NoSuchHost { hosts: 3, .. })));
    }

    #[test]
    fn a_network_that_cannot_be_built_is_refused() {
        star(1).check().unwrap();
        star(1000).check().unwrap();
        let broken: [fn(&mut Topology); 8] = [
            |t| t.links.clear(),
            |t| t.links = vec![LINK; 1001],
            |t| t.links[0].up = 15_999,
            |t| t.links[1].down = 100_000_000_001,
            |t| t.links[1].delay_us = 10_000_001,
            |t| t.switches = Switches::Two { trunk: 0 },
            |t| t.queue_us = 999,
            |t| t.congestion_control = "cubic; reboot".to_owned(),
        ];
        for (number, damage) in broken.iter().enumerate() {
            let mut topology = star(2);
            damage(&mut topology);
            assert!(matches!(topology.check(), Err(NetworkError::Topology(_))), "{number}");
        }
    }

    #[test]
    fn a_path_is_as_fast_as_its_slowest_link() {
        let mut topology = star(5);
        assert_eq!(topology.path_rate(1, 5), 10_000_000);
        topology.links[4] = Link { up: 1_000_000, down: 2_000_000, delay_us: 1000 };
        assert_eq!(topology.path_rate(1, 5), 2_000_000);
        assert_eq!(topology.path_rate(5, 1), 1_000_000);
        assert_eq!(topology.round_trip_us(1, 5), 12_000);
        topology.switches = Switches::Two { trunk: 500_000 };
        assert_eq!(
            (1..=5).map(|host| topology.switch_of(host)).collect::<Vec<_>>(),
            [1, 1, 1, 2, 2]
        );
        assert_eq!(topology.path_rate(1, 5), 500_000);
        assert_eq!(topology.path_rate(1, 3), 10_000_000);
    }
}
