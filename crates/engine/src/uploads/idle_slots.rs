//! Slots of tit-for-tat that are not used, and the peers that wait for one. Who earns a slot is in
//! the choker.

use std::collections::VecDeque;

use crate::{
    choker,
    config::Choking,
    connections::Connections,
    io::{Output, Time},
};

impl super::Uploads {
    /// Gives slots that are not used to peers that wait, between two rounds of tit-for-tat.
    pub(crate) fn give_idle_slots(
        &mut self,
        now: Time,
        connections: &mut Connections,
        out: &mut VecDeque<Output>,
    ) {
        if self.choking == Choking::TitForTat {
            let candidates = self.candidates(now, |_, _| 0);
            if let Some(chosen) = choker::without_idle(&candidates) {
                self.choke_all_but(now, &chosen, connections, out);
            }
        }
    }
}
