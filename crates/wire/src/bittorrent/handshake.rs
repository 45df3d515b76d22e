//! The handshake: the first 68 bytes of a connection (BEP 3) and the extension bits in them (BEP 6,
//! BEP 10). The extension handshake of BEP 10 is in `extension`.

use std::fmt;

use sow_content::InfoHash;

/// The length of a handshake in bytes.
pub const HANDSHAKE_LENGTH: usize = 68;

/// The first 20 bytes of every BitTorrent connection.
pub const HANDSHAKE_PREFIX: &[u8; 20] = b"\x13BitTorrent protocol";

/// A peer id (BEP 20). This program uses `-SW0100-` and twelve random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub [u8; 20]);

/// The fields of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// The swarm.
    pub info_hash: InfoHash,
    /// The peer id of the sender.
    pub peer_id: PeerId,
    /// Whether the sender supports the fast extension (BEP 6).
    pub fast: bool,
    /// Whether the sender supports the extension protocol (BEP 10).
    pub extended: bool,
}

/// The first 20 bytes are not [`HANDSHAKE_PREFIX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a BitTorrent handshake")]
pub struct NotBitTorrent;

impl Handshake {
    /// The encoded handshake.
    pub fn encode(&self) -> [u8; HANDSHAKE_LENGTH] {
        let mut bytes = [0; HANDSHAKE_LENGTH];
        bytes[..20].copy_from_slice(HANDSHAKE_PREFIX);
        bytes[25] = if self.extended { 0x10 } else { 0 };
        bytes[27] = if self.fast { 0x04 } else { 0 };
        bytes[28..48].copy_from_slice(&self.info_hash.0);
        bytes[48..].copy_from_slice(&self.peer_id.0);
        bytes
    }

    /// Decodes a handshake. Unknown reserved bits are ignored (BEP 4).
    ///
    /// # Errors
    /// When the prefix is that of another protocol.
    pub fn decode(bytes: &[u8; HANDSHAKE_LENGTH]) -> Result<Self, NotBitTorrent> {
        if &bytes[..20] != HANDSHAKE_PREFIX {
            return Err(NotBitTorrent);
        }
        let twenty_bytes = |from: usize| std::array::from_fn(|at| bytes[from + at]);
        Ok(Self {
            info_hash: InfoHash(twenty_bytes(28)),
            peer_id: PeerId(twenty_bytes(48)),
            fast: bytes[27] & 0x04 != 0,
            extended: bytes[25] & 0x10 != 0,
        })
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in &self.0 {
            if byte.is_ascii_graphic() {
                write!(f, "{}", byte as char)?;
            } else {
                write!(f, "%{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_round_trip_with_any_extension_bits() {
        for (fast, extended) in [(false, false), (true, false), (false, true), (true, true)] {
            let handshake = Handshake {
                info_hash: InfoHash([7; 20]),
                peer_id: PeerId(*b"-SW0100-abcdefghijkl"),
                fast,
                extended,
            };
            assert_eq!(Handshake::decode(&handshake.encode()), Ok(handshake));
        }
    }

    #[test]
    fn other_protocols_are_rejected() {
        let mut bytes = [b'G'; HANDSHAKE_LENGTH];
        assert_eq!(Handshake::decode(&bytes), Err(NotBitTorrent));
        bytes[..20].copy_from_slice(HANDSHAKE_PREFIX);
        assert!(Handshake::decode(&bytes).is_ok());
    }
}
