//! The configuration of the engine for receivers and origins.

use sow_engine::{Choking, Config, PickOrder};
use sow_wire::bittorrent::PeerId;

/// The client and version at the start of a peer ID (BEP 20).
const PEER_ID_PREFIX: &[u8; 8] = b"-SW0100-";

/// Whether a peer runs this program, of whatever version (BEP 20). Any peer can claim that.
pub(crate) fn is_same_program(id: PeerId) -> bool {
    id.0.starts_with(&PEER_ID_PREFIX[..3])
}

/// For a machine that downloads, and uploads what it has.
pub(crate) fn for_receiver(
    trackers: Vec<Vec<String>>,
    order: PickOrder,
    choking: Choking,
) -> Config {
    Config { trackers, order, choking, ..with_random_id() }
}

/// For the machine that has the content first.
pub(crate) fn for_origin(trackers: Vec<Vec<String>>, choking: Choking) -> Config {
    Config { trackers, choking, spread: true, collects_receivers: true, ..with_random_id() }
}

/// The choking algorithm.
pub(crate) fn choking(tit_for_tat: bool) -> Choking {
    if tit_for_tat { Choking::TitForTat } else { Choking::Cooperative }
}

/// A peer ID of this program.
pub(crate) fn random_peer_id() -> PeerId {
    let mut random = fastrand::Rng::new();
    let mut id = [0; 20];
    let (prefix, rest) = id.split_at_mut(PEER_ID_PREFIX.len());
    prefix.copy_from_slice(PEER_ID_PREFIX);
    rest.fill_with(|| random.alphanumeric() as u8);
    PeerId(id)
}

fn with_random_id() -> Config {
    Config::new(random_peer_id(), 0, fastrand::u64(..))
}
