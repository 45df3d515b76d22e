//! Frames: what is framed is taken out the same in any segmentation, and a length above the limit
//! is rejected.

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, prelude::*};
use sow_wire::{
    framing::{FramingError, HEAD_LENGTH, frame, head, length_of, take_frame},
    testing::{self, Item, same_in_any_segmentation},
};

/// A body; small frames have no payload beside it.
type Received = testing::Received<Bytes, ()>;

const LIMIT: usize = 60;

fn receive(stream: &[u8], segments: &[usize]) -> (Vec<Received>, Option<FramingError>) {
    let decode = |buffer: &mut BytesMut| Ok(take_frame(buffer, LIMIT)?.map(Item::Message));
    let check_buffered = |buffer: &[u8]| assert!(buffer.len() < HEAD_LENGTH + LIMIT);
    testing::receive(stream, segments, decode, check_buffered).outcome()
}

fn received(bodies: Vec<Vec<u8>>) -> Vec<Received> {
    bodies.into_iter().map(|body| Received::Message(body.into())).collect()
}

proptest! {
    #[test]
    fn frames_round_trip_in_any_segmentation(
        bodies in vec(vec(any::<u8>(), 0..=LIMIT), 0..8), segments in vec(0usize..20, 0..60),
    ) {
        let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        let outcome = same_in_any_segmentation(&stream, &segments, receive);
        prop_assert_eq!(outcome, (received(bodies), None));
    }

    #[test]
    fn a_length_above_the_limit_is_rejected_when_the_head_arrives(
        bodies in vec(vec(any::<u8>(), 0..=LIMIT), 0..4), length in LIMIT as u64 + 1..,
        bits in 0u32..58, segments in vec(0usize..20, 0..60),
    ) {
        let length = (length >> bits).max(LIMIT as u64 + 1);
        let mut stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        stream.extend(head(length));
        let error = FramingError::TooLong { length, limit: LIMIT as u64 };
        let outcome = same_in_any_segmentation(&stream, &segments, receive);
        prop_assert_eq!(outcome, (received(bodies), Some(error)));
    }

    #[test]
    fn a_head_holds_any_length(length in any::<u64>()) {
        prop_assert_eq!(length_of(head(length)), length);
    }
}
