//! BitTorrent's messages: what is encoded decodes to the same, in any segmentation, and damage is
//! always noticed alike.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, Bytes, BytesMut};
use proptest::{array::uniform20, collection::vec, prelude::*, sample::Index};
use sow_content::InfoHash;
use sow_wire::{
    bittorrent::{
        BlockRequest, Decoded, Decoder, ExtensionHandshake, Handshake, Message, MetadataMessage,
        PeerId, PexMessage, WireError,
        extension::{MAX_METADATA, METADATA_PIECE},
        message::{MAX_CONTROL_LENGTH, block_head, encode},
    },
    compact,
};

const MAX_BLOCK: u32 = 1000;

/// What travels on a connection.
#[derive(Debug, Clone, PartialEq)]
enum Sent {
    Message(Message),
    Block(BlockRequest, Vec<u8>),
    Unknown(u8, Vec<u8>),
}

impl Sent {
    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Message(message) => encode(message, out),
            Self::Block(block, payload) => {
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
            Sent::Block(BlockRequest { piece, offset, length: payload.len() as u32 }, payload)
        },
    );
    let unknown = (prop_oneof![10u8..13, 18u8..20, 21u8..], vec(any::<u8>(), 0..100));
    prop_oneof![
        4 => messages().prop_map(Sent::Message),
        1 => block,
        1 => unknown.prop_map(|(id, body)| Sent::Unknown(id, body)),
    ]
}

/// What a socket's owner does: reads in segments of the given lengths (the last one takes the
/// rest), decodes whatever is there, and takes payload off the stream itself. Gives what came, and
/// how the stream ended.
fn receive(stream: &[u8], segments: &[usize]) -> (Vec<Sent>, Option<WireError>) {
    let mut decoder = Decoder::new(MAX_BLOCK);
    let (mut buffer, mut came) = (BytesMut::new(), Vec::new());
    let mut due: Option<(BlockRequest, usize)> = None;
    let mut rest = stream;
    for length in segments.iter().copied().chain([stream.len()]) {
        let (segment, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        buffer.extend_from_slice(segment);
        loop {
            if let Some((block, left)) = due.take() {
                let taken = left.min(buffer.len());
                let Some(Sent::Block(_, payload)) = came.last_mut() else { unreachable!() };
                payload.extend_from_slice(&buffer[..taken]);
                buffer.advance(taken);
                if taken < left {
                    due = Some((block, left - taken));
                    break;
                }
            }
            match decoder.decode(&mut buffer) {
                Ok(None) => break,
                Ok(Some(Decoded::Message(message))) => came.push(Sent::Message(message)),
                Ok(Some(Decoded::Block(block))) => {
                    came.push(Sent::Block(block, Vec::new()));
                    due = Some((block, block.length as usize));
                }
                Err(error) => return (came, Some(error)),
            }
        }
        assert!(due.is_none() || buffer.is_empty());
        assert!(buffer.len() < MAX_CONTROL_LENGTH as usize + 4);
    }
    (came, None)
}

fn addrs() -> impl Strategy<Value = SocketAddr> {
    let ips = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from)
    ];
    (ips, any::<u16>())
        .prop_map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port))
        .prop_filter("nobody can dial it", |addr| compact::is_dialable(*addr))
}

/// Up to 50 addresses, in the order in which they travel: IPv4 first.
fn addr_lists() -> impl Strategy<Value = Vec<SocketAddr>> {
    vec(addrs(), 0..=50).prop_map(|mut addrs| {
        addrs.sort_by_key(SocketAddr::is_ipv6);
        addrs
    })
}

