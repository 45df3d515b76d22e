//! Lower bounds of theory: how fast a link can carry payload, and how soon N receivers can have a
//! file. Arithmetic only; nothing here is measured.
//!
//! All rates are payload rates in bytes per second, all times are seconds. An unshaped link is
//! [`f64::INFINITY`].

mod run_bounds;

pub use self::run_bounds::Bounds;

/// Payload bytes in a full TCP segment on Ethernet: 1500 − 20 (IPv4) − 20 (TCP) − 12 (timestamps).
pub const SEGMENT_PAYLOAD: f64 = 1448.0;
/// Payload bytes in a full UDP packet on Ethernet: 1500 − 20 (IPv4) − 8 (UDP).
pub const DATAGRAM_PAYLOAD: f64 = 1472.0;
/// Bytes of that segment on the wire as a shaper counts them: 1500 and the Ethernet header of 14.
pub const SEGMENT_ON_WIRE: f64 = 1514.0;

/// The payload rate in bytes per second that TCP reaches on a link of `bits_per_second`. A link of
/// 10 Mbit/s carries 1.196 MB/s.
pub fn payload_rate(bits_per_second: f64) -> f64 {
    bits_per_second / 8.0 * SEGMENT_PAYLOAD / SEGMENT_ON_WIRE
}

/// A flash crowd: hosts that have a file, and hosts that want it at the same time.
#[derive(Debug, Clone, PartialEq)]
pub struct FlashCrowd {
    /// The file's length in bytes.
    pub file_bytes: f64,
    /// Upload rates of the hosts that have the whole file at the start.
    pub origins: Vec<f64>,
    /// The links of the receivers.
    pub receivers: Vec<Rates>,
    /// Upload rates of hosts that upload for a while and do not have to complete.
    pub helpers: Vec<f64>,
    /// A link that all traffic between origins and some receivers passes.
    pub trunk: Option<Trunk>,
}

/// The rates of a receiver's link in payload bytes per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// From the receiver.
    pub up: f64,
    /// To the receiver.
    pub down: f64,
}

/// A trunk between two switches, with all origins on the near side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trunk {
    /// Its payload rate in bytes per second towards the far side.
    pub rate: f64,
    /// The number of receivers on the far side.
    pub far_receivers: usize,
}

impl FlashCrowd {
    /// The lower bound in seconds until every receiver has the file when only origins send:
    /// `max(N·F/us, F/d, M·F/t)`, where M receivers are beyond a trunk of rate t.
    pub fn client_server(&self) -> f64 {
        let trunk_time = self
            .trunk
            .map_or(0.0, |trunk| trunk.far_receivers as f64 * self.file_bytes / trunk.rate);
        (self.bytes_wanted() / self.origin_rate()).max(self.slowest_download()).max(trunk_time)
    }

    /// The lower bound in seconds until every receiver has the file when receivers upload, too:
    /// `max(F/us, F/d, N·F/(us + Σu))` (Kumar & Ross 2006). Helpers are part of the sum, and the
    /// file passes a trunk at least once.
    pub fn peer_to_peer(&self) -> f64 {
        let origin_rate = self.origin_rate();
        let others =
            self.receivers.iter().map(|receiver| receiver.up).chain(self.helpers.iter().copied());
        let total_rate = origin_rate + others.sum::<f64>();
        let trunk_time = match self.trunk {
            Some(trunk) if trunk.far_receivers > 0 => self.file_bytes / trunk.rate,
            _ => 0.0,
        };
        let one_copy = if self.receivers.is_empty() { 0.0 } else { self.file_bytes / origin_rate };
        let all_copies = self.bytes_wanted() / total_rate;
        one_copy.max(self.slowest_download()).max(all_copies).max(trunk_time)
    }

    /// The lower bound in seconds until every receiver has the file when one origin sends it by
    /// multicast: one copy over the slowest link, in UDP packets.
    pub fn multicast(&self) -> f64 {
        if self.receivers.is_empty() {
            return 0.0;
        }
        let trunk_time = match self.trunk {
            Some(trunk) if trunk.far_receivers > 0 => self.file_bytes / trunk.rate,
            _ => 0.0,
        };
        let origin_rate = self.origins.iter().copied().fold(0.0, f64::max);
        let slowest = (self.file_bytes / origin_rate).max(self.slowest_download()).max(trunk_time);
        slowest * SEGMENT_PAYLOAD / DATAGRAM_PAYLOAD
    }

