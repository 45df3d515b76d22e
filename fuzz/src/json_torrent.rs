//! The stream of document 2's peer messages: the same in any segmentation, the very same bytes when
//! encoded again, and in agreement with the frames that it is made of. Who begins it is told once,
//! and for good.

use bytes::{Buf, BytesMut};
use sow_wire::{
    framing::take_frame,
    json_torrent::{Decoded, Decoder, Message, Opening, PeerError, encode, opening, piece_head},
};

use crate::memory;

/// Small, so that inputs of a few KiB come to the bounds.
const MAX_PIECE: u32 = 1024;
const MAX_BITFIELD: u32 = 256;

/// What a decoder may allocate in all, apart from the stream itself: what two handles to a part of
/// it share.
const MEMORY: usize = 256;

/// What came over a stream.
#[derive(Debug, PartialEq)]
enum Came {
    Message(Message),
    Piece(u32, Vec<u8>),
}

/// Decodes a stream whole and in segments. The first byte is their number, a byte for each one's
/// length follows, then the stream.
pub fn json_torrent(data: &[u8]) {
    let Some((&number, data)) = data.split_first() else { return };
    let (segments, stream) = data.split_at(usize::from(number).min(data.len()));
    beginning(stream);
    let whole = receive(stream, &[]);
    assert_eq!(receive(stream, segments), whole);
    assert_eq!(receive(stream, &vec![1; stream.len()]), whole);

    let (came, error) = whole;
    let mut again = BytesMut::new();
    for came in &came {
        match came {
            Came::Message(message) => encode(message, &mut again),
            Came::Piece(index, payload) => {
                again.extend_from_slice(&piece_head(*index, payload.len() as u32));
                again.extend_from_slice(payload);
            }
        }
    }
    let (valid, ending) = by_frames(stream);
    match (ending, error) {
        (Ending::Whole, None) => assert_eq!(valid, again),
        // Payload is taken as it comes, and may be cut.
        (Ending::Open, None) => assert!(again.starts_with(&valid)),
        (Ending::Refused, Some(_)) => assert_eq!(valid, again),
        // What is wrong is noticed as soon as it is seen, before the frame is whole.
        (Ending::Open, Some(_)) => assert_eq!(valid, again),
        (ending, error) => panic!("{ending:?}, but {error:?}"),
    }
}

/// What has been told does not change with more bytes.
fn beginning(stream: &[u8]) {
    let told = memory::within(0, || opening(stream));
    assert!(told.is_some() || stream.len() < 9);
    for length in 0..stream.len().min(9) {
        let earlier = opening(&stream[..length]);
        assert!(earlier.is_none() || earlier == told);
    }
    if let [a, b, c, ..] = stream {
        assert_eq!(told == Some(Opening::Stranger), [a, b, c] != [&0; 3]);
    }
    if let Ok(Some(_)) = Decoder::new(MAX_PIECE, MAX_BITFIELD).decode(&mut BytesMut::from(stream)) {
        assert_eq!(told, Some(Opening::Peer));
    }
}

/// What a socket's owner does: reads, decodes whatever is there, and takes payload off the stream
/// itself.
fn receive(stream: &[u8], segments: &[u8]) -> (Vec<Came>, Option<PeerError>) {
    let mut decoder = Decoder::new(MAX_PIECE, MAX_BITFIELD);
    let (mut buffer, mut came, mut due) = (BytesMut::with_capacity(stream.len()), Vec::new(), 0);
    let mut rest = stream;
    for length in segments.iter().map(|&length| length.into()).chain([stream.len()]) {
        let (segment, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        buffer.extend_from_slice(segment);
        loop {
            if let (Some(Came::Piece(_, payload)), 1..) = (came.last_mut(), due) {
                let taken = buffer.len().min(due);
                payload.extend_from_slice(&buffer[..taken]);
                buffer.advance(taken);
                due -= taken;
            }
            if due > 0 {
                break;
            }
            match memory::within(MEMORY, || decoder.decode(&mut buffer)) {
                Ok(None) => break,
                Ok(Some(Decoded::Message(message))) => came.push(Came::Message(message)),
                Ok(Some(Decoded::Piece { index, size })) => {
                    assert!((1..=MAX_PIECE).contains(&size));
                    due = size as usize;
                    came.push(Came::Piece(index, Vec::new()));
                }
                Err(error) => return (came, Some(error)),
            }
        }
        assert!(buffer.len() < 13 + MAX_BITFIELD as usize);
    }
    (came, None)
}

/// How a stream ends.
#[derive(Debug, PartialEq)]
enum Ending {
    /// After a message.
    Whole,
    /// In a frame.
    Open,
    /// At a frame that has to be refused.
    Refused,
}

/// The valid frames that a stream begins with, each as it is encoded, by another way than the
/// decoder: from whole frames.
fn by_frames(stream: &[u8]) -> (Vec<u8>, Ending) {
    let (mut valid, mut rest) = (Vec::new(), BytesMut::from(stream));
    loop {
        match take_frame(&mut rest, 9 + MAX_PIECE as usize) {
            Ok(Some(body)) if is_valid(&body) => valid.extend(match &body[..] {
                [] => sow_wire::framing::frame(&[0; 4]),
                [0, 0, 0, 0, 10] => sow_wire::framing::frame(&[0, 0, 0, 1, 10]),
                body => sow_wire::framing::frame(body),
            }),
            Ok(None) if rest.is_empty() => return (valid, Ending::Whole),
            Ok(None) => return (valid, Ending::Open),
            Ok(Some(_)) | Err(_) => return (valid, Ending::Refused),
        }
    }
}

fn is_valid(body: &[u8]) -> bool {
    let length_fits = |length: &[u8]| length == (body.len() as u32 - 4).to_be_bytes();
    let (length, message) = match body {
        [] | [0, 0, 0, 0, 10] => return true,
        _ if body.len() < 4 => return false,
        _ => body.split_at(4),
    };
    length_fits(length)
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
