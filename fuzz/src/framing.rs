//! Document 2's frames: small ones whole, as the tracker takes them, and of any length as they are
//! streamed. The same in any segmentation, the very same bytes when framed again, and nothing is
//! allocated for a claim.

use bytes::{Buf, Bytes, BytesMut};
use sow_wire::framing::{FramingError, HEAD_LENGTH, frame, head, length_of, take_frame};

use crate::memory;

/// Small, so that inputs of a few KiB come to the bound.
const LIMIT: usize = 1024;

/// What two handles to a part of a stream share.
const MEMORY: usize = 256;

/// Takes frames off a stream whole and in segments. The first byte is their number, a byte for each
/// one's length follows, then the stream.
pub fn framing(data: &[u8]) {
    let Some((&number, data)) = data.split_first() else { return };
    let (segments, stream) = data.split_at(usize::from(number).min(data.len()));
    let (bodies, error) = receive(stream, &[]);
    assert_eq!(receive(stream, segments), (bodies.clone(), error));
    assert_eq!(receive(stream, &vec![1; stream.len()]), (bodies.clone(), error));

    let (lengths, cut) = streamed(stream);
    let small = lengths.iter().take_while(|length| **length <= LIMIT as u64);
    let whole = if cut { lengths.len() - 1 } else { lengths.len() };
    let taken: Vec<_> = bodies.iter().map(|body| body.len() as u64).collect();
    assert_eq!(taken, small.copied().take(whole).collect::<Vec<_>>());
    let next = lengths.get(bodies.len());
    let too_long = next.filter(|length| **length > LIMIT as u64);
    assert_eq!(
        error,
        too_long.map(|&length| FramingError::TooLong { length, limit: LIMIT as u64 })
    );

    let again: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
    assert!(stream.starts_with(&again), "framed again, the stream differs");
}

/// As the tracker reads requests, one after the other.
fn receive(stream: &[u8], segments: &[u8]) -> (Vec<Bytes>, Option<FramingError>) {
    let (mut buffer, mut came) = (BytesMut::with_capacity(stream.len()), Vec::new());
    let mut rest = stream;
    for length in segments.iter().map(|&length| length.into()).chain([stream.len()]) {
        let (segment, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        buffer.extend_from_slice(segment);
        loop {
            match memory::within(MEMORY, || take_frame(&mut buffer, LIMIT)) {
                Ok(None) => break,
                Ok(Some(body)) => came.push(body),
                Err(error) => return (came, Some(error)),
            }
        }
        assert!(buffer.len() < HEAD_LENGTH + LIMIT);
    }
    (came, None)
}

/// As files are streamed: the lengths that the heads claim, and whether the last frame is cut.
fn streamed(mut stream: &[u8]) -> (Vec<u64>, bool) {
    let mut lengths = Vec::new();
    while let Some(first) = stream.first_chunk() {
        let length = length_of(*first);
        assert_eq!(head(length), *first);
        lengths.push(length);
        stream.advance(HEAD_LENGTH);
        let here = length.min(stream.len() as u64);
        stream.advance(here as usize);
        if here < length {
            return (lengths, true);
        }
    }
    (lengths, false)
}
