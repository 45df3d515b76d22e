//! Withdrawal (`sow_withdraw`, an extension of this project): the sender no longer has the content,
//! and says why. Whether that is believed is not decided here.

use sow_content::bencode::{Encoder, Limits, Value, decode};

use super::ExtensionError;

/// The longest reason that is sent or kept, in bytes of UTF-8.
pub const MAX_WITHDRAWAL_REASON: usize = 256;

/// The body of a `sow_withdraw` message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// Why, for people: at most [`MAX_WITHDRAWAL_REASON`] bytes, without control characters.
    pub reason: String,
}

impl Withdrawal {
    /// A withdrawal for a reason, which is shortened.
    pub fn new(reason: &str) -> Self {
        let mut kept = String::new();
        for c in reason.chars().filter(|c| !c.is_control()) {
            if kept.len() + c.len_utf8() > MAX_WITHDRAWAL_REASON {
                break;
            }
            kept.push(c);
        }
        Self { reason: kept }
    }

    /// Decodes the body of a `sow_withdraw` message. Unknown keys are ignored.
    ///
    /// # Errors
    /// When the body is not one bencoded dictionary, or its reason is missing.
    pub fn decode(body: &[u8]) -> Result<Self, ExtensionError> {
        let value = decode(body, Limits::SMALL)?;
        value.as_dict().ok_or(ExtensionError::NotADictionary)?;
        let reason = value.dict_get(b"reason").and_then(Value::as_bytes);
        let reason = reason.ok_or(ExtensionError::Key("reason"))?;
        Ok(Self::new(&String::from_utf8_lossy(reason)))
    }

    /// The body of a `sow_withdraw` message.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.dict(|dict| dict.bytes(b"reason", self.reason.as_bytes()));
        encoder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_arrives_without_control_characters_and_bounded() {
        let sent = Withdrawal::new("big.iso was changed");
        assert_eq!(Withdrawal::decode(&sent.encode()), Ok(sent));
        let long = format!("d6:reason600:\x1b{}e", "ü".repeat(299) + "x");
        let read = Withdrawal::decode(long.as_bytes()).unwrap();
        assert_eq!(read.reason, "ü".repeat(MAX_WITHDRAWAL_REASON / 2));
    }

    #[test]
    fn a_body_without_a_reason_is_rejected() {
        assert_eq!(Withdrawal::decode(b"de"), Err(ExtensionError::Key("reason")));
        assert_eq!(Withdrawal::decode(b"d6:reasoni1ee"), Err(ExtensionError::Key("reason")));
        assert_eq!(Withdrawal::decode(b"le"), Err(ExtensionError::NotADictionary));
    }
}
