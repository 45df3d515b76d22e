//! The two text forms of piece hashes in `json-torrent` metainfo: a Python bytes literal, or
//! hexadecimal digits. The JSON around them is `mod.rs`.

use std::fmt::Write;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

/// The longest accepted text of a hash, in bytes: `b''` and `\xNN` for each of 20 bytes.
pub(super) const MAX_DIGEST_TEXT: usize = 3 + 4 * 20;

/// The form in which hashes are written. Both forms are always accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashForm {
    /// Python's `repr` of the digest, which the original programs write: `b'\x8f>\xd0…'`.
    #[default]
    Python,
    /// 40 lower-case hexadecimal digits.
    Hex,
}

/// The text of a digest.
pub fn write_digest(digest: &[u8; 20], form: HashForm) -> String {
    match form {
        HashForm::Python => write_python_literal(digest),
        HashForm::Hex => HEXLOWER.encode(digest),
    }
}

/// Parses a digest in either form; `None` when the text has neither form, or not 20 bytes.
pub fn read_digest(text: &str) -> Option<[u8; 20]> {
    let hex =
        HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    hex.or_else(|| read_python_literal(text))
}

fn write_python_literal(digest: &[u8]) -> String {
    let quote = if digest.contains(&b'\'') && !digest.contains(&b'"') { '"' } else { '\'' };
    let mut text = String::with_capacity(MAX_DIGEST_TEXT);
    text.extend(['b', quote]);
    for &byte in digest {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b' '..=b'~' if char::from(byte) == quote => text.extend(['\\', quote]),
            b' '..=b'~' => text.push(byte.into()),
            _ => {
                // Writing to a String does not fail.
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push(quote);
    text
}

/// Parses a bytes literal of exactly 20 bytes with the escapes that `repr` writes, in single or
/// double quotes.
fn read_python_literal(text: &str) -> Option<[u8; 20]> {
    let quoted = text.strip_prefix('b')?;
    let quote = quoted.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let mut rest = quoted.get(1..)?.strip_suffix(quote)?.bytes();
    let mut digest = [0; 20];
    for byte in &mut digest {
        *byte = match rest.next()? {
            b'\\' => match rest.next()? {
                b't' => b'\t',
                b'n' => b'\n',
                b'r' => b'\r',
                b'x' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
                escaped @ (b'\\' | b'\'' | b'"') => escaped,
                _ => return None,
            },
            literal @ b' '..=b'~' if char::from(literal) != quote => literal,
            _ => return None,
        };
    }
    rest.next().is_none().then_some(digest)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of `hashlib.sha1(str(n).encode())`, Python 3.11: `hexdigest()`, and
    /// `repr(digest())`.
    const VECTORS: [(&str, &str); 7] = [
        (
            "ac3478d69a3c81fa62e60f5c3696165a4e5e6ac4",
            r"b'\xac4x\xd6\x9a<\x81\xfab\xe6\x0f\\6\x96\x16ZN^j\xc4'",
        ),
        (
            "c1dfd96eea8cc2b62785275bca38ac261256e278",
            r#"b"\xc1\xdf\xd9n\xea\x8c\xc2\xb6'\x85'[\xca8\xac&\x12V\xe2x""#,
        ),
        (
            "0ade7c2cf97f75d009975f4d720d1fa6c19f4897",
            r"b'\n\xde|,\xf9\x7fu\xd0\t\x97_Mr\r\x1f\xa6\xc1\x9fH\x97'",
        ),
        (
            "22d200f8670dbdb3e253a90eee5098477c95c23d",
            r#"b'"\xd2\x00\xf8g\r\xbd\xb3\xe2S\xa9\x0e\xeeP\x98G|\x95\xc2='"#,
        ),
        (
            "7d7116e23efef7292cad5e6f033d9a962708228c",
            r#"b'}q\x16\xe2>\xfe\xf7),\xad^o\x03=\x9a\x96\'\x08"\x8c'"#,
        ),
        (
            "7224f997fc148baa0b7f81c1eda6fcc3fd003db0",
            r"b'r$\xf9\x97\xfc\x14\x8b\xaa\x0b\x7f\x81\xc1\xed\xa6\xfc\xc3\xfd\x00=\xb0'",
        ),
        (
            "f080fbc899273e2294a44c871e2356d4bc5c6840",
            r#"b'\xf0\x80\xfb\xc8\x99\'>"\x94\xa4L\x87\x1e#V\xd4\xbc\\h@'"#,
        ),
    ];

    #[test]
    fn digests_are_written_as_python_writes_them() {
        for (hex, python) in VECTORS {
            let digest = read_digest(hex).unwrap();
            assert_eq!(write_digest(&digest, HashForm::Python), python);
            assert_eq!(write_digest(&digest, HashForm::Hex), hex);
            assert_eq!(read_digest(python), Some(digest), "{python}");
            assert_eq!(read_digest(&hex.to_uppercase()), Some(digest));
        }
    }

    #[test]
    fn other_spellings_of_a_literal_are_parsed() {
        let digest = *b"'\"\t\\aaaaaaaaaaaaaaa\xff";
        for text in [
            r#"b'\'"\t\\aaaaaaaaaaaaaaa\xff'"#,
            r#"b"'\"\x09\x5caaaaaaaaaaaaaaa\xFF""#,
            r#"b'\x27\"\t\\aaaaaaaaaaaaaaa\xff'"#,
        ] {
            assert_eq!(read_digest(text), Some(digest), "{text}");
        }
        // A literal of 40 characters is not taken for hexadecimal digits.
        let forty = format!("b'{}{}'", r"\t".repeat(17), "aaa");
        assert_eq!((forty.len(), read_digest(&forty).map(|digest| digest[0])), (40, Some(b'\t')));
    }

    #[test]
    fn texts_that_are_not_a_digest_are_rejected() {
        let nineteen = "a".repeat(19);
        for text in [
            "",
            "b",
            "b'",
            "b''",
            "b'\"",
            &format!("b'{nineteen}'"),
            &format!("b'{nineteen}aa'"),
            &format!("b'{nineteen}a"),
            &format!("b'{nineteen}a\""),
            &format!("'{nineteen}a'"),
            &format!("b'{nineteen}''"),
            &format!("b'{nineteen}\\'"),
            &format!("b'{nineteen}\\x'"),
            &format!("b'{nineteen}\\x1'"),
            &format!("b'{nineteen}\\xg0'"),
            &format!("b'{nineteen}\\0'"),
            &format!("b'{nineteen}\\a'"),
            &format!("b'{nineteen}\t'"),
            &format!("b'{nineteen}\u{e9}'"),
            &format!("b\u{e9}{nineteen}\u{e9}"),
            &"g".repeat(40),
            &"a".repeat(39),
            &"a".repeat(41),
        ] {
            assert_eq!(read_digest(text), None, "{text}");
        }
    }
}
