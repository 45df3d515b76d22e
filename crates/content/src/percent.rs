//! Percent-encoding (RFC 3986) of bytes in URLs: magnet links and announces carry hashes and names
//! in it.

/// Appends `bytes` to `out`: letters, digits and `-._~` as they are, and so the ASCII characters in
/// `keep`; all else as `%XX`.
pub fn encode_into(out: &mut String, bytes: &[u8], keep: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric()
            || b"-._~".contains(&byte)
            || (byte.is_ascii() && keep.contains(&byte))
        {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// The bytes that `text` stands for; `None` when a `%` is not followed by two hexadecimal digits.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|&digit| char::from(digit).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        out.push((high * 16 + low) as u8);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_goes_and_comes() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut text = String::new();
        encode_into(&mut text, &bytes, b":/");
        assert!(
            text.is_ascii() && text.contains(":") && text.contains("%00") && text.contains("%FF")
        );
        assert_eq!(decode(text.as_bytes()), Some(bytes));
    }

    #[test]
    fn half_an_escape_is_refused() {
        assert_eq!(decode(b"a%2"), None);
        assert_eq!(decode(b"%"), None);
        assert_eq!(decode(b"%zz"), None);
        assert_eq!(decode(b"%+1"), None);
        assert_eq!(decode(b"a%2fB%2F"), Some(b"a/B/".to_vec()));
    }
}
