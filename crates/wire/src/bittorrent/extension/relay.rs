//! Relaying (`sow_relay`, an extension of this project): the origin of a crowd names the peers of
//! which a receiver fetches the stripes of the content, and the receiver says when that does not
//! work. A *stripe* is every n-th piece. Whether such a message is believed is not decided here.

use std::net::SocketAddr;

use sow_content::bencode::{Encoder, Limits, Value, decode};

use super::ExtensionError;
use crate::compact;

/// The limit of stripes.
pub const MAX_STRIPES: usize = 16;

/// The peer that a stripe is fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// Any peer that has its pieces.
    Unassigned,
    /// From the sender of the message.
    Sender,
    /// From the peer that accepts connections at an address.
    Peer(SocketAddr),
}

/// The body of a `sow_relay` message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayMessage {
    /// The parent of each stripe from now on; stripe `s` of `n` has the pieces whose index
    /// leaves the remainder `s` when it is divided by `n`. From 1 to [`MAX_STRIPES`] stripes.
    Parents(Vec<Parent>),
    /// A stripe does not come as it should: another parent is wanted.
    Orphaned {
        /// The number of the stripe, below [`MAX_STRIPES`].
        stripe: u8,
        /// The parent is at fault: it is not reached, is gone, or has what it does not send.
        is_at_fault: bool,
    },
}

/// The form of [`Parent::Sender`].
const SENDER: &[u8] = b"s";

impl RelayMessage {
    /// Decodes the body of a `sow_relay` message. Unknown keys are ignored; a parent that is not
    /// understood, or at an address that cannot be dialed, is [`Parent::Unassigned`].
    ///
    /// # Errors
    /// When the body is not one bencoded dictionary, or says nothing, or has no stripe or too many.
    pub fn decode(body: &[u8]) -> Result<Self, ExtensionError> {
        let value = decode(body, Limits::SMALL)?;
        value.as_dict().ok_or(ExtensionError::NotADictionary)?;
        if let Some(parents) = value.dict_get(b"parents") {
            let parents = parents.as_list().ok_or(ExtensionError::Key("parents"))?;
            if parents.is_empty() || parents.len() > MAX_STRIPES {
                return Err(ExtensionError::Key("parents"));
            }
            return Ok(Self::Parents(parents.iter().map(parent).collect()));
        }
        let stripe = value.dict_get(b"orphaned").and_then(Value::as_int);
        let stripe = stripe.and_then(|stripe| u8::try_from(stripe).ok());
        let stripe = stripe.filter(|&stripe| usize::from(stripe) < MAX_STRIPES);
        Ok(Self::Orphaned {
            stripe: stripe.ok_or(ExtensionError::Key("orphaned"))?,
            is_at_fault: value.dict_get(b"fault").and_then(Value::as_int) == Some(1),
        })
    }

    /// The body of a `sow_relay` message.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.dict(|dict| match self {
            Self::Parents(parents) => dict.entry(b"parents", |encoder| {
                encoder
                    .list(|list| parents.iter().for_each(|&parent| list.bytes(&encoded(parent))));
            }),
            Self::Orphaned { stripe, is_at_fault } => {
                dict.int(b"fault", i64::from(*is_at_fault));
                dict.int(b"orphaned", i64::from(*stripe));
            }
        });
        encoder.finish()
    }
}

fn parent(value: &Value<'_>) -> Parent {
    let addr = match value.as_bytes() {
        Some(SENDER) => return Parent::Sender,
        Some(bytes) if bytes.len() == compact::V4_LENGTH => compact::read_v4(bytes).next(),
        Some(bytes) if bytes.len() == compact::V6_LENGTH => compact::read_v6(bytes).next(),
        _ => None,
    };
    addr.map_or(Parent::Unassigned, Parent::Peer)
}

fn encoded(parent: Parent) -> Vec<u8> {
    let addr = match parent {
        Parent::Unassigned => return Vec::new(),
        Parent::Sender => return SENDER.to_vec(),
        Parent::Peer(addr) => addr,
    };
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    compact::append(addr, &mut v4, &mut v6);
    v4.append(&mut v6);
    v4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let v4 = Parent::Peer("10.0.0.1:6881".parse().unwrap());
        let v6 = Parent::Peer("[fd00::1]:6882".parse().unwrap());
        let parents = RelayMessage::Parents(vec![Parent::Sender, v4, v6, Parent::Unassigned]);
        assert_eq!(RelayMessage::decode(&parents.encode()), Ok(parents));
        for is_at_fault in [false, true] {
            let orphaned = RelayMessage::Orphaned { stripe: 15, is_at_fault };
            assert_eq!(RelayMessage::decode(&orphaned.encode()), Ok(orphaned));
        }
    }

    #[test]
    fn what_cannot_be_a_parent_is_unassigned() {
        let body = b"d7:parentsl6:\x00\x00\x00\x00\x00\x003:abci1e0:ee";
        assert_eq!(
            RelayMessage::decode(body),
            Ok(RelayMessage::Parents(vec![Parent::Unassigned; 4]))
        );
    }

    #[test]
    fn numbers_are_bounded() {
        let parents = [&b"d7:parentsl"[..], &b"1:s".repeat(MAX_STRIPES + 1), b"ee"].concat();
        for (body, key) in [
            (&parents[..], "parents"),
            (b"d7:parentslee", "parents"),
            (b"d7:parentsi1ee", "parents"),
            (b"d8:orphanedi16ee", "orphaned"),
            (b"d8:orphanedi-1ee", "orphaned"),
            (b"de", "orphaned"),
        ] {
            assert_eq!(RelayMessage::decode(body), Err(ExtensionError::Key(key)));
        }
        assert_eq!(RelayMessage::decode(b"le"), Err(ExtensionError::NotADictionary));
    }
}
