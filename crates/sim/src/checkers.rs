//! What must hold in a simulated world, whatever faults it has. A checker only reads the world and
//! describes the first violation it finds.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use sow_engine::{MAX_REMEMBERED, Misbehavior};

use crate::{host::Host, item::HostId, world::World};

/// The limits of what an engine with the settings of `Config::new` holds.
const MAX_CONNECTIONS: usize = 200;
const MAX_OPEN_PIECES: usize = 6144;

/// The limits for each connection.
const MAX_REQUESTS: usize = 2048;
const MAX_UPLOADS: usize = 2048 + 64;

/// How long an engine may wait for a request before it gives it up: the longest timeout, and what
/// the requests of a full window take at the lowest rate that is waited for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// What a checker found.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Violation {
    /// A running host does not have all pieces.
    #[error("host {host} has {have} of {pieces} pieces")]
    Incomplete {
        /// The host.
        host: HostId,
        /// The pieces that it has.
        have: u32,
        /// All pieces.
        pieces: u32,
    },
    /// A host completed with wrong bytes.
    #[error("host {host} completed with corrupt pieces: {pieces:?}")]
    CorruptCopy {
        /// The host.
        host: HostId,
        /// The pieces that are corrupt.
        pieces: BTreeSet<u32>,
    },
    /// A host downloaded a piece that it had.
    #[error("host {host} stored piece {piece} twice")]
    StoredTwice {
        /// The host.
        host: HostId,
        /// The piece.
        piece: u32,
    },
    /// A host banned one that sent no corrupt block.
    #[error("host {host} banned {banned}, which sent no corrupt block")]
    WrongBan {
        /// The host.
        host: HostId,
        /// The address that it banned.
        banned: SocketAddr,
    },
    /// A host disconnected an honest one as misbehaving.
    #[error("host {host} disconnected host {other}, which is honest: {misbehavior}")]
    WrongBlame {
        /// The host.
        host: HostId,
        /// The other one.
        other: HostId,
        /// What it was blamed for.
        misbehavior: Misbehavior,
    },
    /// An engine held more of something than it may.
    #[error("host {host} held {held} {what}; the limit is {limit}")]
    TooLarge {
        /// The host.
        host: HostId,
        /// Of what.
        what: &'static str,
        /// How many.
        held: usize,
        /// The limit.
        limit: usize,
    },
    /// A receiver took much longer than the others.
    #[error("host {host} took {took:?}; the limit is {percent} % of the median, {median:?}")]
    Unfair {
        /// The host.
        host: HostId,
        /// Its time.
        took: Duration,
        /// The median of all receivers.
        median: Duration,
        /// The limit, in percent of the median.
        percent: u32,
    },
    /// Of what went over the links, something is more than it may be.
    #[error("{what}: {share:.2} %; the limit is {limit} %")]
    TooMuch {
        /// What.
        what: &'static str,
        /// Its share.
        share: f64,
        /// The limit.
        limit: f64,
    },
    /// A request was neither answered nor given up.
    #[error("host {host} waited {waited:?} for what it requested")]
    Unanswered {
        /// The host.
        host: HostId,
        /// For how long.
        waited: Duration,
    },
}

impl World {
    /// Every running host has all pieces, and every host that completed has the right bytes.
    ///
    /// # Errors
    /// The error names the first host for which this does not hold.
    pub fn check_complete(&self) -> Result<(), Violation> {
        for (id, host) in self.hosts.iter().enumerate() {
            if host.engine.is_some() && !host.have.is_full() {
                let (have, pieces) = (host.have.count(), host.have.len());
                return Err(Violation::Incomplete { host: id, have, pieces });
            }
            if host.completed_at.is_some() && !host.corrupt_pieces.is_empty() {
                let pieces = host.corrupt_pieces.clone();
                return Err(Violation::CorruptCopy { host: id, pieces });
            }
        }
        Ok(())
    }

    /// No host stored a piece twice, restarts included: what is in its store is not downloaded
    /// again.
    ///
    /// # Errors
    /// The error names the first host and piece.
    pub fn check_no_piece_stored_twice(&self) -> Result<(), Violation> {
        for (id, host) in self.hosts.iter().enumerate() {
            let mut seen = BTreeSet::new();
            if let Some(piece) = host.stored_pieces.iter().find(|&&piece| !seen.insert(piece)) {
                return Err(Violation::StoredTwice { host: id, piece: *piece });
            }
        }
        Ok(())
    }

    /// Only hosts in `corrupting` are banned.
    ///
    /// # Errors
    /// The error names the first host that banned another one, and the banned address.
    pub fn check_bans(&self, corrupting: &[HostId]) -> Result<(), Violation> {
        for (id, host) in self.hosts.iter().enumerate() {
            for banned in &host.banned {
                if !corrupting.iter().any(|&host| self.hosts[host].addr.ip() == banned.ip()) {
                    return Err(Violation::WrongBan { host: id, banned: *banned });
                }
            }
        }
        Ok(())
    }

