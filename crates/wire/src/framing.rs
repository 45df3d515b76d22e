//! Document 2's frame (section 1.1): an unsigned 64-bit big-endian length, then that many bytes.
//! What is inside is not known here, and what is too large to be held at once (a file, a piece) is
//! for whoever owns the socket to stream.

use bytes::{Buf, Bytes, BytesMut};

/// The length of what comes before the bytes of a frame.
pub const HEAD_LENGTH: usize = 8;

/// How a frame can be wrong. Nothing after such an error can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A length over the bound.
    #[error("a frame of {length} bytes; at most {limit} are accepted")]
    TooLong {
        /// The length in the head.
        length: u64,
        /// The bound, in bytes.
        limit: u64,
    },
}

/// The head of a frame of `length` bytes.
pub fn head(length: u64) -> [u8; HEAD_LENGTH] {
    length.to_be_bytes()
}

/// The length that a head claims, in bytes: not to be believed before it is bounded.
pub fn length_of(head: [u8; HEAD_LENGTH]) -> u64 {
    u64::from_be_bytes(head)
}

/// A small frame as it travels, head and body in one piece, so that it can leave in one write.
pub fn frame(body: &[u8]) -> Vec<u8> {
    [&head(body.len() as u64)[..], body].concat()
}

/// Takes a small frame off the front of `stream` and gives its body, which is not copied. `None`:
/// more bytes are needed; what is left in `stream` then is the beginning of a frame, `limit` bytes
/// and a head at the most.
///
/// # Errors
/// When the frame is longer than `limit` bytes, known from its head alone. The stream is of no more
/// use then.
pub fn take_frame(stream: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, FramingError> {
    let Some(length) = stream.first_chunk().map(|head| length_of(*head)) else { return Ok(None) };
    let short = usize::try_from(length).ok().filter(|length| *length <= limit);
    let Some(short) = short else {
        return Err(FramingError::TooLong { length, limit: limit as u64 });
    };
    if stream.len() - HEAD_LENGTH < short {
        return Ok(None);
    }
    stream.advance(HEAD_LENGTH);
    Ok(Some(stream.split_to(short).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_frame() {
        assert_eq!(head(0x0102), [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(length_of([1, 0, 0, 0, 0, 0, 0, 2]), (1 << 56) + 2);
        assert_eq!(frame(b"{}"), b"\0\0\0\0\0\0\0\x02{}");
        assert_eq!(frame(b""), [0; 8]);
    }

    #[test]
    fn frames_are_taken_one_at_a_time() {
        let mut stream = BytesMut::from(&[frame(b"one"), frame(b""), frame(b"two")].concat()[..]);
        let rest = stream.split_off(stream.len() - 1);
        assert_eq!(take_frame(&mut stream, 3), Ok(Some(Bytes::from_static(b"one"))));
        assert_eq!(take_frame(&mut stream, 3), Ok(Some(Bytes::new())));
        assert_eq!(take_frame(&mut stream, 3), Ok(None));
        stream.unsplit(rest);
        assert_eq!(take_frame(&mut stream, 3), Ok(Some(Bytes::from_static(b"two"))));
        assert_eq!(take_frame(&mut stream, 3), Ok(None));
        assert!(stream.is_empty());
    }

    #[test]
    fn lengths_are_bounded_before_anything_gathers() {
        for length in [4, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
            let mut stream = BytesMut::from(&head(length)[..]);
            assert_eq!(take_frame(&mut stream, 3), Err(FramingError::TooLong { length, limit: 3 }));
        }
    }
}
