//! The stream of `json-torrent` peer messages: the same outcome in any segmentation, the same bytes
//! when encoded again, and in agreement with a decoder that works on complete frames. The kind of a
//! connection, once recognized, does not change.

use bytes::BytesMut;
use sow_wire::{
    framing::take_frame,
    json_torrent::{Decoded, Decoder, Message, Opening, PeerError, encode, opening, piece_head},
    testing::{self, Item, same_in_any_segmentation},
};

use crate::{input::segments_and_stream, memory};

/// A message, or the index and payload of a piece.
type Received = testing::Received<Message, u32>;

/// Small, so that inputs of a few KiB reach the limits.
const MAX_PIECE: u32 = 1024;
const MAX_BITFIELD: u32 = 256;

/// Memory of the decoder beside the stream: the bookkeeping that two handles to the stream share.
const MAX_MEMORY: usize = 256;

/// Decodes a stream whole and in segments.
pub fn json_torrent(data: &[u8]) {
    let Some((segments, stream)) = segments_and_stream(data) else { return };
    check_opening(stream);
    let (received, error) = same_in_any_segmentation(stream, &segments, receive);

    let mut encoded = BytesMut::new();
    for received in &received {
        match received {
            Received::Message(message) => encode(message, &mut encoded),
            Received::Payload(index, payload) => {
                encoded.extend_from_slice(&piece_head(*index, payload.len() as u32));
                encoded.extend_from_slice(payload);
            }
        }
    }
    let (valid, ending) = valid_frames(stream);
    match (ending, error) {
        (Ending::Complete, None) => assert_eq!(valid, encoded),
        // Payload is taken as it arrives, and may be incomplete.
        (Ending::Incomplete, None) => assert!(encoded.starts_with(&valid)),
        (Ending::Rejected, Some(_)) => assert_eq!(valid, encoded),
        // The decoder reports an error before the frame is complete.
        (Ending::Incomplete, Some(_)) => assert_eq!(valid, encoded),
        (ending, error) => panic!("{ending:?}, but {error:?}"),
    }
}

/// The kind of a connection does not change with more bytes.
fn check_opening(stream: &[u8]) {
    let kind = memory::within(0, || opening(stream));
    assert!(kind.is_some() || stream.len() < 9);
    for length in 0..stream.len().min(9) {
        let earlier = opening(&stream[..length]);
        assert!(earlier.is_none() || earlier == kind);
    }
    if let [a, b, c, ..] = stream {
        assert_eq!(kind == Some(Opening::Unknown), [a, b, c] != [&0; 3]);
    }
    if let Ok(Some(_)) = Decoder::new(MAX_PIECE, MAX_BITFIELD).decode(&mut BytesMut::from(stream)) {
        assert_eq!(kind, Some(Opening::Peer));
    }
}

fn receive(stream: &[u8], segments: &[usize]) -> (Vec<Received>, Option<PeerError>) {
    let mut decoder = Decoder::new(MAX_PIECE, MAX_BITFIELD);
    let decode = |buffer: &mut BytesMut| {
        let decoded = memory::within(MAX_MEMORY, || decoder.decode(buffer))?;
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

/// Where a stream ends.
#[derive(Debug, PartialEq)]
enum Ending {
    /// After a frame.
    Complete,
    /// Inside a frame.
    Incomplete,
    /// At a frame that must be rejected.
    Rejected,
}

/// The valid frames at the start of a stream, each as it is encoded. Unlike the decoder, this works
/// on complete frames.
fn valid_frames(stream: &[u8]) -> (Vec<u8>, Ending) {
    let (mut valid, mut rest) = (Vec::new(), BytesMut::from(stream));
    loop {
        match take_frame(&mut rest, 9 + MAX_PIECE as usize) {
            Ok(Some(body)) if is_valid(&body) => valid.extend(match &body[..] {
                [] => sow_wire::framing::frame(&[0; 4]),
                [0, 0, 0, 0, 10] => sow_wire::framing::frame(&[0, 0, 0, 1, 10]),
                body => sow_wire::framing::frame(body),
            }),
            Ok(None) if rest.is_empty() => return (valid, Ending::Complete),
            Ok(None) => return (valid, Ending::Incomplete),
            Ok(Some(_)) | Err(_) => return (valid, Ending::Rejected),
        }
    }
}

fn is_valid(body: &[u8]) -> bool {
    let is_length = |length: &[u8]| length == (body.len() as u32 - 4).to_be_bytes();
    let (length, message) = match body {
        [] | [0, 0, 0, 0, 10] => return true,
        _ if body.len() < 4 => return false,
        _ => body.split_at(4),
    };
    is_length(length)
        && match message {
            [] | [0..=3 | 10] => true,
            [4 | 6, index, _, _, _] => *index < 128,
            [5, bits @ ..] => {
                bits.len() <= MAX_BITFIELD as usize && bits.iter().all(|bit| *bit < 2)
            }
            [7, index, _, _, _, _, ..] => *index < 128,
            _ => false,
        }
}
