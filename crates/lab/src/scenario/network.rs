//! The network of a scenario, with exceptions for some hosts, and the hosts of a run. The network
//! that is built from it is in the module `network` of this crate.

use std::fmt;

use crate::network::{LabName, Link, Switches, Topology};

/// The numbers of hosts of a run. Origins are h1 and on, receivers follow them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    /// The number of hosts that have the file at the start.
    pub origins: u16,
    /// The number of receivers.
    pub users: u16,
}

/// Hosts around a switch with equal links, except for some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The link of every host without an exception.
    pub link: Link,
    /// The limit of the queue in front of a link, as the time to drain it, in microseconds.
    pub queue_us: u64,
    /// TCP's congestion control on every host.
    pub congestion_control: String,
    /// The rate of the link between two switches each way, in bits per second, if there are two.
    pub trunk: Option<u64>,
    /// The exceptions. If two apply to the same host, the later one wins.
    pub exceptions: Vec<LinkException>,
}

/// The deviating properties of some hosts' links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkException {
    /// The hosts.
    pub hosts: HostSelector,
    /// The rate from the host, in bits per second.
    pub up: Option<u64>,
    /// The rate to the host, in bits per second.
    pub down: Option<u64>,
    /// The delay each way, in microseconds.
    pub delay_us: Option<u64>,
}

/// Selects some of the hosts of a run. Numbers count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostSelector {
    /// All origins.
    Origins,
    /// All receivers.
    Receivers,
    /// One origin.
    Origin(u16),
    /// One receiver.
    Receiver(u16),
    /// The host of this number, whatever its role.
    Host(u16),
}

impl Shape {
    /// The number of hosts.
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

    /// Whether the selected hosts exist.
    pub(super) fn includes(self, hosts: HostSelector) -> bool {
        match hosts {
            HostSelector::Origins | HostSelector::Receivers => true,
            HostSelector::Origin(number) => number <= self.origins,
            HostSelector::Receiver(number) => number <= self.users,
            HostSelector::Host(number) => usize::from(number) <= self.hosts(),
        }
    }

    /// Whether the host with this index, from 0, is among the selected hosts.
    fn is_selected(self, hosts: HostSelector, index: usize) -> bool {
        let origins = usize::from(self.origins);
        match hosts {
            HostSelector::Origins => index < origins,
            HostSelector::Receivers => index >= origins,
            HostSelector::Origin(number) => index < origins && index + 1 == usize::from(number),
            HostSelector::Receiver(number) => index + 1 == origins + usize::from(number),
            HostSelector::Host(number) => index + 1 == usize::from(number),
        }
    }
}

impl fmt::Display for HostSelector {
    /// The key in a scenario's file.
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
    /// The link with this exception.
    pub(super) fn apply(&self, link: Link) -> Link {
        Link {
            up: self.up.unwrap_or(link.up),
            down: self.down.unwrap_or(link.down),
            delay_us: self.delay_us.unwrap_or(link.delay_us),
        }
    }
}

impl Network {
    /// The network for a run of this shape. Whether it can be built is checked by
    /// [`Topology::check`].
    pub fn topology(&self, name: LabName, shape: Shape) -> Topology {
        let mut topology = Topology::star(name, shape.hosts(), self.link);
        for (index, link) in topology.links.iter_mut().enumerate() {
            let exceptions = self.exceptions.iter();
            for exception in exceptions.filter(|one| shape.is_selected(one.hosts, index)) {
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

    fn exception(hosts: HostSelector, up: u64) -> LinkException {
        LinkException { hosts, up: Some(up), down: None, delay_us: None }
    }

    #[test]
    fn receivers_come_after_origins() {
        let shape = Shape { origins: 2, users: 3 };
        assert_eq!(shape.hosts(), 5);
        assert_eq!(shape.origin_hosts(), ["h1", "h2"]);
        assert_eq!(shape.receiver_hosts(), ["h3", "h4", "h5"]);
    }

    #[test]
    fn exceptions_apply_to_their_hosts_and_the_later_one_wins() {
        let exceptions = vec![
            exception(HostSelector::Origins, 1),
            exception(HostSelector::Receivers, 2),
            exception(HostSelector::Origin(2), 3),
            exception(HostSelector::Origin(3), 4),
            exception(HostSelector::Receiver(1), 5),
            exception(HostSelector::Host(5), 6),
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
