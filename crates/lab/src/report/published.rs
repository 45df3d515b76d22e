//! The figures that document 1 gives in its section 3.4, and to which experiments they may be
//! compared.

use crate::record::{File, Model, Topology};

/// Document 1's mean seconds for 1 to 5 users and its random file of 10 MiB.
const CLIENT_SERVER: [f64; 5] = [8.8, 15.6, 23.2, 30.8, 38.2];
/// The same, peer-to-peer.
const PEER_TO_PEER: [f64; 5] = [10.3, 10.9, 11.5, 11.4, 11.6];

/// Document 1's kB, which makes 282 kB/s of 10 MiB in 36.2 s.
const KILOBYTE: f64 = 1024.0;
/// Bytes of its random file.
const RANDOM_FILE: f64 = 10.0 * KILOBYTE * KILOBYTE;
/// Bytes of its text file: 58.2 s at 264 kB/s.
const TEXT_FILE: f64 = 58.2 * 264.0 * KILOBYTE;
/// How much longer or shorter a file may be and still be set beside the document's.
const ALIKE: f64 = 0.06;

/// The link of document 1: every host's, both ways.
const BITS_PER_SECOND: u64 = 10_000_000;
const DELAY_SECONDS: f64 = 0.005;

/// Whether this is document 1's network.
pub(crate) fn is_network_of_document_1(topology: &Topology) -> bool {
    let rate = Some(BITS_PER_SECOND);
    topology.trunk.is_none()
        && (topology.delay_seconds - DELAY_SECONDS).abs() < 1e-6
        && !topology.hosts.is_empty()
        && topology
            .hosts
            .iter()
            .all(|host| host.up_bits_per_second == rate && host.down_bits_per_second == rate)
}

/// The mean completion in seconds that document 1 reports for this model, file and number of users.
pub(crate) fn mean_seconds(model: Model, file: &File, users: u32) -> Option<f64> {
    let place = (users as usize).checked_sub(1)?;
    match model {
        _ if is_like(file, TEXT_FILE) => {
            (model == Model::ClientServer && users == 5).then_some(58.2)
        }
        _ if !is_like(file, RANDOM_FILE) => None,
        Model::ClientServer => CLIENT_SERVER.get(place).copied(),
        Model::PeerToPeer => PEER_TO_PEER.get(place).copied(),
    }
}

/// The average speed in bytes per second that it reports; for five users only.
pub(crate) fn speed(model: Model, file: &File, users: u32) -> Option<f64> {
    if users != 5 {
        return None;
    }
    let kilobytes = match model {
        Model::ClientServer if is_like(file, RANDOM_FILE) => 282.0,
        Model::PeerToPeer if is_like(file, RANDOM_FILE) => 855.0,
        Model::ClientServer if is_like(file, TEXT_FILE) => 264.0,
        Model::PeerToPeer if is_like(file, TEXT_FILE) => 827.0,
        _ => return None,
    };
    Some(kilobytes * KILOBYTE)
}

fn is_like(file: &File, bytes: f64) -> bool {
    (file.bytes as f64 / bytes - 1.0).abs() <= ALIKE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Host;

    fn file(bytes: u64) -> File {
        File { name: "f".into(), bytes }
    }

    #[test]
    fn figures_of_section_3_4() {
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
    fn only_its_own_network_is_compared() {
        let host = |up| Host {
            name: "h1".into(),
            up_bits_per_second: Some(up),
            down_bits_per_second: Some(BITS_PER_SECOND),
        };
        let topology = |up, delay_seconds| Topology {
            hosts: vec![host(up)],
            delay_seconds,
            ..Topology::default()
        };
        assert!(is_network_of_document_1(&topology(BITS_PER_SECOND, 0.005)));
        assert!(!is_network_of_document_1(&topology(BITS_PER_SECOND, 0.0)));
        assert!(!is_network_of_document_1(&topology(2_000_000, 0.005)));
    }
}
