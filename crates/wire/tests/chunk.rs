//! Messages of the `chunk` protocol: what is encoded in either spelling decodes to the same, the
//! outcome does not depend on the segmentation, and lists for the original programs fit their
//! limit.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use proptest::{array::uniform16, collection::vec, prelude::*, sample::Index};
use sow_wire::{
    chunk::{
        ChunkError, Decoded, Decoder, ErrorId, MAX_ERROR_TEXT, MAX_HEAD, Message,
        ORIGINAL_MESSAGE_LIMIT, Spelling, data_head, encode, fitting_ids, fitting_peers,
    },
    compact,
    testing::{self, Item, same_in_any_segmentation},
};

/// A message, or the offset and payload of a `DATA`.
type Received = testing::Received<Message, u64>;

const MAX_DATA: u32 = 500;

fn peers() -> impl Strategy<Value = SocketAddr> {
    let ips = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from)
    ];
    (ips, any::<u16>())
        .prop_map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port))
        .prop_filter("not dialable", |peer| compact::is_dialable(*peer))
}

fn server_hellos() -> impl Strategy<Value = Message> {
    (0..=i64::MAX as u64, 1..=u64::from(u32::MAX), vec(peers(), 0..20)).prop_map(
        |(file_size, chunk_size, peers)| Message::ServerHello { file_size, chunk_size, peers },
    )
}

/// Errors whose text has no letter of an op.
fn errors() -> impl Strategy<Value = Message> {
    let ids = proptest::sample::select(vec![
        ErrorId::UnknownCommand,
        ErrorId::OffsetOverflow,
        ErrorId::ChunkUndownloaded,
        ErrorId::ChecksumNotFit,
        ErrorId::Other,
    ]);
    (ids, "[a-z0-9 ~é漢,.]{0,60}").prop_map(|(id, text)| Message::Error { id, text })
}

fn messages() -> impl Strategy<Value = Message> {
    prop_oneof![
        proptest::sample::select(vec![Message::PeerHello, Message::ListRequest]),
        any::<u16>().prop_map(|port| Message::Hello { port }),
        server_hellos(),
        vec(any::<u32>(), 0..80).prop_map(Message::List),
        vec(0u32..200, 0..80).prop_map(Message::List),
        any::<i64>().prop_map(Message::Request),
        uniform16(any::<u8>()).prop_map(Message::Check),
        errors(),
    ]
}

fn sent() -> impl Strategy<Value = Received> {
    let data = (0..=i64::MAX as u64, vec(any::<u8>(), 1..=MAX_DATA as usize));
    prop_oneof![
        4 => messages().prop_map(Received::Message),
        1 => data.prop_map(|(offset, payload)| Received::Payload(offset, payload)),
    ]
}

fn spellings() -> impl Strategy<Value = Spelling> {
    proptest::sample::select(vec![Spelling::Documented, Spelling::Original])
}

fn stream_of(sent: &[Received], spelling: Spelling) -> BytesMut {
    let mut stream = BytesMut::new();
    for sent in sent {
        match sent {
            Received::Message(message) => encode(message, spelling, &mut stream),
            Received::Payload(offset, payload) => {
                stream.extend_from_slice(&data_head(*offset, payload.len() as u32));
                stream.extend_from_slice(payload);
            }
        }
    }
    stream
}

type Outcome = (Vec<Received>, Option<ChunkError>);

fn receive(stream: &[u8], segments: &[usize]) -> Outcome {
    let mut decoder = Decoder::new(MAX_DATA);
    let decode = |buffer: &mut BytesMut| {
        let decoded = decoder.decode(buffer)?;
        Ok(decoded.map(|decoded| match decoded {
            Decoded::Message(message) => Item::Message(message),
            Decoded::Data { offset, size } => {
                assert!((1..=MAX_DATA).contains(&size));
                assert!(offset.checked_add(size.into()).is_some());
                Item::Payload { head: offset, length: size }
            }
        }))
    };
    testing::receive(stream, segments, decode, |_| {}).outcome()
}

/// The outcome without error texts, which are shorter when they arrive in several segments.
fn receive_without_texts(stream: &[u8], segments: &[usize]) -> Outcome {
    without_texts(receive(stream, segments))
}

fn without_texts((received, error): Outcome) -> Outcome {
    let without_text = |received| match received {
        Received::Message(Message::Error { id, .. }) => {
            Received::Message(Message::Error { id, text: String::new() })
        }
        received => received,
    };
    (received.into_iter().map(without_text).collect(), error)
}

