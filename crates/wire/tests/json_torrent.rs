//! Document 2's peer messages: what is encoded decodes to the same, in any segmentation, and damage
//! is always noticed alike.

use bytes::{Buf, BytesMut};
use proptest::{collection::vec, prelude::*, sample::Index};
use sow_wire::json_torrent::{
    Decoded, Decoder, Message, Opening, PeerError, encode, opening, piece_head,
};

const MAX_PIECE: u32 = 500;
const MAX_BITFIELD: u32 = 80;

/// What travels on a connection.
#[derive(Debug, Clone, PartialEq)]
enum Sent {
    Message(Message),
    Piece(u32, Vec<u8>),
}

impl Sent {
    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Message(message) => encode(message, out),
            Self::Piece(index, payload) => {
                out.extend_from_slice(&piece_head(*index, payload.len() as u32));
                out.extend_from_slice(payload);
            }
        }
    }
}

fn indexes() -> impl Strategy<Value = u32> {
    0..=i32::MAX as u32
}

fn messages() -> impl Strategy<Value = Message> {
    prop_oneof![
        proptest::sample::select(vec![
            Message::KeepAlive,
            Message::Choke,
            Message::Unchoke,
            Message::Interested,
            Message::NotInterested,
            Message::ServerClose,
        ]),
        indexes().prop_map(Message::Have),
        indexes().prop_map(Message::Request),
        vec(0u8..=1, 0..=MAX_BITFIELD as usize).prop_map(|bytes| Message::Bitfield(bytes.into())),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let piece = (indexes(), vec(any::<u8>(), 1..=MAX_PIECE as usize));
    prop_oneof![
        4 => messages().prop_map(Sent::Message),
        1 => piece.prop_map(|(index, payload)| Sent::Piece(index, payload)),
    ]
}

fn stream_of(sent: &[Sent]) -> BytesMut {
    let mut stream = BytesMut::new();
    sent.iter().for_each(|sent| sent.put(&mut stream));
    stream
}

/// What a socket's owner does: reads in segments of the given lengths (the last one takes the
/// rest), decodes whatever is there, and takes payload off the stream itself. Gives what came, and
/// how the stream ended.
fn receive(stream: &[u8], segments: &[usize]) -> (Vec<Sent>, Option<PeerError>) {
    let mut decoder = Decoder::new(MAX_PIECE, MAX_BITFIELD);
    let (mut buffer, mut came, mut due) = (BytesMut::new(), Vec::new(), 0);
    let mut rest = stream;
    for length in segments.iter().copied().chain([stream.len()]) {
        let (segment, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        buffer.extend_from_slice(segment);
        loop {
            if let (Some(Sent::Piece(_, payload)), 1..) = (came.last_mut(), due) {
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
                Ok(Some(Decoded::Piece { index, size })) => {
                    assert!((1..=MAX_PIECE).contains(&size));
                    came.push(Sent::Piece(index, Vec::new()));
                    due = size as usize;
                }
                Err(error) => return (came, Some(error)),
            }
        }
        assert!(buffer.len() < 13 + MAX_BITFIELD as usize);
    }
    (came, None)
}

proptest! {
    #[test]
    fn every_message_goes_and_comes_in_any_segmentation(
        sent in vec(sent(), 0..12), segments in vec(0usize..40, 0..60),
    ) {
        let stream = stream_of(&sent);
        prop_assert_eq!(receive(&stream, &[]), (sent.clone(), None));
        prop_assert_eq!(receive(&stream, &segments), (sent.clone(), None));
        prop_assert_eq!(receive(&stream, &vec![1; stream.len()]), (sent, None));
    }

    #[test]
    fn damage_is_noticed_alike_in_any_segmentation(
        sent in vec(sent(), 1..8), at in any::<Index>(), byte in any::<u8>(), segments in vec(0usize..40, 0..60),
    ) {
        let mut stream = stream_of(&sent);
        let at = at.index(stream.len());
        stream[at] = byte;
        let whole = receive(&stream, &[]);
        prop_assert_eq!(&receive(&stream, &segments), &whole);
        prop_assert_eq!(receive(&stream, &vec![1; stream.len()]), whole);
    }

    #[test]
    fn both_lengths_are_held_against_each_other_and_the_bounds(
        frame in prop_oneof![0u64..600, any::<u64>()], length in prop_oneof![-3i32..600, any::<i32>()],
        id in prop_oneof![0i8..11, any::<i8>()], body in vec(0u8..=1, 0..600), segments in vec(0usize..40, 0..60),
    ) {
        let stream = [&frame.to_be_bytes()[..], &length.to_be_bytes(), &id.to_be_bytes(), &body].concat();
        let (came, error) = receive(&stream, &segments);
        prop_assert_eq!((&came, error), { let (came, error) = receive(&stream, &[]); (&came.clone(), error) });
        let agree = i64::from(length) + 4 == i64::try_from(frame).unwrap_or(-1);
        let exception = frame == 0 || (frame == 5 && length == 0 && id == 10);
        if !agree && !exception {
            prop_assert!(error.is_some());
        }
        let fits = match id {
            _ if frame <= 4 => true,
            0..=3 | 10 => frame == 5,
            4 | 6 => frame == 9,
            5 => (5..=5 + u64::from(MAX_BITFIELD)).contains(&frame),
            7 => (10..=9 + u64::from(MAX_PIECE)).contains(&frame),
            _ => false,
        };
        if !fits {
            prop_assert_eq!(came, vec![]);
            prop_assert!(error.is_some());
        }
    }

    #[test]
    fn every_message_begins_like_one(sent in sent(), more in vec(any::<u8>(), 0..4)) {
        let mut stream = stream_of(&[sent]);
        stream.extend_from_slice(&more);
        prop_assert_eq!(opening(&stream), Some(Opening::Peer));
    }
}
