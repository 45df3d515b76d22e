//! How a file without hashes of chunks is proved right: the sum of the whole is taken, a server is
//! asked whether it fits, and if not, suspect chunks are fetched from it again and whoever sent a
//! wrong one is banned.

use super::trial::Stage;
use crate::{
    config::Integrity,
    disconnect::{DisconnectReason, Misbehavior},
    engine::{Engine, Phase, Ready},
    io::{ConnId, Event, Output, Time},
};

/// How far what comes in order may be ahead of its sum, in bytes.
const AHEAD: u64 = 32 << 20;

impl Engine {
    /// A piece without a hash is stored. `differed`: it was there before, and was wrong.
    pub(crate) fn piece_kept(&mut self, now: Time, piece: u32, differed: bool) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let crowded = ready.picker.is_crowded();
        let is_new = !ready.picker.have().get(piece);
        let from = ready.picker.shares(piece);
        ready.picker.stored(piece);
        let liar = match &mut ready.trial {
            Some(trial) if trial.stage == Stage::Correcting => trial.corrected(piece, differed),
            _ => None,
        };
        if is_new {
            self.event(Event::PieceVerified { piece, from });
            self.tell_have(now, piece, false);
        } else if differed {
            self.event(Event::PieceCorrupt { piece });
        }
        if let Some(addr) = liar {
            self.ban_address(now, addr, piece);
        }
        self.prove(now);
        if crowded {
            self.generation += 1;
            self.refill(now);
        }
        self.chunk_turns(now);
    }

    /// Takes the sum when all is here.
    pub(crate) fn prove(&mut self, now: Time) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let full = ready.picker.have().is_full();
        let Some(trial) = &mut ready.trial else { return };
        let due = match trial.stage {
            Stage::Gathering => full,
            Stage::Correcting => trial.is_settled(),
            Stage::Summing | Stage::Checking { .. } | Stage::Proved => false,
        };
        if due {
            trial.stage = Stage::Summing;
            trial.sum = None;
            self.push(Output::DigestFile);
            self.chunk_turns(now);
        }
    }

    /// The sum was taken that far: there may be room for more ahead of it.
    pub(crate) fn summed_up(&mut self, now: Time, bytes: u64) {
        if let Phase::Ready(ready) = &mut self.phase {
            ready.summed = bytes;
            self.chunk_turns(now);
        }
    }

    /// The sum of what is stored.
    pub(crate) fn whole_digest(&mut self, now: Time, md5: [u8; 16]) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        match &mut ready.trial {
            None => ready.sum = Some(md5),
            Some(trial) if trial.stage == Stage::Summing => {
                trial.sum = Some(md5);
                trial.stage = Stage::Checking { asked: false };
                if trial.servers_sum == Some(md5) {
                    self.proved(now);
                }
            }
            Some(_) => {}
        }
        let callers: Vec<ConnId> = self.peers.keys().copied().collect();
        callers.into_iter().for_each(|conn| self.answer_check(now, conn));
        self.chunk_turns(now);
    }

    /// The sum of the complete content; when it is not known it is asked for, and comes with
    /// [`Engine::whole_digest`].
    pub(super) fn own_sum(&mut self) -> Option<[u8; 16]> {
        let Phase::Ready(ready) = &mut self.phase else { return None };
        if ready.sum.is_none() && !std::mem::replace(&mut ready.summing, true) {
            self.out.push_back(Output::DigestFile);
        }
        ready.sum
    }

    /// What a server is asked for the proof. False: nothing, for now.
    pub(super) fn prove_with(&mut self, now: Time, conn: ConnId) -> bool {
        let Phase::Ready(ready) = &mut self.phase else { return false };
        let Some(trial) = &mut ready.trial else { return false };
        match (trial.stage, trial.sum) {
            (Stage::Checking { asked: false }, Some(md5)) => {
                trial.stage = Stage::Checking { asked: true };
                self.ask_check(now, conn, md5);
                true
            }
            (Stage::Correcting, _) => match trial.next(conn) {
                Some(piece) => {
                    let block = ready.picker.reopen(now, piece, conn);
                    self.request_whole(now, conn, block);
                    true
                }
                None => false,
            },
            _ => false,
        }
    }

    /// A server says that our sum is that of its file.
    pub(super) fn check_fits(&mut self, now: Time, md5: [u8; 16]) -> Result<(), DisconnectReason> {
        let Phase::Ready(ready) = &mut self.phase else { return Ok(()) };
        let Some(trial) = &mut ready.trial else { return Ok(()) };
        if trial.sum != Some(md5) {
            if trial.stage == (Stage::Checking { asked: true }) {
                trial.stage = Stage::Checking { asked: false };
            }
            return Err(DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(
                "CHECK of another sum than was asked for".into(),
            )));
        }
        if matches!(trial.stage, Stage::Checking { .. }) {
            self.proved(now);
        }
        Ok(())
    }

    /// A server says that our sum is not that of its file; `text` may name the right one.
    pub(super) fn check_does_not_fit(&mut self, now: Time, text: &str) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let Some(trial) = &mut ready.trial else { return };
        trial.servers_sum = sum_in(text);
        if !matches!(trial.stage, Stage::Checking { .. }) {
            return;
        }
        if trial.begin(&mut self.rng) {
            self.chunk_turns(now);
        } else {
            ready.halted = true;
            self.event(Event::FileMismatch);
        }
    }

    /// A connection is gone: what it was asked for the proof is asked of another one.
    pub(crate) fn lost_in_trial(&mut self, now: Time, conn: ConnId, was_checking: bool) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let Some(trial) = &mut ready.trial else { return };
        trial.lost(conn);
        if was_checking && trial.stage == (Stage::Checking { asked: true }) {
            trial.stage = Stage::Checking { asked: false };
        }
        self.prove(now);
    }

    fn proved(&mut self, now: Time) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let Some(trial) = &mut ready.trial else { return };
        trial.stage = Stage::Proved;
        ready.sum = trial.sum;
        ready.complete_since = Some(now);
        self.completed(now);
    }
}

impl Ready {
    /// Whether so much waits for its sum that more of it would only be in the way: taking the sum
    /// is slower than a fast link, and is not to share its processor with what brings still more.
    pub(crate) fn is_ahead_of_sum(&mut self) -> bool {
        // What lies behind a hole cannot be summed up before the hole is filled.
        let here = u64::from(self.picker.prefix()) * u64::from(self.geometry.piece_length());
        here > self.summed + AHEAD
    }

    /// Whether all that is here is known to be right.
    pub(crate) fn is_verified_whole(&self) -> bool {
        match (self.proof, &self.trial) {
            (Integrity::FileDigest, Some(trial)) => trial.is_verified_whole(),
            _ => true,
        }
    }
}

/// The sum that an error's text names, if it does.
fn sum_in(text: &str) -> Option<[u8; 16]> {
    let text = text.trim();
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut sum = [0; 16];
    for (at, byte) in sum.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(sum)
}
