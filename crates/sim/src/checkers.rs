//! What must hold in a simulated world, whatever faults it has. A checker only reads the world and
//! describes the first violation it finds.

use crate::{host::HostId, world::World};

impl World {
    /// Every running host has all pieces, and every host that completed has the right bytes.
    ///
    /// # Errors
    /// The error names the first host for which this does not hold.
    pub fn check_complete(&self) -> Result<(), String> {
        for (id, host) in self.hosts.iter().enumerate() {
            if host.engine.is_some() && !host.have.is_full() {
                return Err(format!("host {id} has {:?} at {:?}", host.have, self.now()));
            }
            if host.completed_at.is_some() && !host.corrupt_pieces.is_empty() {
                let pieces = &host.corrupt_pieces;
                return Err(format!("host {id} completed with corrupt pieces: {pieces:?}"));
            }
        }
        Ok(())
    }

    /// No host stored a piece twice, restarts included: what is in its store is not downloaded
    /// again.
    ///
    /// # Errors
    /// The error names the first host and piece.
    pub fn check_no_piece_stored_twice(&self) -> Result<(), String> {
        for (id, host) in self.hosts.iter().enumerate() {
            let mut seen = std::collections::BTreeSet::new();
            if let Some(piece) = host.stored_pieces.iter().find(|&&piece| !seen.insert(piece)) {
                return Err(format!("host {id} stored piece {piece} twice"));
            }
        }
        Ok(())
    }

    /// Only hosts in `corrupting` are banned.
    ///
    /// # Errors
    /// The error names the first host that banned another one, and the banned address.
    pub fn check_bans(&self, corrupting: &[HostId]) -> Result<(), String> {
        for (id, host) in self.hosts.iter().enumerate() {
            for banned in &host.banned {
                if !corrupting.iter().any(|&host| self.hosts[host].addr.ip() == banned.ip()) {
                    return Err(format!("host {id} banned {banned}, which sent no corrupt block"));
                }
            }
        }
        Ok(())
    }

    /// The number of corrupt blocks from `host` that other hosts accepted.
    pub fn corrupt_blocks_accepted_from(&self, host: HostId) -> u32 {
        self.hosts[host].accepted_corrupt_blocks
    }

    /// The number of hosts that banned `host`.
    pub fn hosts_that_banned(&self, host: HostId) -> usize {
        let ip = self.hosts[host].addr.ip();
        self.hosts.iter().filter(|host| host.banned.iter().any(|banned| banned.ip() == ip)).count()
    }
}
