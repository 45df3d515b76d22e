//! What is wrong with the network and the machines of a world for as long as it lasts. Faults, in
//! contrast, happen at a time.

use std::{collections::BTreeSet, time::Duration};

use crate::item::HostId;

/// The queue of a link: what cheap routers have, and what the lab is measured with.
const DEFAULT_QUEUE: Duration = Duration::from_millis(100);

/// See the header of this file. The default is a network in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// How long a packet waits for a downlink at most. What would wait longer is lost, and TCP
    /// sends it again and slows down.
    pub queue: Duration,
    /// Bytes per second that a disk stores; `None` for a disk that never limits.
    pub disk_rate: Option<u64>,
    /// Of a thousand first packets of connections, how many are lost. They are sent again after
    /// 1 s, 2 s and 4 s.
    pub lost_dials_per_mille: u16,
    /// Of a thousand pairs of receivers, how many cannot connect to each other, in either
    /// direction. Which ones follows from the seed. All receivers reach the origin.
    pub blocked_pairs_per_mille: u16,
    /// Hosts that accept no connection at all, as behind a firewall.
    pub firewalled: BTreeSet<HostId>,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            queue: DEFAULT_QUEUE,
            disk_rate: None,
            lost_dials_per_mille: 0,
            blocked_pairs_per_mille: 0,
            firewalled: BTreeSet::new(),
        }
    }
}

impl Conditions {
    /// Whether the first packet of a connection from one host never reaches the other.
    pub(crate) fn blocks(&self, from: HostId, to: HostId, salt: u64) -> bool {
        if self.firewalled.contains(&to) {
            return true;
        }
        if self.blocked_pairs_per_mille == 0 || from == 0 || to == 0 {
            return false;
        }
        let (low, high) = (from.min(to) as u64, from.max(to) as u64);
        let mut rng = fastrand::Rng::with_seed(salt ^ (low << 32 | high));
        rng.u16(..1000) < self.blocked_pairs_per_mille
    }
}