    fn bytes_wanted(&self) -> f64 {
        self.receivers.len() as f64 * self.file_bytes
    }

    fn origin_rate(&self) -> f64 {
        self.origins.iter().sum()
    }

    fn slowest_download(&self) -> f64 {
        self.receivers.iter().map(|receiver| self.file_bytes / receiver.down).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB_10: f64 = 10.0 * 1024.0 * 1024.0;

    /// The network and the file of the course report's experiment.
    fn course_experiment(users: usize) -> FlashCrowd {
        let link = payload_rate(10e6);
        FlashCrowd {
            file_bytes: MIB_10,
            origins: vec![link],
            receivers: vec![Rates { up: link, down: link }; users],
            helpers: Vec::new(),
            trunk: None,
        }
    }

    fn close(one: f64, other: f64, within: f64) {
        assert!((one - other).abs() <= within, "{one} is not {other} ± {within}");
    }

    #[test]
    fn a_link_of_10_megabit_carries_1_196_megabytes() {
        close(payload_rate(10e6), 1.196e6, 1e3);
    }

    #[test]
    fn the_peer_to_peer_bound_is_8_77_s_for_any_number_of_users() {
        for (users, own) in [(1, 10.3), (2, 10.9), (3, 11.5), (4, 11.4), (5, 11.6)] {
            let bound = course_experiment(users).peer_to_peer();
            close(bound, 8.77, 0.005);
            assert!((1.17..=1.33).contains(&(own / bound)), "{users} users: {}", own / bound);
        }
    }

    #[test]
    fn the_client_server_bound_grows_with_the_users() {
        for users in 1..=5 {
            close(
                course_experiment(users).client_server(),
                8.771 * users as f64,
                0.005 * users as f64,
            );
        }
    }

    #[test]
    fn the_slowest_receiver_bounds_both() {
        let mut crowd = course_experiment(3);
        crowd.receivers[1].down = payload_rate(1e6);
        close(crowd.peer_to_peer(), 87.71, 0.01);
        close(crowd.client_server(), 87.71, 0.01);
    }

    #[test]
    fn receivers_that_hardly_upload_bound_the_swarm() {
        let mut crowd = course_experiment(4);
        for receiver in &mut crowd.receivers {
            receiver.up = payload_rate(1e6);
        }
        close(crowd.peer_to_peer(), 4.0 * 8.771 / 1.4, 0.01);
    }

    #[test]
    fn two_seeds_halve_the_bound_if_the_downlink_allows_it() {
        let mut crowd = course_experiment(1);
        crowd.origins.push(payload_rate(10e6));
        close(crowd.peer_to_peer(), 8.771, 0.001);
        crowd.receivers[0].down = f64::INFINITY;
        close(crowd.peer_to_peer(), 4.386, 0.001);
    }

    #[test]
    fn a_trunk_carries_one_copy_for_peers_and_one_for_each_client() {
        let mut crowd = course_experiment(4);
        crowd.trunk = Some(Trunk { rate: payload_rate(2e6), far_receivers: 2 });
        close(crowd.peer_to_peer(), 43.86, 0.01);
        close(crowd.client_server(), 87.71, 0.01);
        crowd.trunk = Some(Trunk { rate: payload_rate(2e6), far_receivers: 0 });
        assert_eq!(crowd.peer_to_peer(), course_experiment(4).peer_to_peer());
    }

    #[test]
    fn multicast_needs_one_copy_over_the_slowest_link() {
        let mut crowd = course_experiment(20);
        close(crowd.multicast(), 8.771 * 1448.0 / 1472.0, 0.001);
        // It does not matter that receivers hardly upload.
        crowd.receivers.iter_mut().for_each(|receiver| receiver.up = payload_rate(16e3));
        close(crowd.multicast(), 8.628, 0.001);
        crowd.receivers[3].down = payload_rate(1e6);
        close(crowd.multicast(), 86.28, 0.01);
        crowd.trunk = Some(Trunk { rate: payload_rate(5e5), far_receivers: 1 });
        close(crowd.multicast(), 172.56, 0.02);
        assert_eq!(course_experiment(0).multicast(), 0.0);
    }

    #[test]
    fn without_receivers_the_bounds_are_zero() {
        assert_eq!(course_experiment(0).peer_to_peer(), 0.0);
        assert_eq!(course_experiment(0).client_server(), 0.0);
    }
}
