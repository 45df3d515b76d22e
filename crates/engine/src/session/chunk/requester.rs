//! The side of a chunk connection that asks: one question at a time, as the protocol demands.

use std::{net::SocketAddr, time::Duration};

use sow_content::{Geometry, geometry::MAX_WHOLE_PIECE};
use sow_wire::{
    bittorrent::Withdrawal,
    chunk::{ErrorId, Message},
};

use super::{PeerPieces, SessionEvent};
use crate::{disconnect::Misbehavior, io::Time};

/// A list of chunks that is older is asked for again, even if the peer still has a chunk to
/// request.
const LIST_MAX_AGE: Duration = Duration::from_secs(1);

/// A peer whose list had nothing new is asked again after this long. (The original program waits a
/// second.)
const LIST_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A server is asked for other clients this often while something is missing.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);

/// The same once nothing is missing.
const REFRESH_INTERVAL_COMPLETE: Duration = Duration::from_secs(30);

/// Refusals of one peer after which it is disconnected.
const MAX_REFUSALS: u32 = 3;

/// The state of a connection on which we ask.
#[derive(Debug)]
pub(crate) struct Requester {
    pieces: PeerPieces,
    role: Role,
    pending: Question,
    /// When the last list was received, or the server named its clients.
    updated_at: Time,
    /// The last list had something new.
    had_news: bool,
    refusals: u32,
}

/// What the other side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has not said.
    Unknown,
    /// It has the whole file, and knows its MD5.
    Server {
        /// What it serves.
        geometry: Geometry,
    },
    /// It has what it lists.
    Peer,
}

/// The question that is not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    None,
    Hello,
    List,
    Chunk(u32),
    Check,
}

impl Requester {
    pub(super) fn new(now: Time, pieces: PeerPieces) -> Self {
        Self {
            pieces,
            role: Role::Unknown,
            pending: Question::None,
            updated_at: now,
            had_news: true,
            refusals: 0,
        }
    }

    pub(super) fn pieces(&self) -> &PeerPieces {
        &self.pieces
    }

