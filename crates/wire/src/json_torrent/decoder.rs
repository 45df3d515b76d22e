//! Document 2's peer messages off a stream, whatever its segmentation. Nothing here knows a
//! torrent: how many pieces there are is checked by whoever does.

use bytes::{Buf, BytesMut};

use super::{Decoded, Message, id};
use crate::framing::{HEAD_LENGTH, length_of};

/// The `length` of a message, inside the frame.
const LENGTH: usize = 4;

/// How a stream of messages can be wrong. Nothing after such an error can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// A frame over the bound.
    #[error("a frame of {length} bytes; at most {limit} are accepted")]
    TooLong {
        /// The length in the frame's head.
        length: u64,
        /// The bound for that kind of message.
        limit: u64,
    },
    /// The message's own length is negative, or not what the frame has room for.
    #[error("a message with a length of {length} in a frame of {frame} bytes")]
    LengthsDiffer {
        /// The length in the frame's head.
        frame: u64,
        /// The length in the message.
        length: i32,
    },
    /// No such message.
    #[error("there is no message {id}")]
    UnknownMessage {
        /// Its number.
        id: i8,
    },
    /// A length that does not fit the kind of message.
    #[error("message {id} with a length of {length}")]
    BadLength {
        /// The message's number.
        id: i8,
        /// The length in the message.
        length: u32,
    },
    /// A piece index below zero.
    #[error("message {id} with a piece index of {index}")]
    NegativeIndex {
        /// The message's number.
        id: i8,
        /// The index.
        index: i32,
    },
    /// A byte of a bitfield that is neither 0 nor 1.
    #[error("a bitfield with a byte of {byte}")]
    BadBitfield {
        /// The byte.
        byte: u8,
    },
}

/// Turns a stream into messages, one at a time, whatever its segmentation.
#[derive(Debug, Clone)]
pub struct Decoder {
    max_piece: u32,
    max_bitfield: u32,
}

impl Decoder {
    /// A decoder that accepts pieces of at most `max_piece` bytes and bitfields of at most
    /// `max_bitfield` pieces.
    pub fn new(max_piece: u32, max_bitfield: u32) -> Self {
        Self { max_piece, max_bitfield }
    }

    /// Takes the next message, or the next piece's head, off the front of `stream`. `None`: more
    /// bytes are needed; what is left in `stream` then is the beginning of one message:
    /// `max_bitfield` bytes and 13 before them at the most. A bitfield is split off and not copied,
    /// so that it holds on to the memory of `stream`.
    ///
    /// # Errors
    /// When the stream is not of this protocol, or a bound is exceeded. The connection is of no
    /// more use then.
    pub fn decode(&mut self, stream: &mut BytesMut) -> Result<Option<Decoded>, PeerError> {
        let Some(frame) = stream.first_chunk().map(|head| length_of(*head)) else {
            return Ok(None);
        };
        if frame == 0 {
            // Some would write an empty frame for a message without anything.
            stream.advance(HEAD_LENGTH);
            return Ok(Some(Decoded::Message(Message::KeepAlive)));
        }
        let limit = self.longest_piece().max(self.longest_bitfield()) + LENGTH as u64;
        if frame > limit {
            return Err(PeerError::TooLong { length: frame, limit });
        }
        if frame < LENGTH as u64 {
            return Err(PeerError::LengthsDiffer { frame, length: 0 });
        }
        let Some(length) =
            stream[HEAD_LENGTH..].first_chunk().map(|length| i32::from_be_bytes(*length))
        else {
            return Ok(None);
        };
        // `ServerClose` may claim to be nothing, and have a number all the same.
        let closing = frame == 5 && length == 0;
        if i64::from(length) + LENGTH as i64 != frame as i64 && !closing {
            return Err(PeerError::LengthsDiffer { frame, length });
        }
        if frame == LENGTH as u64 {
            stream.advance(HEAD_LENGTH + LENGTH);
            return Ok(Some(Decoded::Message(Message::KeepAlive)));
        }
        let Some(id) = stream.get(HEAD_LENGTH + LENGTH).map(|id| *id as i8) else {
            return Ok(None);
        };
        if closing && id != id::SERVER_CLOSE {
            return Err(PeerError::LengthsDiffer { frame, length });
        }
        self.check(id, frame - LENGTH as u64)?;
        if id == id::PIECE { piece(stream) } else { whole(stream, id, frame as usize) }
    }

