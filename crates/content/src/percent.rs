//! Percent-encoding (RFC 3986) of hashes and names in URLs, magnet links and announces.
//!
//! Encoding is the `percent-encoding` crate's. [`decode`] is not: that crate keeps a `%` without
//! two hexadecimal digits after it as it is, and a damaged info-hash or URL must be rejected
//! instead. What the encoded bytes mean is not known here.

use percent_encoding::{NON_ALPHANUMERIC, PercentEncode, percent_decode, percent_encode};

pub use percent_encoding::AsciiSet;

/// Encodes everything except the unreserved characters: letters, digits and `-._~`. For one
/// component of a URL, such as a file name or a query value.
pub const COMPONENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// As [`COMPONENT`], but keeps the `:`, `[` and `]` of a `HOST:PORT`.
pub const HOST_AND_PORT: &AsciiSet = &COMPONENT.remove(b':').remove(b'[').remove(b']');

/// The encoded form of `bytes`: every byte in `encoded` and every byte beyond ASCII is `%XX`. Print
/// the result, or extend a `String` with it.
pub fn encode<'a>(bytes: &'a [u8], encoded: &'static AsciiSet) -> PercentEncode<'a> {
    percent_encode(bytes, encoded)
}

/// The bytes that `text` encodes; `None` when a `%` is not followed by two hexadecimal digits.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|&digit| char::from(digit).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        decoded.push((high * 16 + low) as u8);
    }
    Some(decoded)
}

/// The bytes that `text` encodes; a `%` without two hexadecimal digits after it stays as it is. For
/// text that is only shown.
pub fn decode_leniently(text: &[u8]) -> Vec<u8> {
    percent_decode(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_round_trips() {
        let bytes: Vec<u8> = (0..=255).collect();
        for encoded in [COMPONENT, HOST_AND_PORT] {
            let text = encode(&bytes, encoded).to_string();
            assert!(text.is_ascii() && text.contains("%00") && text.contains("%FF"), "{text}");
            assert_eq!(text.contains(":"), encoded == HOST_AND_PORT);
            assert!(text.contains("-.") && text.contains("%2F0") && text.contains("~"), "{text}");
            assert_eq!(decode(text.as_bytes()), Some(bytes.clone()));
        }
    }

    #[test]
    fn an_incomplete_escape_is_rejected() {
        assert_eq!(decode(b"a%2"), None);
        assert_eq!(decode(b"%"), None);
        assert_eq!(decode(b"%zz"), None);
        assert_eq!(decode(b"%+1"), None);
        assert_eq!(decode(b"a%2fB%2F"), Some(b"a/B/".to_vec()));
    }
}
