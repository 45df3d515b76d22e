//! What a misbehaving peer says in `json-torrent`.

use sow_engine::ConnId;
use sow_wire::{bittorrent::BlockRequest, json_torrent::Message};

use super::{Action, HostileKind as Kind, HostilePeer};

impl HostilePeer {
    fn tell(&mut self, conn: ConnId, message: Message) {
        self.actions.push(Action::Send(conn, sow_engine::Message::JsonTorrent(message)));
    }

    pub(super) fn greet_json_torrent(&mut self, conn: ConnId) {
        let pieces = self.geometry.pieces() as usize;
        let field = match self.kind {
            Kind::BadBitfield => vec![1; pieces + 1 + self.rng.usize(..100)],
            kind => vec![u8::from(kind.claims_everything()); pieces],
        };
        self.tell(conn, Message::Bitfield(field.into()));
        let message =
            if self.kind.claims_everything() { Message::Unchoke } else { Message::Interested };
        self.tell(conn, message);
    }

    pub(super) fn on_json_torrent(&mut self, conn: ConnId, message: &Message) {
        match message {
            Message::Interested => self.tell(conn, Message::Unchoke),
            Message::Request(piece) if *piece < self.geometry.pieces() => {
                let length = self.geometry.length_of(*piece);
                self.on_requested(conn, BlockRequest { piece: *piece, offset: 0, length });
            }
            _ => {}
        }
    }

    pub(super) fn flap_choke(&mut self, conn: ConnId) {
        self.tell(conn, Message::Choke);
        self.tell(conn, Message::Unchoke);
    }

    pub(super) fn flood_json_torrent(&mut self, conn: ConnId) {
        for _ in 0..self.flood {
            let piece = self.any_piece();
            let is_on = self.flip(conn);
            let message = match self.kind {
                Kind::FlapInterest if is_on => Message::Interested,
                Kind::FlapInterest => Message::NotInterested,
                Kind::FlapChoke if is_on => Message::Choke,
                Kind::FlapChoke => Message::Unchoke,
                Kind::HaveFlood => Message::Have(piece),
                Kind::RequestFlood => Message::Request(piece),
                Kind::OutOfRange => return self.tell(conn, Message::Request(u32::MAX)),
                Kind::Unsolicited if piece < self.geometry.pieces() => {
                    let request =
                        BlockRequest { piece, offset: 0, length: self.geometry.length_of(piece) };
                    return self.actions.push(Action::Block { conn, request, corrupt: true });
                }
                _ => return,
            };
            self.tell(conn, message);
        }
    }
}