    /// Whether a message of that number may have that length.
    fn check(&self, id: i8, length: u64) -> Result<(), PeerError> {
        let (shortest, longest) = match id {
            id::CHOKE | id::UNCHOKE | id::INTERESTED | id::NOT_INTERESTED | id::SERVER_CLOSE => {
                (1, 1)
            }
            id::HAVE | id::REQUEST => (5, 5),
            id::BITFIELD => (1, self.longest_bitfield()),
            id::PIECE => (6, self.longest_piece()),
            _ => return Err(PeerError::UnknownMessage { id }),
        };
        if length < shortest || (shortest == longest && length != longest) {
            return Err(PeerError::BadLength { id, length: length as u32 });
        }
        if length > longest {
            let limit = longest + LENGTH as u64;
            return Err(PeerError::TooLong { length: length + LENGTH as u64, limit });
        }
        Ok(())
    }

    fn longest_bitfield(&self) -> u64 {
        1 + u64::from(self.max_bitfield)
    }

    fn longest_piece(&self) -> u64 {
        5 + u64::from(self.max_piece)
    }
}

/// The head of a piece, whose length is known to fit.
fn piece(stream: &mut BytesMut) -> Result<Option<Decoded>, PeerError> {
    let Some(&[a, b, c, d, _, e, f, g, h]) = stream[HEAD_LENGTH..].first_chunk() else {
        return Ok(None);
    };
    let index = index(id::PIECE, i32::from_be_bytes([e, f, g, h]))?;
    let size = u32::from_be_bytes([a, b, c, d]) - 5;
    stream.advance(HEAD_LENGTH + 9);
    Ok(Some(Decoded::Piece { index, size }))
}

/// Any other message, in a frame of `frame` bytes that is known to fit its number.
fn whole(stream: &mut BytesMut, id: i8, frame: usize) -> Result<Option<Decoded>, PeerError> {
    if stream.len() - HEAD_LENGTH < frame {
        return Ok(None);
    }
    stream.advance(HEAD_LENGTH + LENGTH + 1);
    let mut body = stream.split_to(frame - LENGTH - 1);
    Ok(Some(Decoded::Message(match id {
        id::CHOKE => Message::Choke,
        id::UNCHOKE => Message::Unchoke,
        id::INTERESTED => Message::Interested,
        id::NOT_INTERESTED => Message::NotInterested,
        id::HAVE => Message::Have(index(id, body.get_i32())?),
        id::REQUEST => Message::Request(index(id, body.get_i32())?),
        id::BITFIELD => {
            if let Some(&byte) = body.iter().find(|byte| **byte > 1) {
                return Err(PeerError::BadBitfield { byte });
            }
            Message::Bitfield(body.freeze())
        }
        _ => Message::ServerClose,
    })))
}

