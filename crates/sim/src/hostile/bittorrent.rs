//! What a misbehaving peer says in BitTorrent.

use bytes::Bytes;
use sow_engine::ConnId;
use sow_wire::bittorrent::{
    BlockRequest, ExtensionHandshake, Message, MetadataMessage, PexMessage,
};

use super::{Action, HostileKind as Kind, HostilePeer, WRONG_METADATA};

/// The ids that it assigns to the extensions.
const UT_METADATA: u8 = 3;
const UT_PEX: u8 = 4;

/// Addresses in a message of peer exchange.
const PEX_ADDRESSES: usize = 50;

impl HostilePeer {
    pub(super) fn greet_bittorrent(&mut self, conn: ConnId) {
        let size = match self.kind {
            Kind::MetadataWrong if self.rng.bool() => self.rng.u32(1..100_000),
            _ => self.metadata.len() as u32,
        };
        let handshake = ExtensionHandshake {
            ut_metadata: Some(UT_METADATA),
            ut_pex: Some(UT_PEX),
            metadata_size: Some(size),
            listen_port: None,
            ..ExtensionHandshake::default()
        };
        self.send(conn, Message::Extended { id: 0, payload: handshake.encode().into() });
        match self.kind {
            Kind::BadBitfield => {
                let length = self.geometry.pieces() as usize / 8 + 2 + self.rng.usize(..100);
                self.send(conn, Message::Bitfield(vec![0xff; length].into()));
            }
            kind if kind.claims_everything() => {
                self.send(conn, Message::HaveAll);
                self.send(conn, Message::Unchoke);
            }
            _ => {
                self.send(conn, Message::HaveNone);
                self.send(conn, Message::Interested);
            }
        }
    }

    pub(super) fn on_bittorrent(&mut self, conn: ConnId, message: &Message) {
        match message {
            Message::Request(request) => self.on_requested(conn, *request),
            Message::Cancel(request) => {
                if let Some(line) = self.lines.get_mut(&conn) {
                    line.queue.retain(|queued| queued != request);
                }
            }
            Message::Extended { id: 0, payload } => {
                if let (Some(line), Ok(theirs)) =
                    (self.lines.get_mut(&conn), ExtensionHandshake::decode(payload))
                {
                    line.theirs = theirs;
                }
            }
            Message::Extended { id: UT_METADATA, payload } => {
                if let Ok(MetadataMessage::Request { piece }) = MetadataMessage::decode(payload) {
                    self.on_metadata_requested(conn, piece);
                }
            }
            _ => {}
        }
    }

    fn on_metadata_requested(&mut self, conn: ConnId, piece: u32) {
        let Some(id) = self.lines.get(&conn).and_then(|line| line.theirs.ut_metadata) else {
            return;
        };
        let answer = match self.kind {
            Kind::MetadataSilent | Kind::MetadataRequests | Kind::Starve => return,
            Kind::MetadataWrong => {
                let data = Bytes::from(vec![WRONG_METADATA; self.metadata.len()]);
                MetadataMessage::Data { piece, total_size: data.len() as u32, data }
            }
            Kind::Reject => MetadataMessage::Reject { piece },
            _ => {
                let (data, total_size) = (self.metadata.clone(), self.metadata.len() as u32);
                MetadataMessage::Data { piece, total_size, data }
            }
        };
        self.send(conn, Message::Extended { id, payload: answer.encode().into() });
    }

    pub(super) fn reject_bittorrent(&mut self, conn: ConnId, request: BlockRequest) {
        self.send(conn, Message::Reject(request));
    }

    pub(super) fn flood_bittorrent(&mut self, conn: ConnId) {
        for _ in 0..self.flood {
            let (piece, theirs) =
                (self.any_piece(), self.lines.get(&conn).map(|line| &line.theirs));
            let request = BlockRequest { piece, offset: 0, length: 16384 };
            let ut_metadata = theirs.and_then(|theirs| theirs.ut_metadata);
            let is_on = self.flip(conn);
            let message = match self.kind {
                Kind::FlapInterest if is_on => Message::Interested,
                Kind::FlapInterest => Message::NotInterested,
                Kind::FlapChoke if is_on => Message::Choke,
                Kind::FlapChoke => Message::Unchoke,
                Kind::HaveFlood => Message::Have(piece),
                Kind::RequestFlood => Message::Request(request),
                Kind::CancelFlood => Message::Cancel(request),
                Kind::ExtendedFlood => {
                    let handshake = ExtensionHandshake {
                        ut_pex: Some(self.rng.u8(1..)),
                        ..ExtensionHandshake::default()
                    };
                    Message::Extended { id: 0, payload: handshake.encode().into() }
                }
                Kind::MetadataRequests => {
                    let Some(id) = ut_metadata else { return };
                    let payload = MetadataMessage::Request { piece: 0 }.encode().into();
                    Message::Extended { id, payload }
                }
                _ => return self.trickle_bittorrent(conn),
            };
            self.send(conn, message);
        }
    }

    /// What is sent once in a tick.
    fn trickle_bittorrent(&mut self, conn: ConnId) {
        match self.kind {
            Kind::PexFlood => {
                let id = self.lines.get(&conn).and_then(|line| line.theirs.ut_pex);
                let Some(id) = id else { return };
                let added = (0..PEX_ADDRESSES).map(|_| self.bogus_address()).collect();
                let payload = PexMessage { added, dropped: Vec::new() }.encode().into();
                self.send(conn, Message::Extended { id, payload });
            }
            Kind::OutOfRange => {
                let pieces = self.geometry.pieces();
                let beyond = BlockRequest { piece: pieces, offset: u32::MAX, length: u32::MAX };
                let message = match self.rng.u8(..4) {
                    0 => Message::Have(pieces),
                    1 => Message::Request(beyond),
                    2 => Message::AllowedFast(u32::MAX),
                    _ => Message::Reject(beyond),
                };
                self.send(conn, message);
            }
            Kind::Unsolicited => {
                let piece = self.any_piece();
                if piece < self.geometry.pieces() {
                    let length = self.geometry.length_of(piece).min(16384);
                    let request = BlockRequest { piece, offset: 0, length };
                    self.actions.push(Action::Block { conn, request, corrupt: true });
                }
            }
            _ => {}
        }
    }
}
