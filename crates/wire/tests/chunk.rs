//! Document 1's messages: what is encoded decodes to the same, in either spelling and any
//! segmentation; damage is always noticed alike, and lists for the original programs fit.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BytesMut};
use proptest::{array::uniform16, collection::vec, prelude::*, sample::Index};
use sow_wire::{
    chunk::{
        ChunkError, Decoded, Decoder, ErrorId, MAX_ERROR_TEXT, MAX_HEAD, Message, ORIGINAL_LIMIT,
        Spelling, data_head, encode, fitting_ids, fitting_peers,
    },
    compact,
};

const MAX_DATA: u32 = 500;

/// What travels on a connection.
#[derive(Debug, Clone, PartialEq)]
enum Sent {
    Message(Message),
    Data(u64, Vec<u8>),
}

impl Sent {
    fn put(&self, spelling: Spelling, out: &mut BytesMut) {
        match self {
            Self::Message(message) => encode(message, spelling, out),
            Self::Data(offset, payload) => {
                out.extend_from_slice(&data_head(*offset, payload.len() as u32));
                out.extend_from_slice(payload);
            }
        }
    }
}

fn peers() -> impl Strategy<Value = SocketAddr> {
    let ips = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from)
    ];
    (ips, any::<u16>())
        .prop_map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port))
        .prop_filter("nobody can dial it", |peer| compact::is_dialable(*peer))
}

fn server_hellos() -> impl Strategy<Value = Message> {
    (0..=i64::MAX as u64, 1..=u64::from(u32::MAX), vec(peers(), 0..20)).prop_map(
        |(file_size, chunk_size, peers)| Message::ServerHello { file_size, chunk_size, peers },
    )
}

/// Errors whose text has no letter of an OP's.
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

fn sent() -> impl Strategy<Value = Sent> {
    let data = (0..=i64::MAX as u64, vec(any::<u8>(), 1..=MAX_DATA as usize));
    prop_oneof![
        4 => messages().prop_map(Sent::Message),
        1 => data.prop_map(|(offset, payload)| Sent::Data(offset, payload)),
    ]
}

fn spellings() -> impl Strategy<Value = Spelling> {
    proptest::sample::select(vec![Spelling::Documented, Spelling::Original])
}

fn stream_of(sent: &[Sent], spelling: Spelling) -> BytesMut {
    let mut stream = BytesMut::new();
    sent.iter().for_each(|sent| sent.put(spelling, &mut stream));
    stream
}

/// How a stream came out.
type Came = (Vec<Sent>, Option<ChunkError>);

