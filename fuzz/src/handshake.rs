//! The BitTorrent handshake: the prefix alone decides whether it is accepted, it round trips, and
//! nothing is allocated.

use sow_wire::bittorrent::{
    Handshake,
    handshake::{HANDSHAKE_LENGTH, HANDSHAKE_PREFIX},
};

use crate::memory;

/// Decodes the first 68 bytes; a shorter input is padded with zeros.
pub fn handshake(data: &[u8]) {
    let mut bytes = [0; HANDSHAKE_LENGTH];
    let length = data.len().min(HANDSHAKE_LENGTH);
    bytes[..length].copy_from_slice(&data[..length]);
    let decoded = memory::within(0, || Handshake::decode(&bytes));
    assert_eq!(decoded.is_ok(), bytes.starts_with(HANDSHAKE_PREFIX));
    if let Ok(handshake) = decoded {
        // Two of the reserved bits are known and kept.
        let mut known = bytes;
        known[20..28].fill(0);
        known[25] = bytes[25] & 0x10;
        known[27] = bytes[27] & 0x04;
        assert_eq!(memory::within(0, || handshake.encode()), known);
        assert_eq!(Handshake::decode(&known), Ok(handshake));
    }
}
