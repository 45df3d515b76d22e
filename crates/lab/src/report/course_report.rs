//! The figures of the course report (`docs/`, its section 3.4), and the experiments that can be
//! compared with them.

use crate::record::{File, Model, Topology};

/// The mean seconds for 1 to 5 users and the random file of 10 MiB, client/server.
const CLIENT_SERVER_SECONDS: [f64; 5] = [8.8, 15.6, 23.2, 30.8, 38.2];
/// The same, peer-to-peer.
const PEER_TO_PEER_SECONDS: [f64; 5] = [10.3, 10.9, 11.5, 11.4, 11.6];
/// The mean seconds for 5 users and the text file, client/server.
const TEXT_SECONDS: f64 = 58.2;

/// The kB of the course report: its 282 kB/s are 10 MiB in 36.2 s.
const KILOBYTE: f64 = 1024.0;
/// The bytes of its random file.
const RANDOM_FILE_BYTES: f64 = 10.0 * KILOBYTE * KILOBYTE;
/// The bytes of its text file: 58.2 s at 264 kB/s.
const TEXT_FILE_BYTES: f64 = TEXT_SECONDS * 264.0 * KILOBYTE;
/// The relative difference of length up to which a file can be compared with that of the report.
const LENGTH_TOLERANCE: f64 = 0.06;

/// The rate and the delay of every link in the report's network.
const LINK_BITS_PER_SECOND: u64 = 10_000_000;
const LINK_DELAY_SECONDS: f64 = 0.005;

/// Whether this is the network of the course report.
pub(crate) fn is_course_network(topology: &Topology) -> bool {
    let rate = Some(LINK_BITS_PER_SECOND);
    topology.trunk.is_none()
        && (topology.delay_seconds - LINK_DELAY_SECONDS).abs() < 1e-6
        && !topology.hosts.is_empty()
        && topology
            .hosts
            .iter()
            .all(|host| host.up_bits_per_second == rate && host.down_bits_per_second == rate)
}

/// The reported mean completion in seconds for this model, file and number of users.
pub(crate) fn mean_seconds(model: Model, file: &File, users: u32) -> Option<f64> {
    let index = (users as usize).checked_sub(1)?;
    match model {
        _ if is_like(file, TEXT_FILE_BYTES) => {
            (model == Model::ClientServer && users == 5).then_some(TEXT_SECONDS)
        }
        _ if !is_like(file, RANDOM_FILE_BYTES) => None,
        Model::ClientServer => CLIENT_SERVER_SECONDS.get(index).copied(),
        Model::PeerToPeer => PEER_TO_PEER_SECONDS.get(index).copied(),
        Model::Multicast => None,
    }
}

/// The reported average speed in bytes per second; for five users only.
pub(crate) fn speed(model: Model, file: &File, users: u32) -> Option<f64> {
    if users != 5 {
        return None;
    }
    let kilobytes = match model {
        Model::ClientServer if is_like(file, RANDOM_FILE_BYTES) => 282.0,
        Model::PeerToPeer if is_like(file, RANDOM_FILE_BYTES) => 855.0,
        Model::ClientServer if is_like(file, TEXT_FILE_BYTES) => 264.0,
        Model::PeerToPeer if is_like(file, TEXT_FILE_BYTES) => 827.0,
        _ => return None,
    };
    Some(kilobytes * KILOBYTE)
}

fn is_like(file: &File, bytes: f64) -> bool {
    (file.bytes as f64 / bytes - 1.0).abs() <= LENGTH_TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Host;

    fn file(bytes: u64) -> File {
        File { name: "f".into(), bytes }
    }

    #[test]
    fn the_figures_are_those_of_section_3_4() {
        let ten = file(10 << 20);
        assert_eq!(mean_seconds(Model::ClientServer, &ten, 1), Some(8.8));
        assert_eq!(mean_seconds(Model::PeerToPeer, &ten, 5), Some(11.6));
        assert_eq!(mean_seconds(Model::PeerToPeer, &ten, 6), None);
        assert_eq!(mean_seconds(Model::PeerToPeer, &ten, 0), None);
        assert_eq!(mean_seconds(Model::PeerToPeer, &file(1 << 20), 1), None);
        assert_eq!(mean_seconds(Model::ClientServer, &file(15_000_000), 5), Some(58.2));
        assert_eq!(speed(Model::PeerToPeer, &file(10_000_000), 5), Some(875_520.0));
        assert_eq!(speed(Model::PeerToPeer, &ten, 4), None);
    }

    #[test]
    fn only_the_same_network_is_compared() {
        let host = |up| Host {
            name: "h1".into(),
            up_bits_per_second: Some(up),
            down_bits_per_second: Some(LINK_BITS_PER_SECOND),
        };
        let topology = |up, delay_seconds| Topology {
            hosts: vec![host(up)],
            delay_seconds,
            ..Topology::default()
        };
        assert!(is_course_network(&topology(LINK_BITS_PER_SECOND, 0.005)));
        assert!(!is_course_network(&topology(LINK_BITS_PER_SECOND, 0.0)));
        assert!(!is_course_network(&topology(2_000_000, 0.005)));
    }
}
