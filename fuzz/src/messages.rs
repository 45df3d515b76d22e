//! The stream of BitTorrent messages: the same outcome in any segmentation, and the same bytes when
//! encoded again.

use bytes::BytesMut;
use sow_wire::{
    bittorrent::{
        BlockRequest, Decoded, Decoder, Message, WireError,
        message::{MAX_CONTROL_LENGTH, block_head, encode},
    },
    testing::{self, Item, same_in_any_segmentation},
};

use crate::{input::segments_and_stream, memory};

type Received = testing::Received<Message, BlockRequest>;

/// Small, so that inputs of a few KiB reach the limit.
const MAX_BLOCK: u32 = 1024;

/// Memory of the decoder beside the stream: the bookkeeping that two handles to the stream share.
const MAX_MEMORY: usize = 1024;

/// Decodes a stream whole and in segments.
pub fn messages(data: &[u8]) {
    let Some((segments, stream)) = segments_and_stream(data) else { return };
    let (received, error) = same_in_any_segmentation(stream, &segments, receive);

    let mut encoded = BytesMut::new();
    for received in &received {
        match received {
            Received::Message(message) => encode(message, &mut encoded),
            Received::Payload(block, payload) => {
                encoded.extend_from_slice(&block_head(*block));
                encoded.extend_from_slice(payload);
            }
        }
    }
    let (known, ending) = without_unknown(stream);
    assert!(known.starts_with(&encoded), "the stream differs when encoded again");
    match error {
        Some(error) => assert_eq!(ending, Ending::Rejected, "{error}"),
        None => assert_ne!(ending, Ending::Rejected),
    }
    if ending == Ending::Complete {
        assert_eq!(known, encoded, "a complete message was not decoded");
    }
}

fn receive(stream: &[u8], segments: &[usize]) -> (Vec<Received>, Option<WireError>) {
    let mut decoder = Decoder::new(MAX_BLOCK);
    let decode = |buffer: &mut BytesMut| {
        let decoded = memory::within(MAX_MEMORY, || decoder.decode(buffer))?;
        Ok(decoded.map(|decoded| match decoded {
            Decoded::Message(message) => Item::Message(message),
            Decoded::Block(block) => {
                assert!((1..=MAX_BLOCK).contains(&block.length));
                Item::Payload { head: block, length: block.length }
            }
        }))
    };
    testing::receive(stream, segments, decode, check_buffered).outcome()
}

/// The decoder may leave only the start of one known message in its buffer.
fn check_buffered(buffer: &[u8]) {
    assert!(buffer.len() < 4 + MAX_CONTROL_LENGTH as usize);
    if let &[a, b, c, d, id, ..] = buffer {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let enough = if id == 7 { 13 } else { 4 + length };
        assert!(is_known(id), "an unknown message accumulates");
        assert!(buffer.len() < enough, "a complete message is left");
    }
}

/// Where a stream ends, by the lengths of its messages.
#[derive(Debug, PartialEq)]
enum Ending {
    /// After a message.
    Complete,
    /// Inside a message.
    Incomplete,
    /// At a message that must be rejected.
    Rejected,
}

/// The stream without unknown messages, up to the message that must be rejected. It does not use
/// the decoder.
fn without_unknown(stream: &[u8]) -> (Vec<u8>, Ending) {
    let mut known = Vec::new();
    let mut rest = stream;
    while let Some((prefix, body)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*prefix);
        let id = body.first().copied();
        if length > MAX_CONTROL_LENGTH || id.is_some_and(|id| !is_valid_length(id, length)) {
            return (known, Ending::Rejected);
        }
        let end = (4 + length as usize).min(rest.len());
        if length == 0 || id.is_some_and(is_known) {
            known.extend_from_slice(&rest[..end]);
        }
        if end < 4 + length as usize {
            return (known, Ending::Incomplete);
        }
        rest = &rest[end..];
    }
    (known, if rest.is_empty() { Ending::Complete } else { Ending::Incomplete })
}

/// Whether a message with this id may have this length, without its prefix. A length of 0 is a
/// keep-alive, which has no id.
fn is_valid_length(id: u8, length: u32) -> bool {
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