fn extension_handshakes() -> impl Strategy<Value = ExtensionHandshake> {
    let ids = || proptest::option::of(1u8..);
    (
        (ids(), ids(), proptest::option::of(1u16..), proptest::option::of("\\PC{1,64}")),
        (
            any::<Option<u32>>(),
            proptest::option::of(1..=MAX_METADATA),
            any::<Option<u32>>(),
            any::<bool>(),
        ),
    )
        .prop_map(|((ut_metadata, ut_pex, listen_port, client), more)| {
            let (request_queue, metadata_size, max_block, upload_only) = more;
            ExtensionHandshake {
                ut_metadata,
                ut_pex,
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
    let pieces = || 0..MAX_METADATA / METADATA_PIECE;
    let data =
        (1..=MAX_METADATA, any::<Index>(), any::<u8>()).prop_map(|(total_size, piece, byte)| {
            let piece = piece.index(total_size.div_ceil(METADATA_PIECE) as usize) as u32;
            let length = (total_size - piece * METADATA_PIECE).min(METADATA_PIECE);
            MetadataMessage::Data { piece, total_size, data: vec![byte; length as usize].into() }
        });
    prop_oneof![
        pieces().prop_map(|piece| MetadataMessage::Request { piece }),
        pieces().prop_map(|piece| MetadataMessage::Reject { piece }),
        data,
    ]
}

proptest! {
    #[test]
    fn a_handshake_goes_and_comes(
        hash in uniform20(any::<u8>()), id in uniform20(any::<u8>()), fast in any::<bool>(), extended in any::<bool>(),
    ) {
        let handshake = Handshake { info_hash: InfoHash(hash), peer_id: PeerId(id), fast, extended };
        prop_assert_eq!(Handshake::decode(&handshake.encode()), Ok(handshake));
    }

    #[test]
    fn every_message_goes_and_comes_in_any_segmentation(
        sent in vec(sent(), 0..12), segments in vec(0usize..40, 0..60),
    ) {
        let mut stream = BytesMut::new();
        sent.iter().for_each(|sent| sent.put(&mut stream));
        let known: Vec<_> = sent.into_iter().filter(|sent| !matches!(sent, Sent::Unknown(..))).collect();
        prop_assert_eq!(receive(&stream, &[]), (known.clone(), None));
        prop_assert_eq!(receive(&stream, &segments), (known.clone(), None));
        prop_assert_eq!(receive(&stream, &vec![1; stream.len()]), (known, None));
    }

    #[test]
    fn damage_is_noticed_alike_in_any_segmentation(
        sent in vec(sent(), 1..8), at in any::<Index>(), byte in any::<u8>(), segments in vec(0usize..40, 0..60),
    ) {
        let mut stream = BytesMut::new();
        sent.iter().for_each(|sent| sent.put(&mut stream));
        let at = at.index(stream.len());
        stream[at] = byte;
        let whole = receive(&stream, &[]);
        prop_assert_eq!(&receive(&stream, &segments), &whole);
        prop_assert_eq!(receive(&stream, &vec![1; stream.len()]), whole);
    }

    #[test]
    fn random_bytes_are_taken_alike_in_any_segmentation(
        stream in vec(prop_oneof![4 => 0u8..=20, 1 => any::<u8>()], 0..200), segments in vec(0usize..9, 0..60),
    ) {
        prop_assert_eq!(receive(&stream, &segments), receive(&stream, &[]));
    }

    #[test]
    fn an_extension_handshake_goes_and_comes(handshake in extension_handshakes()) {
        prop_assert_eq!(ExtensionHandshake::decode(&handshake.encode()), Ok(handshake));
    }

    #[test]
    fn a_metadata_message_goes_and_comes(message in metadata_messages()) {
        let body = Bytes::from(message.encode());
        let read = MetadataMessage::decode(&body);
        if let Ok(MetadataMessage::Data { data, .. }) = &read {
            prop_assert!(body.as_ptr_range().contains(&data.as_ptr()), "the data were copied");
        }
        prop_assert_eq!(read, Ok(message));
    }

    #[test]
    fn a_peer_exchange_goes_and_comes(added in addr_lists(), dropped in addr_lists()) {
        let message = PexMessage { added, dropped };
        prop_assert_eq!(PexMessage::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn a_damaged_extension_message_is_refused_or_consistent(
        handshake in extension_handshakes(), added in addr_lists(), at in any::<Index>(), byte in any::<u8>(),
    ) {
        let damaged = |mut body: Vec<u8>| {
            let at = at.index(body.len());
            body[at] = byte;
            body
        };
        if let Ok(read) = ExtensionHandshake::decode(&damaged(handshake.encode())) {
            prop_assert_eq!(ExtensionHandshake::decode(&read.encode()), Ok(read));
        }
        if let Ok(mut read) = PexMessage::decode(&damaged(PexMessage { added, dropped: vec![] }.encode())) {
            read.added.sort_by_key(SocketAddr::is_ipv6);
            prop_assert_eq!(PexMessage::decode(&read.encode()), Ok(read));
        }
    }
}
