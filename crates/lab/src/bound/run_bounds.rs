//! The lower bounds of a recorded run, from the links of its hosts, from when they joined, and from
//! which of them left.

use super::{FlashCrowd, Rates, Trunk, payload_rate};
use crate::record::{Model, Run, Topology};

/// Receivers that start within this time start together; the rest is the time of the starting loop.
const SAME_START_SECONDS: f64 = 0.01;

/// The lower bounds in seconds from the join of the first receiver ([`Run::began`]) until all have
/// their copies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// When only origins send.
    pub client_server: f64,
    /// When receivers send, too.
    pub peer_to_peer: f64,
    /// When the network copies what the origin sends.
    pub multicast: f64,
}

impl Bounds {
    /// The bounds of a run; `None` when one of its hosts is not in the network, or no link limits
    /// it.
    ///
    /// Receivers that left do not have to complete, but may have uploaded until then. A receiver
    /// that joins late has to get its copy through its own link after it joined.
    pub fn of_run(run: &Run, topology: &Topology) -> Option<Self> {
        let crowd = crowd(run, topology)?;
        let began = run.began().filter(|_| !crowd.receivers.is_empty())?;
        let late = run.staying().zip(&crowd.receivers).map(|(receiver, rates)| {
            let late = receiver.started_seconds - began;
            if late < SAME_START_SECONDS { 0.0 } else { late + crowd.file_bytes / rates.down }
        });
        let late = late.fold(0.0, f64::max);
        let bounds = Self {
            client_server: crowd.client_server().max(late),
            peer_to_peer: crowd.peer_to_peer().max(late),
            multicast: crowd.multicast().max(late),
        };
        (bounds.peer_to_peer > 0.0 && bounds.client_server.is_finite()).then_some(bounds)
    }

    /// The bound of one model.
    pub fn of(self, model: Model) -> f64 {
        match model {
            Model::ClientServer => self.client_server,
            Model::PeerToPeer => self.peer_to_peer,
            Model::Multicast => self.multicast,
        }
    }
}

fn crowd(run: &Run, topology: &Topology) -> Option<FlashCrowd> {
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
    let is_far = |name: &str| {
        topology.trunk.as_ref().is_some_and(|trunk| trunk.far_hosts.iter().any(|far| far == name))
    };
    // With an origin beyond the trunk, the trunk limits nothing.
    let trunk =
        topology.trunk.as_ref().filter(|_| !run.origins.iter().any(|origin| is_far(&origin.host)));
    Some(FlashCrowd {
        file_bytes: run.file.bytes as f64,
        origins: origins?,
        receivers: receivers?,
        helpers: helpers?,
        trunk: trunk.map(|trunk| Trunk {
            rate: payload_rate(trunk.bits_per_second as f64),
            far_receivers: run.staying().filter(|receiver| is_far(&receiver.host)).count(),
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
            simulated: false,
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
    fn a_receiver_that_leaves_does_not_count_and_a_late_one_has_its_time() {
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
        // The receiver that left had joined first, and used the origin's link for a second.
        one_late.receivers[0].started_seconds = 1.0;
        one_late.receivers[1].started_seconds = 0.0;
        assert_bounds(&one_late, &topology, 17.54, 13.77);
    }

    #[test]
    fn a_receiver_that_left_has_helped() {
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
        // 2 F at 10 + 1 + 1 Mbit/s would take 14.6 s; the receiver that left adds 10 Mbit/s.
        assert_bounds(&three, &topology, 17.54, 8.77);
        topology.hosts[2].up_bits_per_second = Some(2_000_000);
        assert_bounds(&three, &topology, 17.54, 17.54 * 10.0 / 14.0);
    }

    #[test]
    fn a_trunk_limits_the_receivers_beyond_it() {
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
    fn unknown_or_unlimited_hosts_have_no_bounds() {
        assert_eq!(Bounds::of_run(&run(vec![receiver("h9", 0.0, None)]), &topology()), None);
        assert_eq!(Bounds::of_run(&run(Vec::new()), &topology()), None);
        let mut unlimited = topology();
        unlimited.hosts[0].up_bits_per_second = None;
        unlimited.hosts[1].down_bits_per_second = None;
        assert_eq!(Bounds::of_run(&run(vec![receiver("h2", 0.0, None)]), &unlimited), None);
    }
}
