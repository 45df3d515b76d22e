//! What theory allows for a run as it was recorded: with the links of the hosts that took part,
//! those that stayed or helped, and when they joined.

use super::{Crowd, Rates, Trunk, payload_rate};
use crate::record::{Model, Run, Topology};

/// The least time in seconds from when the first receiver joined ([`Run::began`]) until all have
/// their copies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// When only origins send.
    pub client_server: f64,
    /// When everybody sends.
    pub peer_to_peer: f64,
}

impl Bounds {
    /// The bounds of a run; `None` where one of its hosts is not in the network, or nothing limits
    /// it.
    ///
    /// Receivers that left are not waited for, but may have passed on what they had until then. One
    /// that joins late has to get its copy through its own link after it joined.
    pub fn of_run(run: &Run, topology: &Topology) -> Option<Self> {
        let crowd = crowd(run, topology)?;
        let began = run.began().filter(|_| !crowd.receivers.is_empty())?;
        let late = run.staying().zip(&crowd.receivers).map(|(receiver, rates)| {
            let late = receiver.started_seconds - began;
            // All start together, give or take the time of a loop.
            if late < 0.01 { 0.0 } else { late + crowd.file_bytes / rates.down }
        });
        let late = late.fold(0.0, f64::max);
        let bounds = Self {
            client_server: crowd.client_server().max(late),
            peer_to_peer: crowd.peer_to_peer().max(late),
        };
        (bounds.peer_to_peer > 0.0 && bounds.client_server.is_finite()).then_some(bounds)
    }

    /// The bound of one model.
    pub fn of(self, model: Model) -> f64 {
        match model {
            Model::ClientServer => self.client_server,
            Model::PeerToPeer => self.peer_to_peer,
        }
    }
}