/// What a socket's owner does: reads in segments of the given lengths (the last one takes the
/// rest), decodes whatever is there, and takes payload off the stream itself. Gives what came, and
/// how the stream ended.
fn receive(stream: &[u8], segments: &[usize]) -> Came {
    let mut decoder = Decoder::new(MAX_DATA);
    let (mut buffer, mut came, mut due) = (BytesMut::new(), Vec::new(), 0);
    let mut rest = stream;
    for length in segments.iter().copied().chain([stream.len()]) {
        let (segment, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        buffer.extend_from_slice(segment);
        loop {
            if let (Some(Sent::Data(_, payload)), 1..) = (came.last_mut(), due) {
                let taken = buffer.len().min(due);
                payload.extend_from_slice(&buffer[..taken]);
                buffer.advance(taken);
                due -= taken;
            }
            if due > 0 {
                break;
            }
            match decoder.decode(&mut buffer) {
                Ok(None) => break,
                Ok(Some(Decoded::Message(message))) => came.push(Sent::Message(message)),
                Ok(Some(Decoded::Data { offset, size })) => {
                    assert!((1..=MAX_DATA).contains(&size));
                    assert!(offset.checked_add(size.into()).is_some());
                    came.push(Sent::Data(offset, Vec::new()));
                    due = size as usize;
                }
                Err(error) => return (came, Some(error)),
            }
        }
    }
    (came, None)
}

/// Without the texts of errors, which say less when they come in several segments.
fn without_texts((came, error): Came) -> Came {
    let without = |sent| match sent {
        Sent::Message(Message::Error { id, .. }) => {
            Sent::Message(Message::Error { id, text: String::new() })
        }
        sent => sent,
    };
    (came.into_iter().map(without).collect(), error)
}

proptest! {
    #[test]
    fn every_message_goes_and_comes_in_any_segmentation(
        sent in vec(sent(), 0..12), spelling in spellings(), segments in vec(0usize..40, 0..60),
    ) {
        let stream = stream_of(&sent, spelling);
        prop_assert_eq!(receive(&stream, &[]), (sent.clone(), None));
        let want = without_texts((sent, None));
        prop_assert_eq!(without_texts(receive(&stream, &segments)), want.clone());
        prop_assert_eq!(without_texts(receive(&stream, &vec![1; stream.len()])), want);
    }

    #[test]
    fn damage_is_noticed_alike_in_any_segmentation(
        sent in vec(sent(), 1..8), spelling in spellings(), at in any::<Index>(),
        byte in prop_oneof![any::<u8>(), proptest::sample::select(b"0-[]{}\", \r\nCDE\\".to_vec())],
        segments in vec(0usize..40, 0..60),
    ) {
        let mut stream = stream_of(&sent, spelling);
        let at = at.index(stream.len());
        stream[at] = byte;
        let whole = without_texts(receive(&stream, &[]));
        prop_assert_eq!(without_texts(receive(&stream, &segments)), whole.clone());
        prop_assert_eq!(without_texts(receive(&stream, &vec![1; stream.len()])), whole);
    }

    #[test]
    fn words_in_any_order_are_taken_alike_in_any_segmentation(
        words in vec(proptest::sample::select(vec![
            "CHEL", "SHEL", "PHEL", "CLREQ", "CLRSP", "CLRES", "DREQ", "DATA", "CHECK", "ERROR", "CHE", "X", " ", "\r\n",
            "\r\n", "\r", "\n", "0", "1", "500", "501", "-1", "4294967296", "99999999999999999999", "[", "]", "[]", "{", "}",
            "\"", "\\", ",", "[\"10.0.0.2\", 51000]", "[0, 5]", "1e999", "\u{1}", "0123456789abcdef0123456789abcdef",
        ]), 0..40),
        segments in vec(0usize..9, 0..60),
    ) {
        let stream = words.concat().into_bytes();
        let whole = without_texts(receive(&stream, &[]));
        prop_assert_eq!(without_texts(receive(&stream, &segments)), whole.clone());
        prop_assert_eq!(without_texts(receive(&stream, &vec![1; stream.len()])), whole);
    }

    #[test]
    fn a_head_is_read_or_refused_and_what_is_shown_of_it_is_short(head in "[A-Z]{0,5}[ -~\\PC\u{1}]{0,300}") {
        let (came, error) = receive(format!("{head}\r\n").as_bytes(), &[]);
        prop_assert!(head.len() <= MAX_HEAD || error == Some(ChunkError::HeadTooLong));
        for came in came {
            match came {
                Sent::Message(Message::Unknown { head }) => {
                    prop_assert!(head.len() <= 80 && !head.chars().any(char::is_control));
                }
                Sent::Message(Message::Error { text, .. }) => prop_assert!(text.len() <= MAX_ERROR_TEXT),
                _ => {}
            }
        }
    }

    #[test]
    fn requests_of_any_size_are_read(number in "-?[0-9]{1,40}") {
        let (came, error) = receive(format!("DREQ {number}\r\n").as_bytes(), &[]);
        let nearest = number.parse::<i128>().unwrap_or(if number.starts_with('-') { i128::MIN } else { i128::MAX });
        let nearest = nearest.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        prop_assert_eq!((came, error), (vec![Sent::Message(Message::Request(nearest))], None));
    }

    #[test]
    fn lists_for_the_original_fit_and_leave_no_room(
        ids in vec(prop_oneof![0u32..300, any::<u32>()], 0..400), limit in 11usize..=ORIGINAL_LIMIT,
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
    fn peers_for_the_original_fit_and_leave_no_room(
        peers in vec(peers(), 0..80), sizes in (any::<u64>(), any::<u64>()), limit in 60usize..=ORIGINAL_LIMIT,
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
