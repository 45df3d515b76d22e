//! The MD5 of the whole file: that of a complete file, which clients ask about, and that of a file
//! that is to be verified by it.

use std::{collections::VecDeque, net::SocketAddr};

use super::{Downloads, MismatchOutcome, PieceStored, VerificationStep, WholeFileVerification};
use crate::{
    connections::Connection,
    disconnect::Misbehavior,
    io::{ConnId, Output, Time},
    session::Decision,
};

/// How far pieces that arrive in order may be ahead of the MD5, in bytes.
const MAX_BYTES_AHEAD_OF_DIGEST: u64 = 32 << 20;

/// The MD5 of what is stored.
#[derive(Debug, Default)]
pub(super) struct FileDigest {
    /// Of the complete file, once it is known.
    md5: Option<[u8; 16]>,
    is_requested: bool,
    /// How far it was taken while the file arrives, in bytes from the beginning.
    digested_bytes: u64,
}

impl FileDigest {
    pub(super) fn new(md5: Option<[u8; 16]>) -> Self {
        Self { md5, ..Self::default() }
    }
}

impl Downloads {
    /// The MD5 of the file, once it is known and the file is verified.
    pub(crate) fn verified_md5(&self) -> Option<[u8; 16]> {
        self.file_digest.md5.filter(|_| self.is_verified())
    }

    /// The MD5 of the complete file. When it is not known it is asked for.
    pub(crate) fn complete_md5(&mut self, out: &mut VecDeque<Output>) -> Option<[u8; 16]> {
        let digest = &mut self.file_digest;
        if digest.md5.is_none() && !std::mem::replace(&mut digest.is_requested, true) {
            out.push_back(Output::DigestFile);
        }
        digest.md5
    }

    /// The MD5 was taken up to a byte.
    pub(crate) fn on_digest_progress(&mut self, bytes: u64) {
        self.file_digest.digested_bytes = bytes;
    }

    /// Whether so much waits for the MD5 that more of it would only be in the way: taking it is
    /// slower than a fast link, and competes for the processor with what receives still more.
    pub(super) fn is_ahead_of_digest(&mut self) -> bool {
        // What lies behind a hole cannot be digested before the hole is filled.
        let pieces = u64::from(self.picker.requested_prefix());
        let here = pieces * u64::from(self.geometry.piece_length());
        here > self.file_digest.digested_bytes + MAX_BYTES_AHEAD_OF_DIGEST
    }

    /// Asks for the MD5 if everything is here. True when it was asked for.
    pub(crate) fn begin_digest(&mut self, out: &mut VecDeque<Output>) -> bool {
        let is_full = self.have().is_full();
        let is_due = self.verification.as_mut().is_some_and(|this| this.begin_digest(is_full));
        if is_due {
            out.push_back(Output::DigestFile);
        }
        is_due
    }

    /// The MD5 of what is stored is known. True when the file is verified by that.
    pub(crate) fn on_file_digest(&mut self, now: Time, md5: [u8; 16]) -> bool {
        let Some(verification) = &mut self.verification else {
            self.file_digest.md5 = Some(md5);
            return false;
        };
        let is_verified = verification.on_digest(md5);
        if is_verified {
            self.on_file_verified(now);
        }
        is_verified
    }

    fn on_file_verified(&mut self, now: Time) {
        self.file_digest.md5 = self.verification.as_ref().and_then(WholeFileVerification::digest);
        self.complete_since = Some(now);
    }

    /// What to ask a server for to verify the file, if anything.
    pub(crate) fn next_verification_step(&mut self, conn: ConnId) -> Option<VerificationStep> {
        self.verification.as_mut()?.next_step(conn)
    }

    /// Requests a piece again that is stored but suspect.
    pub(crate) fn request_again(
        &mut self,
        now: Time,
        connection: &mut Connection,
        piece: u32,
        out: &mut VecDeque<Output>,
    ) {
        let conn = connection.conn();
        let block = self.picker.reopen(now, piece, conn);
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.on_requested(now, block, false);
            connection.send(now, Decision::Request(block), out);
        }
    }

    /// A server confirms an MD5. True when the file is verified by that.
    ///
    /// # Errors
    /// When the server was asked about another one.
    pub(crate) fn on_digest_confirmed(
        &mut self,
        now: Time,
        md5: [u8; 16],
    ) -> Result<bool, Misbehavior> {
        let Some(verification) = &mut self.verification else { return Ok(false) };
        let is_verified = verification.on_confirmed(md5)?;
        if is_verified {
            self.on_file_verified(now);
        }
        Ok(is_verified)
    }

    /// A server says that the MD5 is wrong, and may name the right one.
    pub(crate) fn on_digest_mismatch(
        &mut self,
        expected: Option<[u8; 16]>,
        rng: &mut fastrand::Rng,
    ) -> MismatchOutcome {
        let Some(verification) = &mut self.verification else { return MismatchOutcome::Ignored };
        let outcome = verification.on_mismatch(expected, rng);
        self.is_halted |= outcome == MismatchOutcome::Hopeless;
        outcome
    }

    /// A connection is gone, or its server does not check: what was asked on it for the
    /// verification is asked on another one.
    pub(crate) fn on_verifier_gone(&mut self, conn: ConnId, was_checking: bool) {
        if let Some(verification) = &mut self.verification {
            let picker = &self.picker;
            verification.on_peer_gone(conn, was_checking, |piece| picker.is_arrived(piece));
        }
    }

    /// Notes the source of a piece without a hash: what comes from a server is right, what comes
    /// from a peer is suspect.
    pub(crate) fn note_source(&mut self, piece: u32, connection: &Connection) {
        let requester = connection.session().chunk().and_then(|session| session.requester());
        let is_server = requester.is_some_and(|requester| requester.is_server());
        if let Some(verification) = &mut self.verification {
            verification.on_chunk(piece, (!is_server).then_some(connection.addr()));
        }
    }

    /// A piece without a hash was stored. `differed`: it was here before, and was wrong. The
    /// address of the peer that had sent it wrong, if that is known.
    pub(crate) fn on_unverified_stored(
        &mut self,
        piece: u32,
        differed: bool,
    ) -> (PieceStored, Option<SocketAddr>) {
        let stored = self.on_stored(piece);
        let verification = self.verification.as_mut();
        (stored, verification.and_then(|this| this.on_stored(piece, differed)))
    }
}