fn crowd(run: &Run, topology: &Topology) -> Option<Crowd> {
    let rate = |bits: Option<u64>| bits.map_or(f64::INFINITY, |bits| payload_rate(bits as f64));
    let rates = |name: &str| {
        let host = topology.hosts.iter().find(|host| host.name == name)?;
        Some(Rates { up: rate(host.up_bits_per_second), down: rate(host.down_bits_per_second) })
    };
    let receivers: Option<Vec<Rates>> =
        run.staying().map(|receiver| rates(&receiver.host)).collect();
    let gone = run.receivers.iter().filter(|receiver| receiver.left_seconds.is_some());
    let helpers: Option<Vec<f64>> =
        gone.map(|receiver| rates(&receiver.host).map(|rates| rates.up)).collect();
    let origins: Option<Vec<f64>> =
        run.origins.iter().map(|origin| rates(&origin.host).map(|rates| rates.up)).collect();
    let far = |name: &str| {
        topology.trunk.as_ref().is_some_and(|trunk| trunk.far_hosts.iter().any(|far| far == name))
    };
    // An origin beyond the trunk takes its part in the bound away.
    let trunk =
        topology.trunk.as_ref().filter(|_| !run.origins.iter().any(|origin| far(&origin.host)));
    Some(Crowd {
        file_bytes: run.file.bytes as f64,
        origins: origins?,
        receivers: receivers?,
        helpers: helpers?,
        trunk: trunk.map(|trunk| Trunk {
            rate: payload_rate(trunk.bits_per_second as f64),
            far_receivers: run.staying().filter(|receiver| far(&receiver.host)).count(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::record::{File, Host, Origin, Receiver, TrunkLink};

    fn receiver(host: &str, started_seconds: f64, left_seconds: Option<f64>) -> Receiver {
        Receiver {
            host: host.to_owned(),
            started_seconds,
            finished_seconds: None,
            verified: false,
            left_seconds,
            from_bytes: BTreeMap::new(),
            wire_up_bytes: None,
            wire_down_bytes: None,
            cpu_seconds: None,
            error: None,
        }
    }

    fn run(receivers: Vec<Receiver>) -> Run {
        Run {
            run: 0,
            mode: "swarm".to_owned(),
            model: Model::PeerToPeer,
            program: None,
            repetition: 0,
            users: u32::try_from(receivers.len()).unwrap(),
            file: File { name: "f".to_owned(), bytes: 10 << 20 },
            seed: 0,
            origins: vec![Origin {
                host: "h1".to_owned(),
                payload_up_bytes: None,
                wire_up_bytes: None,
                wire_down_bytes: None,
            }],
            receivers,
            commands: Vec::new(),
            note: None,
        }
    }

    fn topology() -> Topology {
        let host = |number| Host {
            name: format!("h{number}"),
            up_bits_per_second: Some(10_000_000),
            down_bits_per_second: Some(10_000_000),
        };
        Topology { hosts: (1..=4).map(host).collect(), ..Topology::default() }
    }

    #[track_caller]
    fn assert_bounds(run: &Run, topology: &Topology, client_server: f64, peer_to_peer: f64) {
        let bounds = Bounds::of_run(run, topology).unwrap();
        let due = [
            (bounds.of(Model::ClientServer), client_server),
            (bounds.of(Model::PeerToPeer), peer_to_peer),
        ];
        assert!(due.iter().all(|(is, due)| (is - due).abs() < 0.01), "{bounds:?}");
    }

    #[test]
    fn who_leaves_does_not_count_and_who_joins_late_has_the_time() {
        let topology = topology();
        let three = run(vec![
            receiver("h2", 0.0, None),
            receiver("h3", 0.002, None),
            receiver("h4", 0.0, None),
        ]);
        assert_bounds(&three, &topology, 26.31, 8.77);
        let mut one_left = three.clone();
        one_left.receivers[1].left_seconds = Some(1.0);
        assert_bounds(&one_left, &topology, 17.54, 8.77);
        let mut one_late = one_left.clone();
        one_late.receivers[2].started_seconds = 5.0;
        assert_bounds(&one_late, &topology, 17.54, 13.77);
        // The one that left was the first to join, and had a second of the origin's link.
        one_late.receivers[0].started_seconds = 1.0;
        one_late.receivers[1].started_seconds = 0.0;
        assert_bounds(&one_late, &topology, 17.54, 13.77);
    }

    #[test]
    fn who_left_has_helped() {
        let mut topology = topology();
        for host in &mut topology.hosts {
            host.down_bits_per_second = None;
        }
        topology.hosts[1].up_bits_per_second = Some(1_000_000);
        topology.hosts[3].up_bits_per_second = Some(1_000_000);
        let three = run(vec![
            receiver("h2", 0.0, None),
            receiver("h3", 0.0, Some(9.0)),
            receiver("h4", 0.0, None),
        ]);
        // 2 F through 10 + 1 + 1 Mbit/s would take 14.6 s; the one that left has 10 more.
        assert_bounds(&three, &topology, 17.54, 8.77);
        topology.hosts[2].up_bits_per_second = Some(2_000_000);
        assert_bounds(&three, &topology, 17.54, 17.54 * 10.0 / 14.0);
    }

    #[test]
    fn a_trunk_counts_for_those_beyond_it() {
        let mut topology = topology();
        let far_hosts = vec!["h3".to_owned(), "h4".to_owned()];
        topology.trunk = Some(TrunkLink { bits_per_second: 2_000_000, far_hosts });
        let run = run(vec![
            receiver("h2", 0.0, None),
            receiver("h3", 0.0, None),
            receiver("h4", 0.0, None),
        ]);
        assert_bounds(&run, &topology, 87.71, 43.86);
    }

    #[test]
    fn there_is_none_of_unknown_or_unlimited_hosts() {
        assert_eq!(Bounds::of_run(&run(vec![receiver("h9", 0.0, None)]), &topology()), None);
        assert_eq!(Bounds::of_run(&run(Vec::new()), &topology()), None);
        let mut unlimited = topology();
        unlimited.hosts[0].up_bits_per_second = None;
        unlimited.hosts[1].down_bits_per_second = None;
        assert_eq!(Bounds::of_run(&run(vec![receiver("h2", 0.0, None)]), &unlimited), None);
    }
}