    pub(super) fn pieces_mut(&mut self) -> &mut PeerPieces {
        &mut self.pieces
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn is_server(&self) -> bool {
        matches!(self.role, Role::Server { .. })
    }

    /// Whether a question may be asked: the other side said what it is, and no answer is due.
    pub(crate) fn may_ask(&self) -> bool {
        self.pending == Question::None && self.role != Role::Unknown
    }

    /// Whether the server was asked whether an MD5 is right.
    pub(crate) fn is_checking(&self) -> bool {
        self.pending == Question::Check
    }

    pub(crate) fn is_listing(&self) -> bool {
        self.pending == Question::List
    }

    /// Whether the list is so old that it is asked for before another chunk.
    pub(crate) fn is_list_stale(&self, now: Time) -> bool {
        now.since(self.updated_at) >= LIST_MAX_AGE
    }

    /// Whether the list may be asked for when there is nothing else to ask.
    pub(crate) fn is_list_due(&self, now: Time) -> bool {
        self.had_news || now.since(self.updated_at) >= LIST_POLL_INTERVAL
    }

    /// Whether it is time to ask the server for other clients again.
    pub(crate) fn is_refresh_due(&self, now: Time, is_complete: bool) -> bool {
        let due = if is_complete { REFRESH_INTERVAL_COMPLETE } else { REFRESH_INTERVAL };
        now.since(self.updated_at) >= due
    }

    /// Says on which port we accept connections, and asks for what the other side is.
    pub(crate) fn ask_hello(&mut self, port: u16) -> Message {
        self.pending = Question::Hello;
        Message::Hello { port }
    }

    /// Asks which chunks the peer has.
    pub(crate) fn ask_list(&mut self) -> Message {
        self.pending = Question::List;
        Message::ListRequest
    }

    /// Asks the server whether `md5` is that of its file.
    pub(crate) fn ask_check(&mut self, md5: [u8; 16]) -> Message {
        self.pending = Question::Check;
        Message::Check(md5)
    }

    pub(super) fn request_chunk(&mut self, piece: u32) -> Message {
        self.pending = Question::Chunk(piece);
        Message::Request(i64::from(piece))
    }

    pub(super) fn take_awaited_chunk(&mut self) -> Option<u32> {
        let Question::Chunk(piece) = self.pending else { return None };
        self.pending = Question::None;
        Some(piece)
    }

    /// The other side is a server that is trusted as one. True when it says so for the first time.
    pub(crate) fn on_server(&mut self, geometry: Geometry) -> Result<bool, Misbehavior> {
        match self.role {
            Role::Peer => Err(Misbehavior::unexpected("SHEL after PHEL".to_owned())),
            Role::Server { geometry: before } if before == geometry => Ok(false),
            Role::Server { .. } => Err(Misbehavior::DifferentFile),
            Role::Unknown => {
                self.role = Role::Server { geometry };
                Ok(true)
            }
        }
    }

    /// A list was received, on this connection or on another one to the same peer.
    pub(crate) fn on_list(&mut self, now: Time, had_news: bool) {
        self.had_news = had_news;
        self.updated_at = now;
    }

    pub(super) fn handle_message(
        &mut self,
        now: Time,
        message: Message,
    ) -> Result<SessionEvent, Misbehavior> {
        let is_expected = match (&message, self.pending) {
            (Message::Error { .. }, _)
            | (Message::ServerHello { .. }, Question::Hello)
            | (Message::List(_), Question::List)
            | (Message::Check(_), Question::Check) => true,
            (Message::PeerHello, Question::Hello) => !self.is_server(),
            _ => false,
        };
        if !is_expected {
            return Err(Misbehavior::unexpected(message.head()));
        }
        let question = std::mem::replace(&mut self.pending, Question::None);
        match message {
            Message::Error { id, text } => self.on_error(question, id, &text),
            Message::ServerHello { file_size, chunk_size, peers } => {
                self.on_server_hello(now, file_size, chunk_size, peers)
            }
            Message::List(ids) => {
                self.updated_at = now;
                Ok(SessionEvent::ListReceived(ids))
            }
            Message::Check(md5) => Ok(SessionEvent::DigestConfirmed(md5)),
            _ => {
                self.role = Role::Peer;
                // Its list is asked for at once.
                self.had_news = true;
                Ok(SessionEvent::PeerHello)
            }
        }
    }

    fn on_server_hello(
        &mut self,
        now: Time,
        file_size: u64,
        chunk_size: u64,
        peers: Vec<SocketAddr>,
    ) -> Result<SessionEvent, Misbehavior> {
        self.updated_at = now;
        let geometry = Geometry::new(file_size, chunk_size)
            .ok()
            .filter(|geometry| geometry.piece_length() <= MAX_WHOLE_PIECE)
            .ok_or(Misbehavior::InvalidGeometry)?;
        Ok(SessionEvent::ServerHello { geometry, peers })
    }

    fn on_error(
        &mut self,
        question: Question,
        id: ErrorId,
        text: &str,
    ) -> Result<SessionEvent, Misbehavior> {
        self.refusals += 1;
        let reason = Withdrawal::new(text.trim()).reason;
        match (question, id) {
            // What a server lacks it has lost, and it may say why.
            (_, ErrorId::ChunkUndownloaded) if self.role != Role::Peer && !reason.is_empty() => {
                Ok(SessionEvent::Withdrawn { reason })
            }
            (Question::Check, ErrorId::ChecksumNotFit) => {
                Ok(SessionEvent::DigestMismatch { expected: parse_md5(text) })
            }
            (Question::Check, _) => Ok(SessionEvent::DigestCheckRefused),
            // What is missing at a server stays missing; a peer may have it later.
            (Question::Chunk(piece), ErrorId::ChunkUndownloaded)
                if !self.is_server() && self.refusals <= MAX_REFUSALS =>
            {
                Ok(SessionEvent::ChunkRefused(piece))
            }
            _ => Err(Misbehavior::RefusedAdvertisedPiece),
        }
    }
}

/// The MD5 that the text of an error names, if it does.
fn parse_md5(text: &str) -> Option<[u8; 16]> {
    let text = text.trim();
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut md5 = [0; 16];
    for (at, byte) in md5.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(md5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requester() -> Requester {
        Requester::new(Time(0), PeerPieces::new(Some(4)))
    }

    #[test]
    fn an_answer_needs_its_question() {
        let mut requester = requester();
        let unexpected = Misbehavior::unexpected("PHEL".to_owned());
        assert_eq!(requester.handle_message(Time(0), Message::PeerHello), Err(unexpected));
        requester.ask_hello(1);
        let event = requester.handle_message(Time(0), Message::PeerHello);
        assert_eq!(event, Ok(SessionEvent::PeerHello));
        assert!(requester.may_ask() && requester.is_list_due(Time(0)));
    }

    #[test]
    fn a_server_keeps_its_file() {
        let mut requester = requester();
        let geometry = |size| Geometry::new(size, 1000).unwrap();
        assert_eq!(requester.on_server(geometry(4000)), Ok(true));
        assert_eq!(requester.on_server(geometry(4000)), Ok(false));
        assert_eq!(requester.on_server(geometry(4001)), Err(Misbehavior::DifferentFile));
    }

    #[test]
    fn a_peer_may_refuse_a_few_chunks() {
        let mut requester = requester();
        requester.role = Role::Peer;
        let error = || Message::Error { id: ErrorId::ChunkUndownloaded, text: String::new() };
        for _ in 0..MAX_REFUSALS {
            requester.request_chunk(2);
            let event = requester.handle_message(Time(0), error());
            assert_eq!(event, Ok(SessionEvent::ChunkRefused(2)));
        }
        requester.request_chunk(2);
        let refused = requester.handle_message(Time(0), error());
        assert_eq!(refused, Err(Misbehavior::RefusedAdvertisedPiece));
    }

    #[test]
    fn a_server_may_say_why_it_lacks_a_chunk() {
        let error =
            |text: &str| Message::Error { id: ErrorId::ChunkUndownloaded, text: text.to_owned() };
        let withdrawn = SessionEvent::Withdrawn { reason: "it was cut".to_owned() };
        let mut requester = requester();
        requester.ask_hello(1);
        let answered = requester.handle_message(Time(0), error("it was cut\r\n"));
        assert_eq!(answered, Ok(withdrawn.clone()));
        requester.role = Role::Server { geometry: Geometry::new(4000, 1000).unwrap() };
        requester.request_chunk(2);
        assert_eq!(requester.handle_message(Time(0), error("it was cut")), Ok(withdrawn));
        requester.request_chunk(2);
        let refused = requester.handle_message(Time(0), error(""));
        assert_eq!(refused, Err(Misbehavior::RefusedAdvertisedPiece));
        let mut requester = Requester::new(Time(0), PeerPieces::new(Some(4)));
        requester.role = Role::Peer;
        requester.request_chunk(2);
        let answered = requester.handle_message(Time(0), error("busy"));
        assert_eq!(answered, Ok(SessionEvent::ChunkRefused(2)), "a peer may have it later");
    }

    #[test]
    fn an_error_may_name_an_md5() {
        assert_eq!(parse_md5(&format!(" {} ", "0a".repeat(16))), Some([10; 16]));
        assert_eq!(parse_md5("0a"), None);
        assert_eq!(parse_md5(&"zz".repeat(16)), None);
    }
}
