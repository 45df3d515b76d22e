//! The stream of BitTorrent messages: the same in any segmentation, and the very same bytes when
//! encoded again.

use bytes::{Buf, BytesMut};
use sow_wire::bittorrent::{
    BlockRequest, Decoded, Decoder, Message, WireError,
    message::{MAX_CONTROL_LENGTH, block_head, encode},
};

use crate::memory;

/// Small, so that inputs of a few KiB come to the bound.
const MAX_BLOCK: u32 = 1024;

/// What a decoder may allocate in all, apart from the stream itself: what two handles to a part of
/// it share.
const MEMORY: usize = 1024;

/// What came over a stream.
#[derive(Debug, PartialEq)]
enum Came {
    Message(Message),
    Block(BlockRequest, Vec<u8>),
}

/// Decodes a stream whole and in segments. The first byte is their number, a byte for each one's
/// length follows, then the stream.
pub fn messages(data: &[u8]) {
    let Some((&number, data)) = data.split_first() else { return };
    let (segments, stream) = data.split_at(usize::from(number).min(data.len()));
    let whole = receive(stream, &[]);
    assert_eq!(receive(stream, segments), whole);
    assert_eq!(receive(stream, &vec![1; stream.len()]), whole);

    let (came, error) = whole;
    let mut again = BytesMut::new();
    for came in &came {
        match came {
            Came::Message(message) => encode(message, &mut again),
            Came::Block(block, payload) => {
                again.extend_from_slice(&block_head(*block));
                again.extend_from_slice(payload);
            }
        }
    }
    let (known, ending) = without_unknown(stream);
    assert!(known.starts_with(&again), "encoded again, the stream differs");
    match error {
        Some(error) => assert_eq!(ending, Ending::Refused, "{error}"),
        None => assert_ne!(ending, Ending::Refused),
    }
    if ending == Ending::Whole {
        assert_eq!(known, again, "something that is whole was not decoded");
    }
}

/// What a socket's owner does: reads, decodes whatever is there, and takes payload off the stream
/// itself.
fn receive(stream: &[u8], segments: &[u8]) -> (Vec<Came>, Option<WireError>) {
    let mut decoder = Decoder::new(MAX_BLOCK);
    let (mut buffer, mut came, mut due) = (BytesMut::with_capacity(stream.len()), Vec::new(), 0);
    let mut rest = stream;
    for length in segments.iter().map(|&length| length.into()).chain([stream.len()]) {
        let (segment, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        buffer.extend_from_slice(segment);
        loop {
            if let (Some(Came::Block(_, payload)), 1..) = (came.last_mut(), due) {
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
                Ok(Some(Decoded::Block(block))) => {
                    assert!((1..=MAX_BLOCK).contains(&block.length));
                    due = block.length as usize;
                    came.push(Came::Block(block, Vec::new()));
                }
                Err(error) => return (came, Some(error)),
            }
        }
        check_held(&buffer);
    }
    (came, None)
}

/// What a decoder leaves must be the beginning of one message that it has to see whole.
fn check_held(held: &[u8]) {
    assert!(held.len() < 4 + MAX_CONTROL_LENGTH as usize);
    if let &[a, b, c, d, id, ..] = held {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let enough = if id == 7 { 13 } else { 4 + length };
        assert!(is_known(id), "an unknown message gathers");
        assert!(held.len() < enough, "a whole message is left");
    }
}

/// How a stream ends, as far as its lengths go.
#[derive(Debug, PartialEq)]
enum Ending {
    /// After a message.
    Whole,
    /// In a message.
    Open,
    /// At a message that has to be refused.
    Refused,
}

/// The stream without messages that are passed over, up to where it must be refused: by another way
/// than the decoder.
fn without_unknown(stream: &[u8]) -> (Vec<u8>, Ending) {
    let mut known = Vec::new();
    let mut rest = stream;
    while let Some((prefix, body)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*prefix);
        let id = body.first().copied();
        if length > MAX_CONTROL_LENGTH || id.is_some_and(|id| !fits(id, length)) {
            return (known, Ending::Refused);
        }
        let end = (4 + length as usize).min(rest.len());
        if length == 0 || id.is_some_and(is_known) {
            known.extend_from_slice(&rest[..end]);
        }
        if end < 4 + length as usize {
            return (known, Ending::Open);
        }
        rest = &rest[end..];
    }
    (known, if rest.is_empty() { Ending::Whole } else { Ending::Open })
}

/// Whether a message of that number may have that length, prefix not included; keep-alive has no
/// number.
fn fits(id: u8, length: u32) -> bool {
    match id {
        _ if length == 0 => true,
        0..=3 | 14 | 15 => length == 1,
        4 | 13 | 17 => length == 5,
        6 | 8 | 16 => length == 13,
        7 => (10..=9 + MAX_BLOCK).contains(&length),
        9 => length == 3,
        20 => (2..=128 * 1024).contains(&length),
        _ => true,
    }
}

fn is_known(id: u8) -> bool {
    matches!(id, 0..=9 | 13..=17 | 20)
}
