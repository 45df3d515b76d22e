//! Test support for stream decoders: feeds a stream in segments, as the owner of a socket does, and
//! compares the outcomes of several segmentations. The integration tests of this crate and the fuzz
//! targets use it; the feature `testing` keeps it out of the product.

use std::fmt::Debug;

use bytes::{Buf, BytesMut};

/// The next item of a stream, as one of the decoders returns it.
pub enum Item<M, H> {
    /// A complete message.
    Message(M),
    /// The head of a payload, of which `length` bytes follow in the stream.
    Payload {
        /// The head.
        head: H,
        /// The length of the payload in bytes.
        length: u32,
    },
}

/// An item of a stream with its payload.
#[derive(Debug, Clone, PartialEq)]
pub enum Received<M, H> {
    /// A message.
    Message(M),
    /// The head of a payload, and the bytes of it that arrived.
    Payload(H, Vec<u8>),
}

/// The outcome of decoding a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Reception<M, H, E> {
    /// The items of the stream.
    pub received: Vec<Received<M, H>>,
    /// The position in the stream at which each item ends, payload included.
    pub ends: Vec<usize>,
    /// The error that ended the decoding.
    pub error: Option<E>,
}

impl<M, H, E> Reception<M, H, E> {
    /// The items and the error, which do not depend on the segmentation.
    pub fn outcome(self) -> (Vec<Received<M, H>>, Option<E>) {
        (self.received, self.error)
    }
}

/// Decodes `stream` in segments of the given lengths; the last segment is the rest of the stream.
///
/// `decode` decodes one item. `check_buffered` is called after each segment with the bytes that the
/// decoder has left in its buffer.
pub fn receive<M, H, E>(
    stream: &[u8],
    segments: &[usize],
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<Item<M, H>>, E>,
    mut check_buffered: impl FnMut(&[u8]),
) -> Reception<M, H, E> {
    let mut reception = Reception { received: Vec::new(), ends: Vec::new(), error: None };
    let mut buffer = BytesMut::with_capacity(stream.len());
    let (mut rest, mut missing) = (stream, 0);
    for length in segments.iter().copied().chain([stream.len()]) {
        let (segment, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        buffer.extend_from_slice(segment);
        loop {
            if let Some(Received::Payload(_, payload)) = reception.received.last_mut() {
                let arrived = buffer.len().min(missing);
                payload.extend_from_slice(&buffer[..arrived]);
                buffer.advance(arrived);
                missing -= arrived;
            }
            if missing > 0 {
                break;
            }
            match decode(&mut buffer) {
                Ok(None) => break,
                Ok(Some(Item::Message(message))) => {
                    reception.received.push(Received::Message(message));
                }
                Ok(Some(Item::Payload { head, length })) => {
                    reception.received.push(Received::Payload(head, Vec::new()));
                    missing = length as usize;
                }
                Err(error) => return Reception { error: Some(error), ..reception },
            }
            reception.ends.push(stream.len() - rest.len() - buffer.len() + missing);
        }
        check_buffered(&buffer);
    }
    reception
}

/// The outcome of `receive` for the whole stream at once. Panics when the outcome differs for the
/// given segments, or byte by byte.
#[track_caller]
pub fn same_in_any_segmentation<T: Debug + PartialEq>(
    stream: &[u8],
    segments: &[usize],
    mut receive: impl FnMut(&[u8], &[usize]) -> T,
) -> T {
    let whole = receive(stream, &[]);
    assert_eq!(receive(stream, segments), whole, "in segments of {segments:?} bytes");
    assert_eq!(receive(stream, &vec![1; stream.len()]), whole, "byte by byte");
    whole
}
