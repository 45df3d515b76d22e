//! Who sent what in pieces that came corrupt, so that the liar is found when the piece comes right.
//! No decisions on bans.

use std::collections::BTreeMap;

use crate::io::ConnId;

/// Corrupt pieces that are remembered.
const MOST: usize = 64;

/// The units of corrupt pieces: who sent each, and its digest.
#[derive(Debug, Default)]
pub(crate) struct Culprits {
    corrupt: BTreeMap<u32, Vec<(ConnId, [u8; 20])>>,
}

impl Culprits {
    /// A piece was corrupt. Whoever sent all of it is guilty and is returned; else the case stays
    /// open.
    pub(crate) fn corrupt(
        &mut self,
        piece: u32,
        sources: &[ConnId],
        digests: &[[u8; 20]],
    ) -> Option<ConnId> {
        let first = *sources.first()?;
        if sources.iter().all(|&source| source == first) {
            return Some(first);
        }
        if self.corrupt.len() < MOST {
            let units = sources.iter().copied().zip(digests.iter().copied()).collect();
            self.corrupt.insert(piece, units);
        }
        None
    }

    /// The piece is right now: who had sent units that differ, each once.
    pub(crate) fn verified(&mut self, piece: u32, digests: &[[u8; 20]]) -> Vec<ConnId> {
        let Some(units) = self.corrupt.remove(&piece) else { return Vec::new() };
        let mut guilty: Vec<ConnId> = units
            .iter()
            .zip(digests)
            .filter(|((_, sent), right)| sent != *right)
            .map(|((source, _), _)| *source)
            .collect();
        guilty.sort_unstable();
        guilty.dedup();
        guilty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_liar_is_guilty() {
        let mut culprits = Culprits::default();
        let (honest, liar) = (ConnId(1), ConnId(2));
        let sent = [[1; 20], [9; 20], [3; 20]];
        assert_eq!(culprits.corrupt(7, &[honest, liar, liar], &sent), None);
        assert_eq!(culprits.verified(7, &[[1; 20], [2; 20], [3; 20]]), [liar]);
        assert_eq!(culprits.verified(7, &[[0; 20]; 3]), []);
    }

    #[test]
    fn a_lone_source_is_guilty_at_once() {
        assert_eq!(Culprits::default().corrupt(0, &[ConnId(4); 2], &[[0; 20]; 2]), Some(ConnId(4)));
    }
}
