//! Bytes as messages of each dialect: mostly such as peers send, sometimes absurd.

use bytes::Bytes;
use sow_engine::{Dialect, Message as AnyMessage};
use sow_wire::{
    bittorrent::{ExtensionHandshake, Message, MetadataMessage, Parent, PexMessage, RelayMessage},
    chunk, json_torrent,
};

use super::{operations::Operations, scene::METADATA};

impl Operations<'_> {
    /// A message of a peer. `pieces`: how many there are.
    pub(super) fn message(&mut self, dialect: Dialect, pieces: u32) -> AnyMessage {
        match dialect {
            Dialect::BitTorrent => self.bittorrent(pieces).into(),
            Dialect::Chunk => AnyMessage::Chunk(self.chunk(pieces)),
            Dialect::JsonTorrent => AnyMessage::JsonTorrent(self.json_torrent(pieces)),
        }
    }

    fn bittorrent(&mut self, pieces: u32) -> Message {
        match self.byte() % 21 {
            0 => Message::KeepAlive,
            1 => Message::Choke,
            2 => Message::Unchoke,
            3 => Message::Interested,
            4 => Message::NotInterested,
            5 => Message::Have(self.number()),
            6 => Message::Bitfield(self.bits(pieces)),
            7 | 8 => Message::Request(self.block()),
            9 => Message::Cancel(self.block()),
            10 => Message::Port(self.short()),
            11 => Message::Suggest(self.number()),
            12 => Message::HaveAll,
            13 => Message::HaveNone,
            14 => Message::Reject(self.block()),
            15 => Message::AllowedFast(self.number()),
            16 => {
                let handshake = ExtensionHandshake {
                    ut_metadata: Some(self.byte()),
                    ut_pex: Some(self.byte()),
                    listen_port: Some(self.short()),
                    metadata_size: Some(match self.byte() {
                        255 => u32::MAX,
                        254 => self.number(),
                        _ => METADATA.len() as u32,
                    }),
                    max_block: Some(self.number()),
                    request_queue: Some(self.number()),
                    sow_relay: Some(self.byte()),
                    joins_relay: self.byte() % 2 == 0,
                    ..ExtensionHandshake::default()
                };
                Message::Extended { id: 0, payload: handshake.encode().into() }
            }
            17 => Message::Extended { id: self.byte() % 4, payload: self.metadata().into() },
            18 => {
                let added = (0..self.byte() % 60).map(|_| self.address()).collect();
                let payload = PexMessage { added, dropped: Vec::new() }.encode();
                Message::Extended { id: self.byte() % 4, payload: payload.into() }
            }
            19 => Message::Extended { id: 5, payload: self.relay().encode().into() },
            _ => {
                let length = self.byte() % 16;
                let payload: Vec<u8> = (0..length).map(|_| self.byte()).collect();
                Message::Extended { id: self.byte() % 6, payload: payload.into() }
            }
        }
    }

    fn relay(&mut self) -> RelayMessage {
        match self.byte() % 4 {
            0 => RelayMessage::Orphaned {
                stripe: self.byte() % 5,
                is_at_fault: self.byte() % 2 == 0,
            },
            count => RelayMessage::Parents((0..count).map(|_| self.parent()).collect()),
        }
    }

    fn parent(&mut self) -> Parent {
        match self.byte() % 3 {
            0 => Parent::Unassigned,
            1 => Parent::Sender,
            _ => Parent::Peer(self.address()),
        }
    }

    fn metadata(&mut self) -> Vec<u8> {
        let piece = self.number();
        let total_size = METADATA.len() as u32;
        let message = match self.byte() % 4 {
            0 => MetadataMessage::Request { piece },
            1 => MetadataMessage::Reject { piece },
            2 => MetadataMessage::Data { piece, total_size, data: Bytes::from_static(METADATA) },
            _ => {
                let data = Bytes::from_static(&[9; METADATA.len()]);
                MetadataMessage::Data { piece, total_size, data }
            }
        };
        message.encode()
    }

    /// A bitfield, mostly of the right length.
    fn bits(&mut self, pieces: u32) -> Bytes {
        let length = pieces.min(4096).div_ceil(8) + u32::from(self.byte() == 255);
        (0..length).map(|_| self.byte()).collect::<Vec<u8>>().into()
    }

    fn chunk(&mut self, pieces: u32) -> chunk::Message {
        match self.byte() % 10 {
            0 => chunk::Message::Hello { port: self.short() },
            1 => {
                let mut file_size = u64::from(self.short());
                let mut chunk_size = u64::from(self.number());
                if self.byte() < 200 {
                    (file_size, chunk_size) = (150_001, 24 << 10);
                }
                let peers = (0..self.byte() % 8).map(|_| self.address()).collect();
                chunk::Message::ServerHello { file_size, chunk_size, peers }
            }
            2 => chunk::Message::PeerHello,
            3 => chunk::Message::ListRequest,
            4 if self.byte() < 100 => chunk::Message::List((0..pieces.min(4096)).collect()),
            4 => {
                let ids = (0..self.byte() % 16).map(|_| self.number()).collect();
                chunk::Message::List(ids)
            }
            5 | 6 => {
                chunk::Message::Request(i64::from(self.number()) - i64::from(self.byte() / 255))
            }
            7 => chunk::Message::Check([self.byte() & 1; 16]),
            8 => {
                let ids = [
                    chunk::ErrorId::UnknownCommand,
                    chunk::ErrorId::OffsetOverflow,
                    chunk::ErrorId::ChunkUndownloaded,
                    chunk::ErrorId::ChecksumNotFit,
                    chunk::ErrorId::Other,
                ];
                let id = ids[usize::from(self.byte() % 5)];
                chunk::Message::Error { id, text: String::new() }
            }
            _ => chunk::Message::Unknown { head: "WHAT".to_owned() },
        }
    }

    fn json_torrent(&mut self, pieces: u32) -> json_torrent::Message {
        match self.byte() % 9 {
            0 => json_torrent::Message::KeepAlive,
            1 => json_torrent::Message::Choke,
            2 => json_torrent::Message::Unchoke,
            3 => json_torrent::Message::Interested,
            4 => json_torrent::Message::NotInterested,
            5 => json_torrent::Message::Have(self.number()),
            6 => {
                let length = pieces.min(4096) + u32::from(self.byte() == 255);
                let bytes: Vec<u8> = (0..length).map(|_| self.byte() & 1).collect();
                json_torrent::Message::Bitfield(bytes.into())
            }
            7 => json_torrent::Message::Request(self.number()),
            _ => json_torrent::Message::ServerClose,
        }
    }
}
