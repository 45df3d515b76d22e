//! The extension messages: rejected, or encoded such that they decode to the same, with
//! bounded memory.

use std::net::SocketAddr;

use bytes::Bytes;
use sow_wire::{
    bittorrent::{
        CopyState, ExtensionHandshake, MetadataMessage, Parent, PexMessage, ReceiverReport,
        RelayMessage, Withdrawal,
        extension::{MAX_CLIENT_NAME, MAX_FAILURE_REASON, MAX_METADATA_SIZE, MAX_PEX_PEERS,
            MAX_RECEIVER_NAME, MAX_STRIPES, MAX_WITHDRAWAL_REASON, METADATA_PIECE_LENGTH},
    },
    compact::is_dialable,
};

use crate::memory;

/// Memory for a tree of 4,096 values, twice that while a list grows, and sorting a dictionary.
const MAX_MEMORY: usize = 1 << 20;

/// Decodes arbitrary bytes as each of the messages.
pub fn extensions(data: &[u8]) {
    if let Ok(handshake) = memory::within(MAX_MEMORY, || ExtensionHandshake::decode(data)) {
        let client = handshake.client.as_deref().unwrap_or_default();
        assert!(client.chars().count() <= MAX_CLIENT_NAME);
        assert!(handshake.metadata_size.is_none_or(|size| (1..=MAX_METADATA_SIZE).contains(&size)));
        let ids = [handshake.ut_metadata, handshake.ut_pex, handshake.sow_withdraw,
            handshake.sow_receiver, handshake.sow_relay];
        assert!(!ids.contains(&Some(0)));
        assert_eq!(ExtensionHandshake::decode(&handshake.encode()), Ok(handshake));
    }

    if let Ok(message) = memory::within(MAX_MEMORY, || Withdrawal::decode(data)) {
        assert!(message.reason.len() <= MAX_WITHDRAWAL_REASON);
        assert_eq!(Withdrawal::decode(&message.encode()), Ok(message));
    }

    if let Ok(report) = memory::within(MAX_MEMORY, || ReceiverReport::decode(data)) {
        let name = report.name.as_deref().unwrap_or_default();
        assert!(name.chars().count() <= MAX_RECEIVER_NAME);
        if let CopyState::Failed { reason } = &report.state {
            assert!(reason.chars().count() <= MAX_FAILURE_REASON);
        }
        assert_eq!(ReceiverReport::decode(&report.encode()), Ok(report));
    }

    if let Ok(message) = memory::within(MAX_MEMORY, || RelayMessage::decode(data)) {
        match &message {
            RelayMessage::Parents(parents) => {
                assert!((1..=MAX_STRIPES).contains(&parents.len()));
                assert!(parents.iter().all(|parent| match parent {
                    Parent::Peer(addr) => is_dialable(*addr),
                    Parent::Unassigned | Parent::Sender => true,
                }));
            }
            RelayMessage::Orphaned { stripe, .. } => assert!(usize::from(*stripe) < MAX_STRIPES),
        }
        assert_eq!(RelayMessage::decode(&message.encode()), Ok(message));
    }

    let body = Bytes::copy_from_slice(data);
    if let Ok(message) = memory::within(MAX_MEMORY, || MetadataMessage::decode(&body)) {
        if let MetadataMessage::Data { piece, total_size, data } = &message {
            let from = piece * METADATA_PIECE_LENGTH;
            let to = (from + METADATA_PIECE_LENGTH).min(*total_size);
            assert_eq!(data.len(), (to - from) as usize);
            assert!(body.ends_with(data) && !data.is_empty());
        }
        assert_eq!(MetadataMessage::decode(&message.encode().into()), Ok(message));
    }

    if let Ok(mut message) = memory::within(MAX_MEMORY, || PexMessage::decode(data)) {
        for list in [&mut message.added, &mut message.dropped] {
            assert!(list.len() <= MAX_PEX_PEERS && list.iter().all(|addr| is_dialable(*addr)));
            // An IPv4-mapped IPv6 address is encoded as IPv4.
            list.sort_by_key(SocketAddr::is_ipv6);
        }
        assert_eq!(PexMessage::decode(&message.encode()), Ok(message));
    }
}
