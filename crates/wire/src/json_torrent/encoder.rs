//! Document 2's peer messages as they travel, each inside a frame, and the head of a piece.

use bytes::{BufMut, BytesMut};

use super::{Message, id};

/// Appends a message as it travels. Piece indexes are below 2^31, and a bitfield has at most as
/// many bytes: there is nothing to write for others.
pub fn encode(message: &Message, out: &mut BytesMut) {
    match message {
        Message::KeepAlive => length(out, 0),
        Message::Choke => bare(out, id::CHOKE),
        Message::Unchoke => bare(out, id::UNCHOKE),
        Message::Interested => bare(out, id::INTERESTED),
        Message::NotInterested => bare(out, id::NOT_INTERESTED),
        Message::Have(piece) => index(out, id::HAVE, *piece),
        Message::Bitfield(bytes) => {
            head(out, id::BITFIELD, bytes.len());
            out.put_slice(bytes);
        }
        Message::Request(piece) => index(out, id::REQUEST, *piece),
        Message::ServerClose => bare(out, id::SERVER_CLOSE),
    }
}

/// The 17 bytes that go before the `size` bytes of a piece: the frame's head and the message's.
/// `index` is below 2^31, and `size` at most 2^31 - 6.
pub fn piece_head(index: u32, size: u32) -> [u8; 17] {
    let mut head = [0; 17];
    head[..8].copy_from_slice(&(u64::from(size) + 9).to_be_bytes());
    head[8..12].copy_from_slice(&size.saturating_add(5).to_be_bytes());
    head[12] = id::PIECE as u8;
    head[13..].copy_from_slice(&index.to_be_bytes());
    head
}

/// The frame's head and the message's length.
fn length(out: &mut BytesMut, length: usize) {
    out.reserve(12 + length);
    out.put_u64(4 + length as u64);
    out.put_i32(length as i32);
}

/// All that goes before a body of `body` bytes.
fn head(out: &mut BytesMut, id: i8, body: usize) {
    length(out, 1 + body);
    out.put_i8(id);
}

fn bare(out: &mut BytesMut, id: i8) {
    head(out, id, 0);
}

fn index(out: &mut BytesMut, id: i8, piece: u32) {
    head(out, id, 4);
    out.put_u32(piece);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_bytes_of_every_message() {
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
