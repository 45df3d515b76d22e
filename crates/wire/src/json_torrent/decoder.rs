//! Decoder for the peer messages of the `json-torrent` protocol, for any segmentation of the
//! stream. The number of pieces is not known here; the engine checks indexes and bitfields against
//! it.

use bytes::{Buf, BytesMut};

use super::{Decoded, Message, id};
use crate::framing::{HEAD_LENGTH, length_of};

/// The size of a message's length field inside the frame, in bytes.
const LENGTH_FIELD: usize = 4;

/// Why a stream is rejected. Nothing after such an error can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// A frame exceeds the limit.
    #[error("a frame of {length} bytes; the limit is {limit}")]
    TooLong {
        /// The length in the frame's head, in bytes.
        length: u64,
        /// The limit for that message, in bytes.
        limit: u64,
    },
    /// The message's length is negative, or does not match the frame's length.
    #[error("a message with a length of {length} in a frame of {frame} bytes")]
    LengthsDiffer {
        /// The length in the frame's head, in bytes.
        frame: u64,
        /// The length in the message, in bytes.
        length: i32,
    },
    /// No message has this id.
    #[error("unknown message {id}")]
    UnknownMessage {
        /// The message id.
        id: i8,
    },
    /// The length is not valid for the message.
    #[error("message {id} with a length of {length}")]
    BadLength {
        /// The message id.
        id: i8,
        /// The length in the message, in bytes.
        length: u32,
    },
    /// A negative piece index.
    #[error("message {id} with a piece index of {index}")]
    NegativeIndex {
        /// The message id.
        id: i8,
        /// The index.
        index: i32,
    },
    /// A byte of a bitfield is neither 0 nor 1.
    #[error("a bitfield with a byte of {byte}")]
    BadBitfield {
        /// The byte.
        byte: u8,
    },
}

/// Decodes a stream into messages, one at a time, for any segmentation.
#[derive(Debug, Clone)]
pub struct Decoder {
    max_piece: u32,
    max_bitfield: u32,
}

impl Decoder {
    /// A decoder with a limit of `max_piece` bytes for pieces and of `max_bitfield` pieces for
    /// bitfields.
    pub fn new(max_piece: u32, max_bitfield: u32) -> Self {
        Self { max_piece, max_bitfield }
    }

    /// Takes the next message, or the head of the next piece, off the front of `stream`.
    ///
    /// `None` means that more bytes are needed; `stream` then holds the start of one message, fewer
    /// than 13 bytes and `max_bitfield`. A bitfield is split off without copying, so it keeps the
    /// memory of `stream` alive.
    ///
    /// # Errors
    /// When the stream is not of this protocol, or a limit is exceeded. The connection cannot be
    /// used further.
    pub fn decode(&mut self, stream: &mut BytesMut) -> Result<Option<Decoded>, PeerError> {
        let Some(frame) = stream.first_chunk().map(|head| length_of(*head)) else {
            return Ok(None);
        };
        if frame == 0 {
            // An empty frame counts as a KeepAlive: some implementations send it without a length.
            stream.advance(HEAD_LENGTH);
            return Ok(Some(Decoded::Message(Message::KeepAlive)));
        }
        let limit = self.max_piece_length().max(self.max_bitfield_length()) + LENGTH_FIELD as u64;
        if frame > limit {
            return Err(PeerError::TooLong { length: frame, limit });
        }
        if frame < LENGTH_FIELD as u64 {
            return Err(PeerError::LengthsDiffer { frame, length: 0 });
        }
        let Some(length) =
            stream[HEAD_LENGTH..].first_chunk().map(|length| i32::from_be_bytes(*length))
        else {
            return Ok(None);
        };
        // The protocol gives `ServerClose` a length of 0 although it has an id.
        let is_close_without_length = frame == 5 && length == 0;
        if i64::from(length) + LENGTH_FIELD as i64 != frame as i64 && !is_close_without_length {
            return Err(PeerError::LengthsDiffer { frame, length });
        }
        if frame == LENGTH_FIELD as u64 {
            stream.advance(HEAD_LENGTH + LENGTH_FIELD);
            return Ok(Some(Decoded::Message(Message::KeepAlive)));
        }
        let Some(id) = stream.get(HEAD_LENGTH + LENGTH_FIELD).map(|id| *id as i8) else {
            return Ok(None);
        };
        if is_close_without_length && id != id::SERVER_CLOSE {
            return Err(PeerError::LengthsDiffer { frame, length });
        }
        self.check_length(id, frame - LENGTH_FIELD as u64)?;
        if id == id::PIECE {
            take_piece_head(stream)
        } else {
            take_message(stream, id, frame as usize)
        }
    }

