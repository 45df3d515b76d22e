//! Peer exchange (BEP 11): the addresses of peers that the sender has connected to and lost.
//! Whether to dial them is not decided here.

use std::net::SocketAddr;

use sow_content::bencode::{Encoder, Limits, decode};

use super::ExtensionError;
use crate::compact;

/// The number of added peers, and of dropped peers, that are kept of one message.
pub const MAX_PEX_PEERS: usize = 50;

/// A peer exchange message (BEP 11). Decoding keeps at most 50 added and 50 dropped peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PexMessage {
    /// Peers that the sender has connected to since its last message, of both address families.
    pub added: Vec<SocketAddr>,
    /// Peers that the sender has lost since then.
    pub dropped: Vec<SocketAddr>,
}

impl PexMessage {
    /// Decodes the body of a `ut_pex` message. Addresses that are not dialable are omitted; flags
    /// are ignored.
    ///
    /// # Errors
    /// When the body is not one bencoded dictionary, or a list in it is not a string.
    pub fn decode(body: &[u8]) -> Result<Self, ExtensionError> {
        let value = decode(body, Limits::SMALL)?;
        value.as_dict().ok_or(ExtensionError::NotADictionary)?;
        let list = |key: &'static str| match value.dict_get(key.as_bytes()) {
            None => Ok(&b""[..]),
            Some(value) => value.as_bytes().ok_or(ExtensionError::Key(key)),
        };
        let peers = |v4: &[u8], v6: &[u8]| {
            compact::read_v4(v4).chain(compact::read_v6(v6)).take(MAX_PEX_PEERS).collect()
        };
        Ok(Self {
            added: peers(list("added")?, list("added6")?),
            dropped: peers(list("dropped")?, list("dropped6")?),
        })
    }

    /// The body of a `ut_pex` message, with no flags set.
    pub fn encode(&self) -> Vec<u8> {
        let (added, added6) = compacted(&self.added);
        let (dropped, dropped6) = compacted(&self.dropped);
        let mut encoder = Encoder::new();
        encoder.dict(|dict| {
            dict.bytes(b"added", &added);
            dict.bytes(b"added.f", &vec![0; added.len() / compact::V4_LENGTH]);
            dict.bytes(b"added6", &added6);
            dict.bytes(b"added6.f", &vec![0; added6.len() / compact::V6_LENGTH]);
            dict.bytes(b"dropped", &dropped);
            dict.bytes(b"dropped6", &dropped6);
        });
        encoder.finish()
    }
}

fn compacted(addrs: &[SocketAddr]) -> (Vec<u8>, Vec<u8>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    addrs.iter().for_each(|&addr| compact::append(addr, &mut v4, &mut v6));
    (v4, v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_another_program_is_decoded() {
        let body = b"d5:added12:\x0a\0\0\x01\x1a\xe1\x0a\0\0\x02\x1a\xe27:added.f2:\x10\x021:xi1ee";
        let read = PexMessage::decode(body).unwrap();
        assert_eq!(
            read.added,
            ["10.0.0.1:6881".parse().unwrap(), "10.0.0.2:6882".parse().unwrap()]
        );
        assert_eq!(read.dropped, []);
        assert_eq!(PexMessage::decode(b"de"), Ok(PexMessage::default()));
    }

    #[test]
    fn the_number_of_peers_is_limited() {
        let peers = [1; 6 * 1000];
        let body = [b"d5:added6000:".as_slice(), &peers, b"7:dropped6000:", &peers, b"e"].concat();
        let read = PexMessage::decode(&body).unwrap();
        assert_eq!((read.added.len(), read.dropped.len()), (MAX_PEX_PEERS, MAX_PEX_PEERS));
    }

    #[test]
    fn errors_name_the_key() {
        assert_eq!(PexMessage::decode(b"d5:addedi1ee"), Err(ExtensionError::Key("added")));
        assert_eq!(PexMessage::decode(b"le"), Err(ExtensionError::NotADictionary));
        assert!(matches!(PexMessage::decode(b"d5:added9:e"), Err(ExtensionError::Bencode(_))));
    }
}
