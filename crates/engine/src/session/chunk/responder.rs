//! The side of a chunk connection that answers: a server, or a client towards its peers. Every
//! question gets its answer or an `ERROR`.

use std::time::Duration;

use sow_content::Bitfield;
use sow_wire::chunk::{
    ErrorId, MAX_CHUNK_LIST, Message, ORIGINAL_MESSAGE_LIMIT, Spelling, fitting_ids,
};

use super::{PeerPieces, SessionEvent};
use crate::{disconnect::Misbehavior, io::Time};

/// A list without news is held back for at most this long: the client learns of the next chunk as
/// soon as it is here, instead of asking again after a second.
const LIST_HOLD_TIMEOUT: Duration = Duration::from_secs(1);

/// A list is news when it grew by one part in this many: a long list is not sent for every chunk.
const LIST_NEWS_FRACTION: u32 = 32;

/// Longer lists are sent in part, as the original programs do: what we read is bounded too.
const MAX_LISTED_CHUNKS: u32 = 200_000;

/// Errors that one client is answered; at the next one it is disconnected. As many are reported.
const MAX_ERRORS: u32 = 16;

/// The state of a connection on which we answer.
#[derive(Debug)]
pub(crate) struct Responder {
    pieces: PeerPieces,
    /// Where the client accepts connections, as it said first; `None` before its `CHEL`.
    port: Option<u16>,
    /// The chunks that were listed to it.
    listed: Option<Bitfield>,
    /// Since when it waits for a list.
    list_wanted_since: Option<Time>,
    /// The MD5 that it asked about, until ours is known.
    check: Option<[u8; 16]>,
    errors: u32,
    reported_refusals: u32,
}

/// What follows from an error that a client is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefusalReport {
    /// The error.
    pub(crate) message: Message,
    /// It is one of the first, so that it is worth an event.
    pub(crate) is_reported: bool,
    /// It was one too many.
    pub(crate) misbehavior: Option<Misbehavior>,
}

impl Responder {
    pub(super) fn new(pieces: PeerPieces) -> Self {
        Self {
            pieces,
            port: None,
            listed: None,
            list_wanted_since: None,
            check: None,
            errors: 0,
            reported_refusals: 0,
        }
    }

    pub(super) fn pieces(&self) -> &PeerPieces {
        &self.pieces
    }

    pub(super) fn pieces_mut(&mut self) -> &mut PeerPieces {
        &mut self.pieces
    }

    pub(super) fn is_introduced(&self) -> bool {
        self.port.is_some()
    }

    pub(super) fn listen_port(&self) -> Option<u16> {
        self.port.filter(|&port| port != 0)
    }

    pub(super) fn handle_message(
        &mut self,
        now: Time,
        message: Message,
    ) -> Result<Option<SessionEvent>, Misbehavior> {
        let is_greeted = self.is_introduced();
        Ok(Some(match message {
            Message::Hello { port } => {
                // Later ones ask for other clients again; the first port stays.
                let port = *self.port.get_or_insert(port);
                SessionEvent::ClientHello { port, is_first: !is_greeted }
            }
            Message::ListRequest if is_greeted => {
                self.list_wanted_since = Some(now);
                SessionEvent::ListRequested
            }
            Message::Request(id) if is_greeted => SessionEvent::ChunkRequested(id),
            Message::Check(md5) if is_greeted => {
                self.check = Some(md5);
                SessionEvent::DigestCheckRequested
            }
            // An error of the client has no answer.
            Message::Error { .. } => return self.count_error().map_or(Ok(None), Err),
            // What follows an unknown head cannot be told from the next head.
            Message::Unknown { .. } => {
                let command = message.head();
                let then = Some(Misbehavior::unexpected(command.clone()));
                SessionEvent::CommandRefused { command, then }
            }
            other => SessionEvent::CommandRefused { command: other.head(), then: None },
        }))
    }