fn index(id: i8, index: i32) -> Result<u32, PeerError> {
    u32::try_from(index).map_err(|_| PeerError::NegativeIndex { id, index })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{framing, json_torrent::piece_head};

    fn framed(length: i32, rest: &[u8]) -> Vec<u8> {
        framing::frame(&[&length.to_be_bytes()[..], rest].concat())
    }

    fn decode(stream: &[u8]) -> Result<Option<Decoded>, PeerError> {
        Decoder::new(3000, 100).decode(&mut BytesMut::from(stream))
    }

    fn message(stream: &[u8]) -> Message {
        match decode(stream) {
            Ok(Some(Decoded::Message(message))) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_piece_is_announced_and_its_payload_left() {
        let mut stream = BytesMut::from(&piece_head(7, 3000)[..]);
        stream.extend_from_slice(b"payload");
        let decoded = Decoder::new(3000, 0).decode(&mut stream);
        assert_eq!(decoded, Ok(Some(Decoded::Piece { index: 7, size: 3000 })));
        assert_eq!(&stream[..], b"payload");
    }

    #[test]
    fn what_may_be_written_in_two_ways_is_read_in_both() {
        assert_eq!(message(&framed(0, b"")), Message::KeepAlive);
        assert_eq!(message(&framing::frame(b"")), Message::KeepAlive);
        assert_eq!(message(&framed(0, &[10])), Message::ServerClose);
        assert_eq!(message(&framed(1, &[10])), Message::ServerClose);
        assert_eq!(message(&framed(1, &[5])), Message::Bitfield(Bytes::new()));
    }

    #[test]
    fn lengths_are_bounded_before_anything_gathers() {
        for length in [3010, 1 << 32, 1 << 63, u64::MAX] {
            let want = PeerError::TooLong { length, limit: 3009 };
            assert_eq!(decode(&framing::head(length)), Err(want));
        }
        let open = |length: u64, id| {
            let inner = (length as u32 - 4).to_be_bytes();
            decode(&[&framing::head(length)[..], &inner, &[id]].concat())
        };
        assert_eq!(open(105, 5), Ok(None));
        assert_eq!(open(106, 5), Err(PeerError::TooLong { length: 106, limit: 105 }));
        assert_eq!(open(3009, 7), Ok(None));
        let small = Decoder::new(10, 100).decode(&mut BytesMut::from(&piece_head(0, 11)[..]));
        assert_eq!(small, Err(PeerError::TooLong { length: 20, limit: 19 }));
        let huge = Decoder::new(u32::MAX, u32::MAX)
            .decode(&mut BytesMut::from(&framing::head(u64::MAX)[..]));
        assert!(matches!(huge, Err(PeerError::TooLong { .. })));
    }

    #[test]
    fn both_lengths_must_agree() {
        for length in [-1, i32::MIN, i32::MAX, 0, 1, 2, 4, 6] {
            let stream = [&framing::head(9)[..], &length.to_be_bytes(), &[4, 0, 0, 0, 1]].concat();
            assert_eq!(decode(&stream), Err(PeerError::LengthsDiffer { frame: 9, length }));
        }
        for frame in 1..4 {
            assert_eq!(
                decode(&framing::head(frame)),
                Err(PeerError::LengthsDiffer { frame, length: 0 })
            );
        }
        assert_eq!(decode(&framed(0, &[2])), Err(PeerError::LengthsDiffer { frame: 5, length: 0 }));
        let stream = [&framing::head(4)[..], &(-4i32).to_be_bytes()].concat();
        assert_eq!(decode(&stream), Err(PeerError::LengthsDiffer { frame: 4, length: -4 }));
    }

    #[test]
    fn lengths_must_fit_the_number() {
        for (id, length) in [(0, 2), (3, 5), (4, 1), (4, 9), (6, 4), (7, 1), (7, 5), (10, 2)] {
            let stream = framed(length as i32, &vec![id as u8; length as usize]);
            assert_eq!(decode(&stream), Err(PeerError::BadLength { id, length }));
        }
        for id in [8, 9, 11, 20, 127, -1, -128] {
            assert_eq!(decode(&framed(1, &[id as u8])), Err(PeerError::UnknownMessage { id }));
        }
    }

    #[test]
    fn numbers_below_zero_and_bytes_that_are_no_bits_are_refused() {
        for id in [4, 6, 7] {
            let stream = framed(6, &[id as u8, 0xff, 0xff, 0xff, 0xfe, 0]);
            let stream = if id == 7 { stream } else { framed(5, &stream[12..17]) };
            assert_eq!(decode(&stream), Err(PeerError::NegativeIndex { id, index: -2 }));
        }
        assert_eq!(decode(&framed(4, &[5, 0, 1, 2])), Err(PeerError::BadBitfield { byte: 2 }));
    }

    #[test]
    fn a_bitfield_is_not_copied() {
        let mut stream = BytesMut::from(&framed(1001, &[&[5][..], &[1; 1000]].concat())[..]);
        let body = stream[13..].as_ptr();
        match Decoder::new(1, 1000).decode(&mut stream) {
            Ok(Some(Decoded::Message(Message::Bitfield(bytes)))) => {
                assert_eq!((bytes.as_ptr(), bytes.len()), (body, 1000));
            }
            other => panic!("{other:?}"),
        }
    }
}
