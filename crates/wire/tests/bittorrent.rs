//! BitTorrent messages: what is encoded decodes to the same, and the outcome does not depend on the
//! segmentation, for valid and for damaged streams.

use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};
use proptest::{array::uniform20, collection::vec, prelude::*, sample::Index};
use sow_content::InfoHash;
use sow_wire::{
    bittorrent::{
        BlockRequest, Decoded, Decoder, ExtensionHandshake, Handshake, Message, MetadataMessage,
        PeerId, PexMessage, WireError,
        extension::{MAX_METADATA_SIZE, METADATA_PIECE_LENGTH},
        message::{MAX_CONTROL_LENGTH, block_head, encode},
    },
    compact,
    testing::{self, Item, same_in_any_segmentation},
};

type Received = testing::Received<Message, BlockRequest>;

const MAX_BLOCK: u32 = 1000;

/// An item that is sent over a connection.
#[derive(Debug, Clone)]
enum Sent {
    Known(Received),
    Unknown(u8, Vec<u8>),
}

impl Sent {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Known(Received::Message(message)) => encode(message, out),
            Self::Known(Received::Payload(block, payload)) => {
                out.extend_from_slice(&block_head(*block));
                out.extend_from_slice(payload);
            }
            Self::Unknown(id, body) => {
                out.extend_from_slice(&(1 + body.len() as u32).to_be_bytes());
                out.extend_from_slice(&[*id]);
                out.extend_from_slice(body);
            }
        }
    }
}

fn requests() -> impl Strategy<Value = BlockRequest> {
    any::<(u32, u32, u32)>().prop_map(|(piece, offset, length)| BlockRequest {
        piece,
        offset,
        length,
    })
}

fn bodies() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..50).prop_map(Bytes::from)
}

fn messages() -> impl Strategy<Value = Message> {
    prop_oneof![
        proptest::sample::select(vec![
            Message::KeepAlive,
            Message::Choke,
            Message::Unchoke,
            Message::Interested,
            Message::NotInterested,
            Message::HaveAll,
            Message::HaveNone,
        ]),
        any::<u32>().prop_map(Message::Have),
        any::<u32>().prop_map(Message::Suggest),
        any::<u32>().prop_map(Message::AllowedFast),
        any::<u16>().prop_map(Message::Port),
        bodies().prop_map(Message::Bitfield),
        requests().prop_map(Message::Request),
        requests().prop_map(Message::Cancel),
        requests().prop_map(Message::Reject),
        (any::<u8>(), bodies()).prop_map(|(id, payload)| Message::Extended { id, payload }),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let block = (any::<(u32, u32)>(), vec(any::<u8>(), 1..=MAX_BLOCK as usize)).prop_map(
        |((piece, offset), payload)| {
            let block = BlockRequest { piece, offset, length: payload.len() as u32 };
            Sent::Known(Received::Payload(block, payload))
        },
    );
    let unknown = (prop_oneof![10u8..13, 18u8..20, 21u8..], vec(any::<u8>(), 0..100));
    prop_oneof![
        4 => messages().prop_map(|message| Sent::Known(Received::Message(message))),
        1 => block,
        1 => unknown.prop_map(|(id, body)| Sent::Unknown(id, body)),
    ]
}

fn stream_of(sent: &[Sent]) -> BytesMut {
    let mut stream = BytesMut::new();
    sent.iter().for_each(|sent| sent.encode(&mut stream));
    stream
}

fn receive(stream: &[u8], segments: &[usize]) -> (Vec<Received>, Option<WireError>) {
    let mut decoder = Decoder::new(MAX_BLOCK);
    let decode = |buffer: &mut BytesMut| {
        let decoded = decoder.decode(buffer)?;
        Ok(decoded.map(|decoded| match decoded {
            Decoded::Message(message) => Item::Message(message),
            Decoded::Block(block) => Item::Payload { head: block, length: block.length },
        }))
    };
    let check_buffered = |buffer: &[u8]| assert!(buffer.len() < MAX_CONTROL_LENGTH as usize + 4);
    testing::receive(stream, segments, decode, check_buffered).outcome()
}

fn addrs() -> impl Strategy<Value = SocketAddr> {
    let ips = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from)
    ];
    (ips, any::<u16>())
        .prop_map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port))
        .prop_filter("not dialable", |addr| compact::is_dialable(*addr))
}

/// Up to 50 addresses, IPv4 first as on the wire.
fn addr_lists() -> impl Strategy<Value = Vec<SocketAddr>> {
    vec(addrs(), 0..=50).prop_map(|mut addrs| {
        addrs.sort_by_key(SocketAddr::is_ipv6);
        addrs
    })
}

