//! What a misbehaving peer says in `chunk`, as a client of the server and as a peer of clients.

use sow_engine::ConnId;
use sow_wire::{
    bittorrent::BlockRequest,
    chunk::{ErrorId, Message},
};

use super::{Action, HostileKind as Kind, HostilePeer};

/// Where it claims to listen.
const PORT: u16 = 52000;

impl HostilePeer {
    fn say(&mut self, conn: ConnId, message: Message) {
        self.actions.push(Action::Send(conn, sow_engine::Message::Chunk(message)));
    }

    pub(super) fn greet_chunk_server(&mut self, conn: ConnId) {
        self.say(conn, Message::Hello { port: PORT });
    }

    pub(super) fn on_chunk(&mut self, conn: ConnId, message: &Message) {
        match message {
            Message::Hello { .. } => self.say(conn, Message::PeerHello),
            Message::ListRequest => {
                let pieces = self.geometry.pieces();
                let ids = match self.kind {
                    Kind::Starve => return,
                    Kind::BadBitfield | Kind::OutOfRange => vec![pieces, u32::MAX],
                    kind if kind.claims_everything() => (0..pieces).collect(),
                    _ => Vec::new(),
                };
                self.say(conn, Message::List(ids));
            }
            Message::Request(id) => {
                let piece = u32::try_from(*id).unwrap_or(u32::MAX);
                if piece < self.geometry.pieces() {
                    let length = self.geometry.length_of(piece);
                    self.on_requested(conn, BlockRequest { piece, offset: 0, length });
                }
            }
            _ => {}
        }
    }

    pub(super) fn refuse_chunk(&mut self, conn: ConnId) {
        let (id, text) = (ErrorId::ChunkUndownloaded, String::new());
        self.say(conn, Message::Error { id, text });
    }

    pub(super) fn flood_chunk(&mut self, conn: ConnId) {
        if !self.lines.get(&conn).is_some_and(|line| line.is_dialed) {
            return;
        }
        for _ in 0..self.flood {
            let message = match self.kind {
                Kind::RequestFlood => Message::Request(i64::from(self.any_piece())),
                Kind::HaveFlood | Kind::MetadataRequests => Message::ListRequest,
                Kind::FlapInterest => Message::Hello { port: PORT },
                Kind::CancelFlood => Message::Check([self.rng.u8(..); 16]),
                Kind::OutOfRange => return self.say(conn, Message::Request(i64::MAX)),
                _ => return,
            };
            self.say(conn, message);
        }
    }
}
