//! Encoder for the peer messages of the `json-torrent` protocol, each in its frame, and for the
//! head of a `Piece`. The payload of a piece is not copied here.

use bytes::{BufMut, BytesMut};

use super::{Message, id};

/// Appends an encoded message. Piece indexes must be below 2^31, and a bitfield must have fewer
/// than 2^31 bytes: the fields of the protocol are signed.
pub fn encode(message: &Message, out: &mut BytesMut) {
    match message {
        Message::KeepAlive => put_lengths(out, 0),
        Message::Choke => put_bare(out, id::CHOKE),
        Message::Unchoke => put_bare(out, id::UNCHOKE),
        Message::Interested => put_bare(out, id::INTERESTED),
        Message::NotInterested => put_bare(out, id::NOT_INTERESTED),
        Message::Have(piece) => put_indexed(out, id::HAVE, *piece),
        Message::Bitfield(bytes) => {
            put_head(out, id::BITFIELD, bytes.len());
            out.put_slice(bytes);
        }
        Message::Request(piece) => put_indexed(out, id::REQUEST, *piece),
        Message::ServerClose => put_bare(out, id::SERVER_CLOSE),
    }
}

/// The 17 bytes before the `size` bytes of a piece: the head of the frame and of the message.
/// `index` must be below 2^31, and `size` at most 2^31 - 6.
pub fn piece_head(index: u32, size: u32) -> [u8; 17] {
    let mut head = [0; 17];
    head[..8].copy_from_slice(&(u64::from(size) + 9).to_be_bytes());
    head[8..12].copy_from_slice(&size.saturating_add(5).to_be_bytes());
    head[12] = id::PIECE as u8;
    head[13..].copy_from_slice(&index.to_be_bytes());
    head
}

/// Appends the frame's length and the message's length, for a message of `length` bytes.
fn put_lengths(out: &mut BytesMut, length: usize) {
    out.reserve(12 + length);
    out.put_u64(4 + length as u64);
    out.put_i32(length as i32);
}

/// Appends both lengths and the id, for a body of `body_length` bytes.
fn put_head(out: &mut BytesMut, id: i8, body_length: usize) {
    put_lengths(out, 1 + body_length);
    out.put_i8(id);
}

fn put_bare(out: &mut BytesMut, id: i8) {
    put_head(out, id, 0);
}

fn put_indexed(out: &mut BytesMut, id: i8, piece: u32) {
    put_head(out, id, 4);
    out.put_u32(piece);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn every_message_has_the_expected_bytes() {
        for (message, want) in [
            (Message::KeepAlive, &b"\0\0\0\0\0\0\0\x04\0\0\0\0"[..]),
            (Message::Choke, b"\0\0\0\0\0\0\0\x05\0\0\0\x01\0"),
            (Message::Unchoke, b"\0\0\0\0\0\0\0\x05\0\0\0\x01\x01"),
            (Message::Interested, b"\0\0\0\0\0\0\0\x05\0\0\0\x01\x02"),
            (Message::NotInterested, b"\0\0\0\0\0\0\0\x05\0\0\0\x01\x03"),
            (Message::Have(258), b"\0\0\0\0\0\0\0\x09\0\0\0\x05\x04\0\0\x01\x02"),
            (
                Message::Bitfield(Bytes::from_static(&[1, 0, 1])),
                b"\0\0\0\0\0\0\0\x08\0\0\0\x04\x05\x01\0\x01",
            ),
            (Message::Request(1), b"\0\0\0\0\0\0\0\x09\0\0\0\x05\x06\0\0\0\x01"),
            (Message::ServerClose, b"\0\0\0\0\0\0\0\x05\0\0\0\x01\x0a"),
        ] {
            let mut out = BytesMut::new();
            encode(&message, &mut out);
            assert_eq!(&out[..], want, "{message:?}");
        }
        assert_eq!(piece_head(2, 3000), *b"\0\0\0\0\0\0\x0b\xc1\0\0\x0b\xbd\x07\0\0\0\x02");
    }
}