    /// The list that the client waits for, if there is news or it has waited long enough.
    pub(crate) fn take_due_list(
        &mut self,
        now: Time,
        have: &Bitfield,
        spelling: Spelling,
        rng: &mut fastrand::Rng,
    ) -> Option<Message> {
        let since = self.list_wanted_since?;
        let listed = self.listed.as_ref().map_or(0, Bitfield::count);
        let new = have.count() - listed;
        let is_news = self.listed.is_none() || new > listed / LIST_NEWS_FRACTION || have.is_full();
        if !is_news && now.since(since) < LIST_HOLD_TIMEOUT {
            return None;
        }
        self.list_wanted_since = None;
        let listed = self.listed.get_or_insert_with(|| Bitfield::new(have.len()));
        let ids: Vec<u32> = match spelling {
            Spelling::Documented if have.count() <= MAX_LISTED_CHUNKS => have.iter().collect(),
            spelling => {
                let is_original = spelling == Spelling::Original;
                let limit = if is_original { ORIGINAL_MESSAGE_LIMIT } else { MAX_CHUNK_LIST / 2 };
                let (mut new, mut old): (Vec<u32>, Vec<u32>) =
                    have.iter().partition(|&piece| !listed.get(piece));
                rng.shuffle(&mut new);
                rng.shuffle(&mut old);
                fitting_ids(new.into_iter().chain(old), limit)
            }
        };
        ids.iter().for_each(|&piece| _ = listed.set(piece));
        Some(Message::List(ids))
    }

    /// The MD5 that the client asked about.
    pub(crate) fn check(&self) -> Option<[u8; 16]> {
        self.check
    }

    /// The same, which counts as answered from here on.
    pub(crate) fn take_check(&mut self) -> Option<[u8; 16]> {
        self.check.take()
    }

    /// Answers a command with an error.
    pub(crate) fn refuse(&mut self, id: ErrorId, text: String) -> RefusalReport {
        self.reported_refusals += 1;
        // A client whose file is wrong may ask about its MD5 as often as it repairs something.
        let is_error = id != ErrorId::ChecksumNotFit;
        RefusalReport {
            message: Message::Error { id, text },
            is_reported: self.reported_refusals <= MAX_ERRORS,
            misbehavior: if is_error { self.count_error() } else { None },
        }
    }

    fn count_error(&mut self) -> Option<Misbehavior> {
        self.errors += 1;
        (self.errors > MAX_ERRORS).then_some(Misbehavior::TooManyErrors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeted() -> Responder {
        let mut responder = Responder::new(PeerPieces::new(Some(100)));
        responder.handle_message(Time(0), Message::Hello { port: 7 }).unwrap();
        responder
    }

    #[test]
    fn nothing_is_answered_before_the_hello() {
        let mut responder = Responder::new(PeerPieces::new(Some(4)));
        let refused = responder.handle_message(Time(0), Message::ListRequest);
        let command = "CLREQ".to_owned();
        assert_eq!(refused, Ok(Some(SessionEvent::CommandRefused { command, then: None })));
        let hello = |port| Message::Hello { port };
        let first = responder.handle_message(Time(0), hello(7));
        assert_eq!(first, Ok(Some(SessionEvent::ClientHello { port: 7, is_first: true })));
        let again = responder.handle_message(Time(0), hello(8));
        assert_eq!(again, Ok(Some(SessionEvent::ClientHello { port: 7, is_first: false })));
    }

    #[test]
    fn a_list_is_sent_with_news_or_after_a_second() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut have = Bitfield::new(100);
        (0..40).for_each(|piece| assert!(have.set(piece)));
        let mut responder = greeted();
        let mut list = |responder: &mut Responder, have: &Bitfield, at: u64| {
            responder.handle_message(Time(at), Message::ListRequest).unwrap();
            responder.take_due_list(Time(at), have, Spelling::Documented, &mut rng)
        };
        assert!(list(&mut responder, &have, 0).is_some());
        have.set(40);
        assert_eq!(list(&mut responder, &have, 0), None, "one of 40 is no news");
        have.set(41);
        assert!(list(&mut responder, &have, 0).is_some());
        assert_eq!(list(&mut responder, &have, 0), None);
        let late = responder.take_due_list(
            Time(1_000_000),
            &have,
            Spelling::Documented,
            &mut fastrand::Rng::with_seed(1),
        );
        assert!(late.is_some(), "a second is enough");
    }

    #[test]
    fn many_errors_are_a_misbehavior_and_few_are_reported() {
        let mut responder = greeted();
        for _ in 0..MAX_ERRORS {
            let report = responder.refuse(ErrorId::OffsetOverflow, String::new());
            assert!(report.is_reported && report.misbehavior.is_none());
        }
        let report = responder.refuse(ErrorId::ChecksumNotFit, String::new());
        assert!(!report.is_reported && report.misbehavior.is_none());
        let report = responder.refuse(ErrorId::OffsetOverflow, String::new());
        assert_eq!(report.misbehavior, Some(Misbehavior::TooManyErrors));
    }
}