    /// Checks the length of a message against its id.
    fn check_length(&self, id: i8, length: u64) -> Result<(), PeerError> {
        let (shortest, longest) = match id {
            id::CHOKE | id::UNCHOKE | id::INTERESTED | id::NOT_INTERESTED | id::SERVER_CLOSE => {
                (1, 1)
            }
            id::HAVE | id::REQUEST => (5, 5),
            id::BITFIELD => (1, self.max_bitfield_length()),
            id::PIECE => (6, self.max_piece_length()),
            _ => return Err(PeerError::UnknownMessage { id }),
        };
        if length < shortest || (shortest == longest && length != longest) {
            return Err(PeerError::BadLength { id, length: length as u32 });
        }
        if length > longest {
            let limit = longest + LENGTH_FIELD as u64;
            return Err(PeerError::TooLong { length: length + LENGTH_FIELD as u64, limit });
        }
        Ok(())
    }

    fn max_bitfield_length(&self) -> u64 {
        1 + u64::from(self.max_bitfield)
    }

    fn max_piece_length(&self) -> u64 {
        5 + u64::from(self.max_piece)
    }
}

/// Takes the head of a piece, whose length is already checked.
fn take_piece_head(stream: &mut BytesMut) -> Result<Option<Decoded>, PeerError> {
    let Some(&[a, b, c, d, _, e, f, g, h]) = stream[HEAD_LENGTH..].first_chunk() else {
        return Ok(None);
    };
    let index = checked_index(id::PIECE, i32::from_be_bytes([e, f, g, h]))?;
    let size = u32::from_be_bytes([a, b, c, d]) - 5;
    stream.advance(HEAD_LENGTH + 9);
    Ok(Some(Decoded::Piece { index, size }))
}

/// Takes any other message, in a frame of `frame` bytes that is already checked against its id.
fn take_message(stream: &mut BytesMut, id: i8, frame: usize) -> Result<Option<Decoded>, PeerError> {
    if stream.len() - HEAD_LENGTH < frame {
        return Ok(None);
    }
    stream.advance(HEAD_LENGTH + LENGTH_FIELD + 1);
    let mut body = stream.split_to(frame - LENGTH_FIELD - 1);
    Ok(Some(Decoded::Message(match id {
        id::CHOKE => Message::Choke,
        id::UNCHOKE => Message::Unchoke,
        id::INTERESTED => Message::Interested,
        id::NOT_INTERESTED => Message::NotInterested,
        id::HAVE => Message::Have(checked_index(id, body.get_i32())?),
        id::REQUEST => Message::Request(checked_index(id, body.get_i32())?),
        id::BITFIELD => {
            if let Some(&byte) = body.iter().find(|byte| **byte > 1) {
                return Err(PeerError::BadBitfield { byte });
            }
            Message::Bitfield(body.freeze())
        }
        _ => Message::ServerClose,
    })))
}

fn checked_index(id: i8, index: i32) -> Result<u32, PeerError> {
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
    fn a_piece_yields_its_head_and_leaves_its_payload() {
        let mut stream = BytesMut::from(&piece_head(7, 3000)[..]);
        stream.extend_from_slice(b"payload");
        let decoded = Decoder::new(3000, 0).decode(&mut stream);
        assert_eq!(decoded, Ok(Some(Decoded::Piece { index: 7, size: 3000 })));
        assert_eq!(&stream[..], b"payload");
    }

    #[test]
    fn both_encodings_of_a_message_are_decoded() {
        assert_eq!(message(&framed(0, b"")), Message::KeepAlive);
        assert_eq!(message(&framing::frame(b"")), Message::KeepAlive);
        assert_eq!(message(&framed(0, &[10])), Message::ServerClose);
        assert_eq!(message(&framed(1, &[10])), Message::ServerClose);
        assert_eq!(message(&framed(1, &[5])), Message::Bitfield(Bytes::new()));
    }

    #[test]
    fn lengths_are_bounded_before_the_body_arrives() {
        for length in [3010, 1 << 32, 1 << 63, u64::MAX] {
            let want = PeerError::TooLong { length, limit: 3009 };
            assert_eq!(decode(&framing::head(length)), Err(want));
        }
        let start_of = |length: u64, id| {
            let inner = (length as u32 - 4).to_be_bytes();
            decode(&[&framing::head(length)[..], &inner, &[id]].concat())
        };
        assert_eq!(start_of(105, 5), Ok(None));
        assert_eq!(start_of(106, 5), Err(PeerError::TooLong { length: 106, limit: 105 }));
        assert_eq!(start_of(3009, 7), Ok(None));
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
    fn lengths_must_be_valid_for_the_message_id() {
        for (id, length) in [(0, 2), (3, 5), (4, 1), (4, 9), (6, 4), (7, 1), (7, 5), (10, 2)] {
            let stream = framed(length as i32, &vec![id as u8; length as usize]);
            assert_eq!(decode(&stream), Err(PeerError::BadLength { id, length }));
        }
        for id in [8, 9, 11, 20, 127, -1, -128] {
            assert_eq!(decode(&framed(1, &[id as u8])), Err(PeerError::UnknownMessage { id }));
        }
    }

    #[test]
    fn negative_indexes_and_bitfield_bytes_above_one_are_rejected() {
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
