//! The network of a scenario: the same for every number of users, with exceptions by role; and the
//! hosts that a run of it has.

use std::fmt;

use crate::network::{LabName, Link, Switches, Topology};

/// How many hosts of which kind a run has. Origins are h1 and on, receivers come after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    /// How many have the file at the start.
    pub origins: u16,
    /// How many want it.
    pub users: u16,
}

/// Hosts round a switch, all with the same link but for some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Every host's link, if nothing else is said.
    pub link: Link,
    /// The longest queue in front of a link, as the time that it takes to drain, in microseconds.
    pub queue_us: u64,
    /// TCP's congestion control on every host.
    pub congestion_control: String,
    /// What the line between two switches carries each way, in bits per second, if there are two.
    pub trunk: Option<u64>,
    /// Who has another link; a later one wins where two speak of the same host.
    pub exceptions: Vec<LinkException>,
}

/// What differs about the links of some hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkException {
    /// Whose.
    pub part: HostPart,
    /// What they can send, in bits per second.
    pub up: Option<u64>,
    /// What they can receive, in bits per second.
    pub down: Option<u64>,
    /// Their link's delay, each way, in microseconds.
    pub delay_us: Option<u64>,
}

/// Some of the hosts of a run. Numbers are from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPart {
    /// All that have the file at the start.
    Origins,
    /// All that want it.
    Receivers,
    /// One that has it.
    Origin(u16),
    /// One that wants it.
    Receiver(u16),
    /// The host of this number, whatever it does.
    Host(u16),
}

impl Shape {
    /// How many hosts there are.
    pub fn hosts(self) -> usize {
        usize::from(self.origins) + usize::from(self.users)
    }

    /// The name of an origin, from 1.
    pub fn origin(self, number: u16) -> String {
        format!("h{number}")
    }

    /// The name of a receiver, from 1.
    pub fn receiver(self, number: u16) -> String {
        format!("h{}", u32::from(self.origins) + u32::from(number))
    }

    /// The names of all origins.
    pub fn origin_hosts(self) -> Vec<String> {
        (1..=self.origins).map(|number| self.origin(number)).collect()
    }

    /// The names of all receivers.
    pub fn receiver_hosts(self) -> Vec<String> {
        (1..=self.users).map(|number| self.receiver(number)).collect()
    }

    /// Whether there is such a host.
    pub(super) fn includes(self, part: HostPart) -> bool {
        match part {
            HostPart::Origins | HostPart::Receivers => true,
            HostPart::Origin(number) => number <= self.origins,
            HostPart::Receiver(number) => number <= self.users,
            HostPart::Host(number) => usize::from(number) <= self.hosts(),
        }
    }

    /// Whether this part has the host of this place, from 0.
    fn has(self, part: HostPart, place: usize) -> bool {
        let origins = usize::from(self.origins);
        match part {
            HostPart::Origins => place < origins,
            HostPart::Receivers => place >= origins,
            HostPart::Origin(number) => place < origins && place + 1 == usize::from(number),
            HostPart::Receiver(number) => place + 1 == origins + usize::from(number),
            HostPart::Host(number) => place + 1 == usize::from(number),
        }
    }
}

impl fmt::Display for HostPart {
    /// As it stands in a scenario's file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origins => f.write_str("origins"),
            Self::Receivers => f.write_str("receivers"),
            Self::Origin(number) => write!(f, "origin{number}"),
            Self::Receiver(number) => write!(f, "receiver{number}"),
            Self::Host(number) => write!(f, "h{number}"),
        }
    }
}

impl LinkException {
    /// What becomes of a link.
    pub(super) fn apply(&self, link: Link) -> Link {
        Link {
            up: self.up.unwrap_or(link.up),
            down: self.down.unwrap_or(link.down),
            delay_us: self.delay_us.unwrap_or(link.delay_us),
        }
    }
}

impl Network {
    /// The network for a run of this shape; it may yet be one that cannot be built
    /// ([`Topology::check`]).
    pub fn topology(&self, name: LabName, shape: Shape) -> Topology {
        let mut topology = Topology::star(name, shape.hosts(), self.link);
        for (place, link) in topology.links.iter_mut().enumerate() {
            for exception in
                self.exceptions.iter().filter(|exception| shape.has(exception.part, place))
            {
                *link = exception.apply(*link);
            }
        }
        topology.switches = self.trunk.map_or(Switches::One, |trunk| Switches::Two { trunk });
        topology.queue_us = self.queue_us;
        topology.congestion_control.clone_from(&self.congestion_control);
        topology
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link = Link { up: 10_000_000, down: 10_000_000, delay_us: 5000 };

    fn exception(part: HostPart, up: u64) -> LinkException {
        LinkException { part, up: Some(up), down: None, delay_us: None }
    }

    #[test]
    fn receivers_come_after_origins() {
        let shape = Shape { origins: 2, users: 3 };
        assert_eq!(shape.hosts(), 5);
        assert_eq!(shape.origin_hosts(), ["h1", "h2"]);
        assert_eq!(shape.receiver_hosts(), ["h3", "h4", "h5"]);
    }

    #[test]
    fn exceptions_hold_for_their_part_and_the_later_wins() {
        let exceptions = vec![
            exception(HostPart::Origins, 1),
            exception(HostPart::Receivers, 2),
            exception(HostPart::Origin(2), 3),
            exception(HostPart::Origin(3), 4),
            exception(HostPart::Receiver(1), 5),
            exception(HostPart::Host(5), 6),
        ];
        let network = Network {
            link: LINK,
            queue_us: 50_000,
            congestion_control: "reno".to_owned(),
            trunk: Some(7),
            exceptions,
        };
        let topology = network.topology("l".parse().unwrap(), Shape { origins: 2, users: 3 });
        assert_eq!(topology.links.iter().map(|link| link.up).collect::<Vec<_>>(), [1, 3, 5, 2, 6]);
        assert!(
            topology
                .links
                .iter()
                .all(|link| link.down == LINK.down && link.delay_us == LINK.delay_us)
        );
        assert_eq!(
            (topology.queue_us, &*topology.congestion_control, topology.switches),
            (50_000, "reno", Switches::Two { trunk: 7 })
        );
    }
}
