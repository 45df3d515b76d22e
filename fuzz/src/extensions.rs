//! The three extension messages: refused, or encoded such that they decode to the same; memory
//! bounded.

use std::net::SocketAddr;

use bytes::Bytes;
use sow_wire::{
    bittorrent::{
        ExtensionHandshake, MetadataMessage, PexMessage,
        extension::{MAX_CLIENT, MAX_METADATA, MAX_PEX, METADATA_PIECE},
    },
    compact::is_dialable,
};

use crate::memory;

/// A tree of 4,096 values, twice that while a list grows, and what sorting a dictionary takes.
const MEMORY: usize = 1 << 20;

/// Decodes arbitrary bytes as each of the messages.
pub fn extensions(data: &[u8]) {
    if let Ok(handshake) = memory::within(MEMORY, || ExtensionHandshake::decode(data)) {
        assert!(
            handshake.client.as_ref().is_none_or(|client| client.chars().count() <= MAX_CLIENT)
        );
        assert!(handshake.metadata_size.is_none_or(|size| (1..=MAX_METADATA).contains(&size)));
        assert!(![handshake.ut_metadata, handshake.ut_pex].contains(&Some(0)));
        assert_eq!(ExtensionHandshake::decode(&handshake.encode()), Ok(handshake));
    }

    let body = Bytes::copy_from_slice(data);
    if let Ok(message) = memory::within(MEMORY, || MetadataMessage::decode(&body)) {
        if let MetadataMessage::Data { piece, total_size, data } = &message {
            let from = piece * METADATA_PIECE;
            let to = (from + METADATA_PIECE).min(*total_size);
            assert_eq!(data.len(), (to - from) as usize);
            assert!(body.ends_with(data) && !data.is_empty());
        }
        assert_eq!(MetadataMessage::decode(&message.encode().into()), Ok(message));
    }

    if let Ok(mut message) = memory::within(MEMORY, || PexMessage::decode(data)) {
        for list in [&mut message.added, &mut message.dropped] {
            assert!(list.len() <= MAX_PEX && list.iter().all(|addr| is_dialable(*addr)));
            // An IPv4 address may come as an IPv6 one, and does not leave so.
            list.sort_by_key(SocketAddr::is_ipv6);
        }
        assert_eq!(PexMessage::decode(&message.encode()), Ok(message));
    }
}
