//! What a download knows of an origin that no longer has the content, or has the wrong one, and
//! whether other peers can still complete the download.

use std::{net::SocketAddr, time::Duration};

use sow_engine::{Dialect, Event, Status};
use tokio::time::Instant;

use crate::{
    exit::{Exit, Failure},
    report::Report,
};

/// How long no bytes may arrive after a peer was banned for a corrupt piece before the download
/// fails.
const STALL_AFTER_BAN: Duration = Duration::from_secs(15);

/// The time from a withdrawal to the failure of the download, in which pieces that have arrived are
/// verified and other peers say what they have.
const WITHDRAWAL_GRACE: Duration = Duration::from_secs(2);

/// What happened to the origin, as far as it matters to the end of the download.
#[derive(Debug, Default)]
pub(super) struct LostOrigin {
    /// The named peer that no longer has the content, why, and since when.
    withdrawn: Option<(SocketAddr, String, Instant)>,
    /// The last peer that was banned, and the corrupt piece.
    banned: Option<(SocketAddr, u32)>,
}

impl LostOrigin {
    /// Takes note of an event of the swarm, and prints the warning that it gives rise to.
    pub(super) fn on_event(&mut self, event: &Event, report: &Report) {
        match event {
            Event::OriginWithdrew { addr, reason } => {
                report.warn(format_args!("{addr} no longer shares this: {reason}"));
                self.withdrawn = Some((*addr, reason.clone(), Instant::now()));
            }
            Event::Banned { addr, piece } => {
                report.warn(format_args!(
                    "{addr} sent data that does not verify; no more is requested from it"
                ));
                self.banned = Some((*addr, *piece));
            }
            _ => {}
        }
    }

    /// The failure of the download if it can no longer complete. `named` are the peers that the
    /// user named, and `idle` is the time since the last bytes were verified.
    pub(super) fn failure(
        &self,
        status: &Status,
        dialect: Dialect,
        named: &[SocketAddr],
        idle: Duration,
    ) -> Option<Failure> {
        if let Some((addr, reason, since)) = &self.withdrawn {
            // In `chunk` only a server can verify what clients have.
            let is_verifiable = dialect != Dialect::Chunk
                || status.peers.iter().any(|peer| peer.complete && named.contains(&peer.addr));
            let has_parts = status.bytes_total > 0 && status.unavailable == 0;
            let can_complete = has_parts && is_verifiable;
            if !can_complete && since.elapsed() >= WITHDRAWAL_GRACE {
                let message = format!("the origin {addr} no longer shares this: {reason}");
                let tip = if dialect == Dialect::Chunk {
                    "start the server there again, and then this command"
                } else {
                    "run `sow send` there again, and then `sow get` with the line that it prints"
                };
                return Some(Failure::new(Exit::Unverified, message).tip(tip));
            }
        }
        match self.banned {
            // Without piece hashes the servers replace corrupt data.
            Some((addr, piece))
                if dialect != Dialect::Chunk
                    && idle > STALL_AFTER_BAN
                    && !status.peers.iter().any(|peer| peer.complete) =>
            {
                let message =
                    format!("piece {piece} from {addr} does not verify, and no other peer has it");
                let tip = "the file at the origin may have changed since it was hashed: run \
                           `sow send` there again";
                Some(Failure::new(Exit::Unverified, message).tip(tip))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> SocketAddr {
        ([10, 0, 0, 1], 52000).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_withdrawal_fails_the_download_unless_the_other_peers_have_the_rest() {
        let mut lost = LostOrigin::default();
        let reason = "big.iso was changed".to_owned();
        lost.withdrawn = Some((origin(), reason, Instant::now()));
        let of = |unavailable| Status { bytes_total: 10, unavailable, ..Status::default() };
        let failure = |lost: &LostOrigin, status: &Status| {
            lost.failure(status, Dialect::BitTorrent, &[], Duration::ZERO)
        };
        assert_eq!(failure(&lost, &of(1)), None, "other peers may still say what they have");
        tokio::time::advance(WITHDRAWAL_GRACE).await;
        let ended = failure(&lost, &of(1)).unwrap();
        assert_eq!(ended.exit(), Exit::Unverified);
        assert!(ended.message().contains("big.iso was changed"), "{ended}");
        assert_eq!(failure(&lost, &of(0)), None);
        assert!(failure(&lost, &Status::default()).is_some(), "there is no metadata yet");
        let unverifiable = lost.failure(&of(0), Dialect::Chunk, &[origin()], Duration::ZERO);
        assert!(unverifiable.is_some(), "clients have everything, but no server is left");
    }

    #[test]
    fn corrupt_data_of_the_only_source_fails_the_download() {
        let lost = LostOrigin { banned: Some((origin(), 7)), ..LostOrigin::default() };
        let status = Status { bytes_total: 10, unavailable: 1, ..Status::default() };
        let failure = |idle| lost.failure(&status, Dialect::BitTorrent, &[], idle);
        assert_eq!(failure(Duration::ZERO), None);
        let ended = failure(STALL_AFTER_BAN + Duration::from_millis(1)).unwrap();
        assert_eq!(ended.exit(), Exit::Unverified);
        assert!(ended.message().contains("piece 7"), "{ended}");
    }
}
