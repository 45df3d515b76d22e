//! Peer messages of the `json-torrent` protocol: what is encoded decodes to the same, and the
//! outcome does not depend on the segmentation, for valid and for damaged streams.

use bytes::BytesMut;
use proptest::{collection::vec, prelude::*, sample::Index};
use sow_wire::{
    json_torrent::{Decoded, Decoder, Message, Opening, PeerError, encode, opening, piece_head},
    testing::{self, Item, same_in_any_segmentation},
};

/// A message, or the index and payload of a piece.
type Received = testing::Received<Message, u32>;

const MAX_PIECE: u32 = 500;
const MAX_BITFIELD: u32 = 80;

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

fn sent() -> impl Strategy<Value = Received> {
    let piece = (indexes(), vec(any::<u8>(), 1..=MAX_PIECE as usize));
    prop_oneof![
        4 => messages().prop_map(Received::Message),
        1 => piece.prop_map(|(index, payload)| Received::Payload(index, payload)),
    ]
}

fn stream_of(sent: &[Received]) -> BytesMut {
    let mut stream = BytesMut::new();
    for sent in sent {
        match sent {
            Received::Message(message) => encode(message, &mut stream),
            Received::Payload(index, payload) => {
                stream.extend_from_slice(&piece_head(*index, payload.len() as u32));
                stream.extend_from_slice(payload);
            }
        }
    }
    stream
}

fn receive(stream: &[u8], segments: &[usize]) -> (Vec<Received>, Option<PeerError>) {
    let mut decoder = Decoder::new(MAX_PIECE, MAX_BITFIELD);
    let decode = |buffer: &mut BytesMut| {
        let decoded = decoder.decode(buffer)?;
        Ok(decoded.map(|decoded| match decoded {
            Decoded::Message(message) => Item::Message(message),
            Decoded::Piece { index, size } => {
                assert!((1..=MAX_PIECE).contains(&size));
                Item::Payload { head: index, length: size }
            }
        }))
    };
    let check_buffered = |buffer: &[u8]| assert!(buffer.len() < 13 + MAX_BITFIELD as usize);
    testing::receive(stream, segments, decode, check_buffered).outcome()
}

proptest! {
    #[test]
    fn every_message_round_trips_in_any_segmentation(
        sent in vec(sent(), 0..12), segments in vec(0usize..40, 0..60),
    ) {
        let stream = stream_of(&sent);
        let outcome = same_in_any_segmentation(&stream, &segments, receive);
        prop_assert_eq!(outcome, (sent, None));
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
    fn both_lengths_are_checked_against_each_other_and_the_limits(
        frame in prop_oneof![0u64..600, any::<u64>()],
        length in prop_oneof![-3i32..600, any::<i32>()],
        id in prop_oneof![0i8..11, any::<i8>()], body in vec(0u8..=1, 0..600),
        segments in vec(0usize..40, 0..60),
    ) {
        let head = [&frame.to_be_bytes()[..], &length.to_be_bytes(), &id.to_be_bytes()].concat();
        let stream = [head, body].concat();
        let (received, error) = same_in_any_segmentation(&stream, &segments, receive);
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
            prop_assert_eq!(received, vec![]);
            prop_assert!(error.is_some());
        }
    }

    #[test]
    fn every_message_is_recognized_as_a_peer_message(
        sent in sent(), more in vec(any::<u8>(), 0..4),
    ) {
        let mut stream = stream_of(&[sent]);
        stream.extend_from_slice(&more);
        prop_assert_eq!(opening(&stream), Some(Opening::Peer));
    }
}
