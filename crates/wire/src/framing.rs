//! The frames of the `framed` and `json-torrent` protocols: an unsigned 64-bit big-endian length,
//! then that many bytes. Both are described in `docs/protocols/framed.md` and
//! `docs/protocols/json-torrent.md`.
//!
//! The content of a frame is not known here. A frame that is too large for memory (a file, a piece)
//! is streamed by the owner of the socket.

use bytes::{Buf, Bytes, BytesMut};

/// The length of a frame's head, in bytes.
pub const HEAD_LENGTH: usize = 8;

/// Why a frame is rejected. Nothing after it can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The length exceeds the limit.
    #[error("a frame of {length} bytes; the limit is {limit}")]
    TooLong {
        /// The length in the head, in bytes.
        length: u64,
        /// The limit, in bytes.
        limit: u64,
    },
}

/// The head of a frame of `length` bytes.
pub fn head(length: u64) -> [u8; HEAD_LENGTH] {
    length.to_be_bytes()
}

/// The length that a head claims, in bytes. It is untrusted: bound it before use.
pub fn length_of(head: [u8; HEAD_LENGTH]) -> u64 {
    u64::from_be_bytes(head)
}

/// A small frame, head and body in one buffer, so that one write sends it.
pub fn frame(body: &[u8]) -> Vec<u8> {
    [&head(body.len() as u64)[..], body].concat()
}

/// Takes a small frame off the front of `stream` and returns its body without copying it. `None`
/// means that more bytes are needed; `stream` then holds the start of one frame, less than a head
/// and `limit` bytes.
///
/// # Errors
/// When the head says that the frame is longer than `limit` bytes. The stream cannot be decoded
/// further.
pub fn take_frame(stream: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, FramingError> {
    let Some(length) = stream.first_chunk().map(|head| length_of(*head)) else { return Ok(None) };
    let accepted = usize::try_from(length).ok().filter(|length| *length <= limit);
    let Some(body_length) = accepted else {
        return Err(FramingError::TooLong { length, limit: limit as u64 });
    };
    if stream.len() - HEAD_LENGTH < body_length {
        return Ok(None);
    }
    stream.advance(HEAD_LENGTH);
    Ok(Some(stream.split_to(body_length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_64_bit_length_and_a_body() {
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
    fn lengths_are_bounded_before_the_body_arrives() {
        for length in [4, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
            let mut stream = BytesMut::from(&head(length)[..]);
            assert_eq!(take_frame(&mut stream, 3), Err(FramingError::TooLong { length, limit: 3 }));
        }
    }
}
