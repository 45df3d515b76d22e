//! The 68 bytes that open a connection (BEP 3), and the extension bits in them (BEP 6, BEP 10).

use std::fmt;

use sow_content::InfoHash;

/// The length of a handshake in bytes.
pub const HANDSHAKE_LENGTH: usize = 68;

/// The first twenty bytes of every BitTorrent connection.
pub const PREFIX: &[u8; 20] = b"\x13BitTorrent protocol";

/// How a program names itself in a swarm (BEP 20: `-SW0100-` and twelve random bytes).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub [u8; 20]);

/// What a handshake says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// The swarm that is asked for.
    pub info_hash: InfoHash,
    /// Who asks.
    pub peer_id: PeerId,
    /// The fast extension is spoken (BEP 6).
    pub fast: bool,
    /// The extension protocol is spoken (BEP 10).
    pub extended: bool,
}

/// The first twenty bytes are not those of BitTorrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a BitTorrent handshake")]
pub struct NotBitTorrent;

impl Handshake {
    /// The bytes that travel.
    pub fn encode(&self) -> [u8; HANDSHAKE_LENGTH] {
        let mut bytes = [0; HANDSHAKE_LENGTH];
        bytes[..20].copy_from_slice(PREFIX);
        bytes[25] = if self.extended { 0x10 } else { 0 };
        bytes[27] = if self.fast { 0x04 } else { 0 };
        bytes[28..48].copy_from_slice(&self.info_hash.0);
        bytes[48..].copy_from_slice(&self.peer_id.0);
        bytes
    }

    /// Reads a handshake. Reserved bits that are not known are passed over (BEP 4).
    ///
    /// # Errors
    /// When the prefix is another protocol's.
    pub fn decode(bytes: &[u8; HANDSHAKE_LENGTH]) -> Result<Self, NotBitTorrent> {
        if &bytes[..20] != PREFIX {
            return Err(NotBitTorrent);
        }
        let twenty = |from: usize| std::array::from_fn(|at| bytes[from + at]);
        Ok(Self {
            info_hash: InfoHash(twenty(28)),
            peer_id: PeerId(twenty(48)),
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
    fn round_trip() {
        for (fast, extended) in [(false, false), (true, false), (false, true), (true, true)] {
            let ours = Handshake {
                info_hash: InfoHash([7; 20]),
                peer_id: PeerId(*b"-SW0100-abcdefghijkl"),
                fast,
                extended,
            };
            assert_eq!(Handshake::decode(&ours.encode()), Ok(ours));
        }
    }

    #[test]
    fn other_protocols_are_told_apart() {
        let mut bytes = [b'G'; HANDSHAKE_LENGTH];
        assert_eq!(Handshake::decode(&bytes), Err(NotBitTorrent));
        bytes[..20].copy_from_slice(PREFIX);
        assert!(Handshake::decode(&bytes).is_ok());
    }
}