fn extension_handshakes() -> impl Strategy<Value = ExtensionHandshake> {
    let ids = || proptest::option::of(1u8..);
    (
        (ids(), ids(), proptest::option::of(1u16..), proptest::option::of("[!-~ä中🌱]{1,64}")),
        (
            any::<Option<u32>>(),
            proptest::option::of(1..=MAX_METADATA_SIZE),
            any::<Option<u32>>(),
            any::<bool>(),
        ),
    )
        .prop_map(|((ut_metadata, ut_pex, listen_port, client), more)| {
            let sow_withdraw = ut_pex.and_then(|id: u8| id.checked_add(1));
            let sow_receiver = ut_metadata.and_then(|id: u8| id.checked_add(1));
            let (request_queue, metadata_size, max_block, upload_only) = more;
            ExtensionHandshake {
                ut_metadata,
                ut_pex,
                sow_withdraw,
                sow_receiver,
                sow_relay: sow_receiver.and_then(|id| id.checked_add(1)),
                joins_relay: upload_only,
                listen_port,
                client,
                request_queue,
                metadata_size,
                max_block,
                upload_only,
            }
        })
}

fn metadata_messages() -> impl Strategy<Value = MetadataMessage> {
    const PIECE: u32 = METADATA_PIECE_LENGTH;
    let pieces = || 0..MAX_METADATA_SIZE / PIECE;
    let data = (1..=MAX_METADATA_SIZE, any::<Index>(), any::<u8>()).prop_map(
        |(total_size, piece, byte)| {
            let piece = piece.index(total_size.div_ceil(PIECE) as usize) as u32;
            let length = (total_size - piece * PIECE).min(PIECE);
            MetadataMessage::Data { piece, total_size, data: vec![byte; length as usize].into() }
        },
    );
    prop_oneof![
        pieces().prop_map(|piece| MetadataMessage::Request { piece }),
        pieces().prop_map(|piece| MetadataMessage::Reject { piece }),
        data,
    ]
}

proptest! {
    #[test]
    fn every_handshake_round_trips(
        hash in uniform20(any::<u8>()), id in uniform20(any::<u8>()), fast in any::<bool>(),
        extended in any::<bool>(),
    ) {
        let (info_hash, peer_id) = (InfoHash(hash), PeerId(id));
        let handshake = Handshake { info_hash, peer_id, fast, extended };
        prop_assert_eq!(Handshake::decode(&handshake.encode()), Ok(handshake));
    }

    #[test]
    fn every_message_round_trips_in_any_segmentation(
        sent in vec(sent(), 0..12), segments in vec(0usize..40, 0..60),
    ) {
        let stream = stream_of(&sent);
        let known = sent.into_iter().filter_map(|sent| match sent {
            Sent::Known(received) => Some(received),
            Sent::Unknown(..) => None,
        });
        let outcome = same_in_any_segmentation(&stream, &segments, receive);
        prop_assert_eq!(outcome, (known.collect(), None));
    }

    #[test]
    fn damaged_messages_decode_alike_in_any_segmentation(
        sent in vec(sent(), 1..8), at in any::<Index>(), byte in any::<u8>(),
        segments in vec(0usize..40, 0..60),
    ) {
        let mut stream = stream_of(&sent);
        let at = at.index(stream.len());
        stream[at] = byte;
        same_in_any_segmentation(&stream, &segments, receive);
    }

    #[test]
    fn random_bytes_decode_alike_in_any_segmentation(
        stream in vec(prop_oneof![4 => 0u8..=20, 1 => any::<u8>()], 0..200),
        segments in vec(0usize..9, 0..60),
    ) {
        same_in_any_segmentation(&stream, &segments, receive);
    }

    #[test]
    fn every_extension_handshake_round_trips(handshake in extension_handshakes()) {
        prop_assert_eq!(ExtensionHandshake::decode(&handshake.encode()), Ok(handshake));
    }

    #[test]
    fn every_metadata_message_round_trips(message in metadata_messages()) {
        let body = Bytes::from(message.encode());
        let read = MetadataMessage::decode(&body);
        if let Ok(MetadataMessage::Data { data, .. }) = &read {
            prop_assert!(body.as_ptr_range().contains(&data.as_ptr()), "the data were copied");
        }
        prop_assert_eq!(read, Ok(message));
    }

    #[test]
    fn every_pex_message_round_trips(added in addr_lists(), dropped in addr_lists()) {
        let message = PexMessage { added, dropped };
        prop_assert_eq!(PexMessage::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn a_damaged_extension_message_is_rejected_or_consistent(
        handshake in extension_handshakes(), added in addr_lists(), at in any::<Index>(),
        byte in any::<u8>(),
    ) {
        let damaged = |mut body: Vec<u8>| {
            let at = at.index(body.len());
            body[at] = byte;
            body
        };
        if let Ok(read) = ExtensionHandshake::decode(&damaged(handshake.encode())) {
            prop_assert_eq!(ExtensionHandshake::decode(&read.encode()), Ok(read));
        }
        let pex = PexMessage { added, dropped: vec![] };
        if let Ok(mut read) = PexMessage::decode(&damaged(pex.encode())) {
            read.added.sort_by_key(SocketAddr::is_ipv6);
            prop_assert_eq!(PexMessage::decode(&read.encode()), Ok(read));
        }
    }
}