    /// No honest host that is there is banned.
    ///
    /// # Errors
    /// The error names the first host that banned another one, and the banned address.
    pub fn check_honest_bans(&self) -> Result<(), Violation> {
        let honest: BTreeSet<_> =
            self.hosts.iter().filter(|it| it.engine.is_some()).map(|it| it.addr.ip()).collect();
        for (id, host) in self.hosts.iter().enumerate() {
            if let Some(banned) = host.banned.iter().find(|addr| honest.contains(&addr.ip())) {
                return Err(Violation::WrongBan { host: id, banned: *banned });
            }
        }
        Ok(())
    }

    /// No engine took an honest host for a misbehaving one. Not for worlds in which hosts corrupt
    /// what they upload.
    ///
    /// # Errors
    /// The error names the first two hosts.
    pub fn check_blames(&self) -> Result<(), Violation> {
        match self.wrong_blames.first() {
            Some((host, other, misbehavior)) => Err(Violation::WrongBlame {
                host: *host,
                other: *other,
                misbehavior: misbehavior.clone(),
            }),
            None => Ok(()),
        }
    }

    /// No engine held more than it may at any time.
    ///
    /// # Errors
    /// The error names the first host, and what it held.
    pub fn check_sizes(&self) -> Result<(), Violation> {
        for (host, peak) in self.hosts.iter().map(|host| host.peak).enumerate() {
            let limits = [
                ("connections", peak.connections, MAX_CONNECTIONS),
                ("addresses", peak.addresses, MAX_REMEMBERED + 2 * peak.connections),
                ("requests", peak.requests, peak.connections * MAX_REQUESTS),
                ("uploads", peak.uploads, peak.connections * MAX_UPLOADS),
                ("open pieces", peak.open_pieces, MAX_OPEN_PIECES),
            ];
            for (what, held, limit) in limits {
                if held > limit {
                    return Err(Violation::TooLarge { host, what, held, limit });
                }
            }
        }
        Ok(())
    }

    /// No receiver took longer from its start than `percent` of the median. For worlds in which all
    /// have equal links and start together.
    ///
    /// # Errors
    /// The error names the slowest receiver.
    pub fn check_fairness(&self, percent: u32) -> Result<(), Violation> {
        let took = |host: &Host| Some((host.completed_at?.since(host.joined_at), host.id));
        let mut times: Vec<(Duration, HostId)> = self.receivers().filter_map(took).collect();
        times.sort_unstable();
        let (Some(&(median, _)), Some(&(took, host))) = (times.get(times.len() / 2), times.last())
        else {
            return Ok(());
        };
        match took * 100 > median * percent {
            true => Err(Violation::Unfair { host, took, median, percent }),
            false => Ok(()),
        }
    }

    /// Messages are at most `control` percent of what went over the links, and duplicates at most
    /// `duplicates` percent of what the receivers wanted.
    ///
    /// # Errors
    /// The error says which share is too large.
    pub fn check_traffic(&self, control: f64, duplicates: f64) -> Result<(), Violation> {
        let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        let traffic = self.traffic();
        let wanted = self.receivers().count() as u64 * self.content_bytes();
        let shares = [
            ("messages in what was sent", percent(traffic.control, traffic.wire), control),
            ("duplicates of what was wanted", percent(self.wasted_bytes(), wanted), duplicates),
        ];
        match shares.into_iter().find(|(_, share, limit)| share > limit) {
            Some((what, share, limit)) => Err(Violation::TooMuch { what, share, limit }),
            None => Ok(()),
        }
    }

    /// No engine waited for a request longer than a minute: it was answered, refused, or given
    /// up, so that others may be asked.
    ///
    /// # Errors
    /// The error names the first host.
    pub fn check_requests(&self) -> Result<(), Violation> {
        let waits = self.hosts.iter().map(|host| (host.id, host.longest_wait));
        match waits.into_iter().find(|(_, waited)| *waited > MAX_WAIT) {
            Some((host, waited)) => Err(Violation::Unanswered { host, waited }),
            None => Ok(()),
        }
    }

    /// The number of corrupt blocks from `host` that other hosts accepted.
    pub fn corrupt_blocks_accepted_from(&self, host: HostId) -> u32 {
        self.hosts.iter().filter_map(|it| it.accepted_corrupt_blocks.get(&host)).sum()
    }

    /// The number of hosts that banned `host`.
    pub fn hosts_that_banned(&self, host: HostId) -> usize {
        let ip = self.hosts[host].addr.ip();
        self.hosts.iter().filter(|host| host.banned.iter().any(|banned| banned.ip() == ip)).count()
    }
}
