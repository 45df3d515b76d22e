//! How much of what was not requested a network may send before its peers count as misbehaving.
//! What may still come because a request was given up is counted for each peer, not here.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::{io::Time, token_bucket::TokenBucket};

/// Blocks that a network may send at once.
const ALLOWANCE: u32 = 16;

/// One more is allowed after each of these: 4 KiB/s, a fiftieth of a link of 2 Mbit/s.
const INTERVAL: Duration = Duration::from_secs(4);

/// What counts as one block, in bytes.
const BLOCK_BYTES: u32 = 16 * 1024;

/// Networks of which it is known how much they sent.
const MAX_NETWORKS: usize = 1024;

/// The networks that have sent something lately. A new connection of one begins where the last one
/// ended.
#[derive(Debug, Default)]
pub(super) struct UnsolicitedBlocks {
    networks: BTreeMap<IpAddr, TokenBucket>,
}

impl UnsolicitedBlocks {
    /// A peer of a network sent `length` bytes that were not requested. False: that is too much.
    /// While too many networks do, those that are not known yet may send nothing.
    pub(super) fn may_send(&mut self, now: Time, network: IpAddr, length: u32) -> bool {
        if self.networks.len() >= MAX_NETWORKS && !self.networks.contains_key(&network) {
            self.networks.retain(|_, bucket| !bucket.is_full(now));
            if self.networks.len() >= MAX_NETWORKS {
                return false;
            }
        }
        let new = || TokenBucket::new(now, ALLOWANCE, INTERVAL);
        let bucket = self.networks.entry(network).or_insert_with(new);
        (0..length.div_ceil(BLOCK_BYTES).max(1)).all(|_| bucket.take(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_000_000);

    fn network(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    #[test]
    fn a_network_may_send_some_at_once_and_little_later() {
        let mut blocks = UnsolicitedBlocks::default();
        let mut sent =
            |now, length| (0..50).filter(|_| blocks.may_send(now, network(1), length)).count();
        assert_eq!(sent(NOW, BLOCK_BYTES), 16);
        assert_eq!(sent(NOW + Duration::from_secs(9), 1), 2);
        assert_eq!(sent(NOW + Duration::from_secs(1000), 8 * BLOCK_BYTES), 2);
        assert!(blocks.may_send(NOW, network(2), BLOCK_BYTES), "others have their own");
    }

    #[test]
    fn what_is_known_of_networks_is_bounded() {
        let mut blocks = UnsolicitedBlocks::default();
        assert_eq!(
            (0..5000).filter(|n| blocks.may_send(NOW, network(*n), 1)).count(),
            MAX_NETWORKS
        );
        // After a while the first ones may be forgotten.
        assert!(blocks.may_send(NOW + INTERVAL * 2, network(5000), 1));
        assert_eq!(blocks.networks.len(), 1);
    }
}
