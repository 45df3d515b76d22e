//! The length of a message on the wire, which the simulated links need in place of its bytes.

use sow_engine::Message;
use sow_wire::{bittorrent, chunk, json_torrent};

/// What the header of a piece message adds to a block, in bytes.
pub(crate) const BLOCK_HEADER_BYTES: u64 = 13;

/// The length of a message, in bytes; an estimate for messages of varying length.
pub(crate) fn message_length(message: &Message) -> u64 {
    use bittorrent::Message as BitTorrent;
    match message {
        Message::BitTorrent(BitTorrent::Bitfield(bytes)) => 5 + bytes.len() as u64,
        Message::BitTorrent(BitTorrent::Extended { payload, .. }) => 6 + payload.len() as u64,
        Message::BitTorrent(
            BitTorrent::Have(_) | BitTorrent::Suggest(_) | BitTorrent::AllowedFast(_),
        ) => 9,
        Message::BitTorrent(
            BitTorrent::Request(_) | BitTorrent::Cancel(_) | BitTorrent::Reject(_),
        ) => 17,
        Message::BitTorrent(_) => 5,
        Message::JsonTorrent(json_torrent::Message::Bitfield(bytes)) => 13 + bytes.len() as u64,
        Message::JsonTorrent(_) => 17,
        Message::Chunk(chunk::Message::List(ids)) => 10 + 5 * ids.len() as u64,
        Message::Chunk(chunk::Message::ServerHello { peers, .. }) => 30 + 20 * peers.len() as u64,
        Message::Chunk(_) => 20,
    }
}
