//! Frames: small ones taken as a whole, and frames of any length as a stream. The outcome is the
//! same in any segmentation, framing again gives the same bytes, and no memory is allocated for a
//! length that is only claimed.

use bytes::{Buf, Bytes, BytesMut};
use sow_wire::{
    framing::{FramingError, HEAD_LENGTH, frame, head, length_of, take_frame},
    testing::{self, Item, Received, same_in_any_segmentation},
};

use crate::{input::segments_and_stream, memory};

/// Small, so that inputs of a few KiB reach the limit.
const LIMIT: usize = 1024;

/// Memory for the bookkeeping that two handles to one stream share.
const MAX_MEMORY: usize = 256;

/// Takes frames off a stream whole and in segments.
pub fn framing(data: &[u8]) {
    let Some((segments, stream)) = segments_and_stream(data) else { return };
    let (bodies, error) = same_in_any_segmentation(stream, &segments, receive);

    let (lengths, last_is_incomplete) = streamed_lengths(stream);
    let small = lengths.iter().take_while(|length| **length <= LIMIT as u64);
    let complete = if last_is_incomplete { lengths.len() - 1 } else { lengths.len() };
    let taken: Vec<_> = bodies.iter().map(|body| body.len() as u64).collect();
    assert_eq!(taken, small.copied().take(complete).collect::<Vec<_>>());
    let next = lengths.get(bodies.len());
    let too_long = next.filter(|length| **length > LIMIT as u64);
    assert_eq!(
        error,
        too_long.map(|&length| FramingError::TooLong { length, limit: LIMIT as u64 })
    );

    let again: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
    assert!(stream.starts_with(&again), "framed again, the stream differs");
}

/// Takes small frames, one after the other.
fn receive(stream: &[u8], segments: &[usize]) -> (Vec<Bytes>, Option<FramingError>) {
    let decode = |buffer: &mut BytesMut| {
        let body = memory::within(MAX_MEMORY, || take_frame(buffer, LIMIT))?;
        Ok(body.map(Item::Message))
    };
    let check_buffered = |buffer: &[u8]| assert!(buffer.len() < HEAD_LENGTH + LIMIT);
    let reception = testing::receive(stream, segments, decode, check_buffered);
    let body = |received| match received {
        Received::Message(body) => body,
        Received::Payload((), _) => unreachable!("a small frame has no payload beside its body"),
    };
    (reception.received.into_iter().map(body).collect(), reception.error)
}

/// The lengths in the heads of a stream of frames of any length, and whether the last frame is
/// incomplete.
fn streamed_lengths(mut stream: &[u8]) -> (Vec<u64>, bool) {
    let mut lengths = Vec::new();
    while let Some(first) = stream.first_chunk() {
        let length = length_of(*first);
        assert_eq!(head(length), *first);
        lengths.push(length);
        stream.advance(HEAD_LENGTH);
        let available = length.min(stream.len() as u64);
        stream.advance(available as usize);
        if available < length {
            return (lengths, true);
        }
    }
    (lengths, false)
}