proptest! {
    #[test]
    fn every_message_round_trips_in_any_segmentation(
        sent in vec(sent(), 0..12), spelling in spellings(), segments in vec(0usize..40, 0..60),
    ) {
        let stream = stream_of(&sent, spelling);
        prop_assert_eq!(receive(&stream, &[]), (sent.clone(), None));
        let outcome = same_in_any_segmentation(&stream, &segments, receive_without_texts);
        prop_assert_eq!(outcome, without_texts((sent, None)));
    }

    #[test]
    fn damaged_messages_decode_alike_in_any_segmentation(
        sent in vec(sent(), 1..8), spelling in spellings(), at in any::<Index>(),
        byte in prop_oneof![
            any::<u8>(),
            proptest::sample::select(b"0-[]{}\", \r\nCDE\\".to_vec()),
        ],
        segments in vec(0usize..40, 0..60),
    ) {
        let mut stream = stream_of(&sent, spelling);
        let at = at.index(stream.len());
        stream[at] = byte;
        same_in_any_segmentation(&stream, &segments, receive_without_texts);
    }

    #[test]
    fn words_in_any_order_decode_alike_in_any_segmentation(
        words in vec(proptest::sample::select(vec![
            "CHEL", "SHEL", "PHEL", "CLREQ", "CLRSP", "CLRES", "DREQ", "DATA", "CHECK", "ERROR",
            "CHE", "X", " ", "\r\n", "\r\n", "\r", "\n", "0", "1", "500", "501", "-1", "4294967296",
            "99999999999999999999", "[", "]", "[]", "{", "}", "\"", "\\", ",",
            "[\"10.0.0.2\", 51000]", "[0, 5]", "1e999", "\u{1}", "0123456789abcdef0123456789abcdef",
        ]), 0..40),
        segments in vec(0usize..9, 0..60),
    ) {
        let stream = words.concat().into_bytes();
        same_in_any_segmentation(&stream, &segments, receive_without_texts);
    }

    #[test]
    fn a_head_is_parsed_or_rejected_and_its_excerpt_is_short(
        head in "[A-Z]{0,5}[ -~\\PC\u{1}]{0,300}",
    ) {
        let (received, error) = receive(format!("{head}\r\n").as_bytes(), &[]);
        prop_assert!(head.len() <= MAX_HEAD || error == Some(ChunkError::HeadTooLong));
        for received in received {
            match received {
                Received::Message(Message::Unknown { head }) => {
                    prop_assert!(head.len() <= 80 && !head.chars().any(char::is_control));
                }
                Received::Message(Message::Error { text, .. }) => {
                    prop_assert!(text.len() <= MAX_ERROR_TEXT);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn requests_of_any_number_are_clamped_to_64_bits(number in "-?[0-9]{1,40}") {
        let outcome = receive(format!("DREQ {number}\r\n").as_bytes(), &[]);
        let limit = if number.starts_with('-') { i128::MIN } else { i128::MAX };
        let exact = number.parse::<i128>().unwrap_or(limit);
        let clamped = exact.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        prop_assert_eq!(outcome, (vec![Received::Message(Message::Request(clamped))], None));
    }

    #[test]
    fn fitting_ids_use_the_limit_fully(
        ids in vec(prop_oneof![0u32..300, any::<u32>()], 0..400),
        limit in 11usize..=ORIGINAL_MESSAGE_LIMIT,
    ) {
        let length = |ids: &[u32]| {
            let mut out = BytesMut::new();
            encode(&Message::List(ids.to_vec()), Spelling::Original, &mut out);
            out.len()
        };
        let fitting = fitting_ids(ids.iter().copied(), limit);
        prop_assert!(ids.starts_with(&fitting));
        prop_assert!(length(&fitting) <= limit);
        prop_assert!(fitting.len() == ids.len() || length(&ids[..=fitting.len()]) > limit);
    }

    #[test]
    fn fitting_peers_use_the_limit_fully(
        peers in vec(peers(), 0..80), sizes in (any::<u64>(), any::<u64>()),
        limit in 60usize..=ORIGINAL_MESSAGE_LIMIT,
    ) {
        let (file_size, chunk_size) = sizes;
        let length = |peers: &[SocketAddr]| {
            let mut out = BytesMut::new();
            let message = Message::ServerHello { file_size, chunk_size, peers: peers.to_vec() };
            encode(&message, Spelling::Original, &mut out);
            out.len()
        };
        let fitting = fitting_peers(file_size, chunk_size, peers.iter().copied(), limit);
        prop_assert!(peers.starts_with(&fitting));
        prop_assert!(length(&fitting) <= limit);
        prop_assert!(fitting.len() == peers.len() || length(&peers[..=fitting.len()]) > limit);
    }
}
