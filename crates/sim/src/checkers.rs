//! What must hold in a world, whatever went wrong. Reads only; each checker says what is broken.

use crate::{host::HostId, world::World};

impl World {
    /// Everybody who lives has everything.
    ///
    /// # Errors
    /// Names the first host that has not.
    pub fn check_complete(&self) -> Result<(), String> {
        for (id, host) in self.hosts.iter().enumerate() {
            if host.engine.is_some() && !host.have.is_full() {
                return Err(format!("host {id} has {:?} at {:?}", host.have, self.now()));
            }
            if host.complete.is_some() && !host.wrong.is_empty() {
                return Err(format!("host {id} took {:?} for right, which are wrong", host.wrong));
            }
        }
        Ok(())
    }

    /// No receiver fetched a piece for good that was in its store, in any of its lives.
    ///
    /// # Errors
    /// Names the first host and piece.
    pub fn check_nothing_twice(&self) -> Result<(), String> {
        for (id, host) in self.hosts.iter().enumerate() {
            let mut seen = std::collections::BTreeSet::new();
            if let Some(piece) = host.stored.iter().find(|&&piece| !seen.insert(piece)) {
                return Err(format!("host {id} stored piece {piece} twice"));
            }
        }
        Ok(())
    }

    /// Nobody banned a host that is not in `liars`.
    ///
    /// # Errors
    /// Names who banned whom.
    pub fn check_bans(&self, liars: &[HostId]) -> Result<(), String> {
        for (id, host) in self.hosts.iter().enumerate() {
            for banned in &host.banned {
                if !liars.iter().any(|&liar| self.hosts[liar].addr.ip() == banned.ip()) {
                    return Err(format!("host {id} banned {banned}, which is honest"));
                }
            }
        }
        Ok(())
    }

    /// How many wrong blocks of `liar` others took for right.
    pub fn lies_of(&self, liar: HostId) -> u32 {
        self.hosts[liar].lies
    }

    /// How many hosts banned `liar`.
    pub fn bans_of(&self, liar: HostId) -> usize {
        let addr = self.hosts[liar].addr.ip();
        self.hosts
            .iter()
            .filter(|host| host.banned.iter().any(|banned| banned.ip() == addr))
            .count()
    }
}
