//! Corrupt pieces and the peers that sent parts of them: once a piece verifies, its digests show
//! which peer sent the corrupt part. Nothing is banned here.

use std::collections::BTreeMap;

use crate::io::ConnId;

/// Corrupt pieces whose sources are remembered.
const MAX_CORRUPT_PIECES: usize = 64;

/// The units of corrupt pieces: the source and the digest of each.
#[derive(Debug, Default)]
pub(crate) struct Corruption {
    corrupt: BTreeMap<u32, Vec<(ConnId, [u8; 20])>>,
}

impl Corruption {
    /// A piece was corrupt. A peer that sent all of it is returned; the sources of any other piece
    /// are suspects until it verifies.
    pub(crate) fn on_corrupt(
        &mut self,
        piece: u32,
        sources: &[ConnId],
        digests: &[[u8; 20]],
    ) -> Option<ConnId> {
        let first = *sources.first()?;
        if sources.iter().all(|&source| source == first) {
            return Some(first);
        }
        if self.corrupt.len() < MAX_CORRUPT_PIECES {
            let units = sources.iter().copied().zip(digests.iter().copied()).collect();
            self.corrupt.insert(piece, units);
        }
        None
    }

    /// The piece has verified: the peers that had sent units that differ, each once.
    pub(crate) fn on_verified(&mut self, piece: u32, digests: &[[u8; 20]]) -> Vec<ConnId> {
        let Some(units) = self.corrupt.remove(&piece) else { return Vec::new() };
        let mut corrupters: Vec<ConnId> = units
            .iter()
            .zip(digests)
            .filter(|((_, sent), right)| sent != *right)
            .map(|((source, _), _)| *source)
            .collect();
        corrupters.sort_unstable();
        corrupters.dedup();
        corrupters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_source_of_a_unit_that_differs_is_found() {
        let mut corruption = Corruption::default();
        let (honest, corrupter) = (ConnId(1), ConnId(2));
        let sent = [[1; 20], [9; 20], [3; 20]];
        assert_eq!(corruption.on_corrupt(7, &[honest, corrupter, corrupter], &sent), None);
        assert_eq!(corruption.on_verified(7, &[[1; 20], [2; 20], [3; 20]]), [corrupter]);
        assert_eq!(corruption.on_verified(7, &[[0; 20]; 3]), []);
    }

    #[test]
    fn a_single_source_is_found_at_once() {
        assert_eq!(
            Corruption::default().on_corrupt(0, &[ConnId(4); 2], &[[0; 20]; 2]),
            Some(ConnId(4))
        );
    }
}
