//! The BitTorrent handshake: its prefix decides, nothing is lost, nothing is allocated.

use sow_wire::bittorrent::{
    Handshake,
    handshake::{HANDSHAKE_LENGTH, PREFIX},
};

use crate::memory;

/// Decodes the first 68 bytes; what is missing of them is taken for zeros.
pub fn handshake(data: &[u8]) {
    let mut bytes = [0; HANDSHAKE_LENGTH];
    let length = data.len().min(HANDSHAKE_LENGTH);
    bytes[..length].copy_from_slice(&data[..length]);
    let decoded = memory::within(0, || Handshake::decode(&bytes));
    assert_eq!(decoded.is_ok(), bytes.starts_with(PREFIX));
    if let Ok(handshake) = decoded {
        // Of the reserved bits, two are known and kept.
        let mut known = bytes;
        known[20..28].fill(0);
        known[25] = bytes[25] & 0x10;
        known[27] = bytes[27] & 0x04;
        assert_eq!(memory::within(0, || handshake.encode()), known);
        assert_eq!(Handshake::decode(&known), Ok(handshake));
    }
}
