//! A chunk connection: the side that connected asks, the side that was connected to answers, and
//! that never changes.
//!
//! Two peers that want something of each other have a connection each way.

mod requester;
mod responder;

use sow_wire::chunk::Message;

pub(crate) use self::{
    requester::{Requester, Role},
    responder::Responder,
};
use super::{Decision, PeerPieces, SessionEvent};
use crate::{
    disconnect::DisconnectReason,
    io::{Direction, Time},
};

/// The state of one chunk connection.
#[derive(Debug)]
pub(crate) enum ChunkSession {
    /// We connected.
    Requester(Requester),
    /// The peer connected.
    Responder(Responder),
}

impl ChunkSession {
    pub(super) fn new(now: Time, direction: Direction, pieces: PeerPieces) -> Self {
        match direction {
            Direction::Dialed => Self::Requester(Requester::new(now, pieces)),
            Direction::Accepted => Self::Responder(Responder::new(pieces)),
        }
    }

    pub(super) fn pieces(&self) -> &PeerPieces {
        match self {
            Self::Requester(requester) => requester.pieces(),
            Self::Responder(responder) => responder.pieces(),
        }
    }

    pub(super) fn pieces_mut(&mut self) -> &mut PeerPieces {
        match self {
            Self::Requester(requester) => requester.pieces_mut(),
            Self::Responder(responder) => responder.pieces_mut(),
        }
    }

    pub(super) fn handle_message(
        &mut self,
        now: Time,
        message: Message,
    ) -> Result<Option<SessionEvent>, DisconnectReason> {
        match self {
            Self::Requester(requester) => Ok(requester.handle_message(now, message).map(Some)?),
            Self::Responder(responder) => Ok(responder.handle_message(now, message)?),
        }
    }

    /// Interest, choking and announcements have no message: a client asks for a list or a chunk
    /// whenever it wants one.
    pub(super) fn encode(&mut self, decision: Decision) -> Option<Message> {
        match (self, decision) {
            (Self::Requester(requester), Decision::Request(block)) => {
                Some(requester.request_chunk(block.piece))
            }
            _ => None,
        }
    }

    pub(super) fn may_request(&self) -> bool {
        matches!(self, Self::Requester(requester) if requester.may_ask())
    }

    pub(super) fn take_awaited_piece(&mut self) -> Option<u32> {
        match self {
            Self::Requester(requester) => requester.take_awaited_chunk(),
            Self::Responder(_) => None,
        }
    }

    pub(super) fn listen_port(&self) -> Option<u16> {
        match self {
            Self::Requester(_) => None,
            Self::Responder(responder) => responder.listen_port(),
        }
    }

    /// Whether the first message was received.
    pub(super) fn is_introduced(&self) -> bool {
        match self {
            Self::Requester(requester) => requester.role() != Role::Unknown,
            Self::Responder(responder) => responder.is_introduced(),
        }
    }

    /// Whether the other side asks, and has said that it is a client.
    pub(crate) fn is_answering(&self) -> bool {
        matches!(self, Self::Responder(responder) if responder.is_introduced())
    }

    pub(crate) fn requester(&self) -> Option<&Requester> {
        match self {
            Self::Requester(requester) => Some(requester),
            Self::Responder(_) => None,
        }
    }

    pub(crate) fn requester_mut(&mut self) -> Option<&mut Requester> {
        match self {
            Self::Requester(requester) => Some(requester),
            Self::Responder(_) => None,
        }
    }

    pub(crate) fn responder_mut(&mut self) -> Option<&mut Responder> {
        match self {
            Self::Responder(responder) => Some(responder),
            Self::Requester(_) => None,
        }
    }
}
