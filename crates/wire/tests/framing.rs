//! Document 2's frames: what is framed is taken out the same, in any segmentation, and no length is
//! believed.

use bytes::BytesMut;
use proptest::{collection::vec, prelude::*};
use sow_wire::framing::{FramingError, HEAD_LENGTH, frame, head, length_of, take_frame};

const LIMIT: usize = 60;

/// What comes out of a stream that is read in segments of the given lengths (the last one takes the
/// rest).
fn receive(stream: &[u8], segments: &[usize]) -> (Vec<Vec<u8>>, Option<FramingError>) {
    let (mut buffer, mut came, mut rest) = (BytesMut::new(), Vec::new(), stream);
    for length in segments.iter().copied().chain([stream.len()]) {
        let (segment, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        buffer.extend_from_slice(segment);
        loop {
            match take_frame(&mut buffer, LIMIT) {
                Ok(Some(body)) => came.push(body.to_vec()),
                Ok(None) => break,
                Err(error) => return (came, Some(error)),
            }
        }
        assert!(buffer.len() < HEAD_LENGTH + LIMIT);
    }
    (came, None)
}

proptest! {
    #[test]
    fn frames_go_and_come_in_any_segmentation(
        bodies in vec(vec(any::<u8>(), 0..=LIMIT), 0..8), segments in vec(0usize..20, 0..60),
    ) {
        let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        prop_assert_eq!(receive(&stream, &[]), (bodies.clone(), None));
        prop_assert_eq!(receive(&stream, &segments), (bodies.clone(), None));
        prop_assert_eq!(receive(&stream, &vec![1; stream.len()]), (bodies, None));
    }

    #[test]
    fn a_length_over_the_bound_is_refused_from_the_head_alone(
        bodies in vec(vec(any::<u8>(), 0..=LIMIT), 0..4), length in LIMIT as u64 + 1.., bits in 0u32..58,
        segments in vec(0usize..20, 0..60),
    ) {
        let length = (length >> bits).max(LIMIT as u64 + 1);
        let mut stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        stream.extend(head(length));
        let refused = Some(FramingError::TooLong { length, limit: LIMIT as u64 });
        prop_assert_eq!(receive(&stream, &[]), (bodies.clone(), refused));
        prop_assert_eq!(receive(&stream, &segments), (bodies, refused));
    }

    #[test]
    fn a_head_is_a_length(length in any::<u64>()) {
        prop_assert_eq!(length_of(head(length)), length);
    }
}
