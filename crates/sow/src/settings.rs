//! The engine's settings that the product runs with.

use sow_engine::{Choking, Config, PickOrder};
use sow_wire::bittorrent::PeerId;

/// What programs of this version call themselves in a swarm (BEP 20).
const NAME: &[u8; 8] = b"-SW0100-";

/// For a machine that fetches, and passes on what it has.
pub(crate) fn receiver(trackers: Vec<Vec<String>>, order: PickOrder, choking: Choking) -> Config {
    Config { trackers, order, choking, ..fresh() }
}

/// For the machine that has it first.
pub(crate) fn origin(trackers: Vec<Vec<String>>, choking: Choking) -> Config {
    Config { trackers, choking, spread: true, ..fresh() }
}

/// How uploads are shared out.
pub(crate) fn choking(tit_for_tat: bool) -> Choking {
    if tit_for_tat { Choking::TitForTat } else { Choking::Cooperative }
}

fn fresh() -> Config {
    let mut random = fastrand::Rng::new();
    let mut name = [0; 20];
    name[..8].copy_from_slice(NAME);
    name[8..].fill_with(|| random.alphanumeric() as u8);
    Config::new(PeerId(name), 0, random.u64(..))
}
