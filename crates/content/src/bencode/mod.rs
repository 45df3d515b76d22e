//! Bencoding (BEP 3): integers, byte strings, lists and dictionaries.
//!
//! Three ways to decode: [`decode`] builds a small tree, [`Reader`] walks over the bytes without
//! allocating, [`raw_dict_value`] gives the exact bytes of one entry. One way to encode:
//! [`Encoder`]. The meaning of the values is not known here.

mod encoder;
mod error;
mod reader;
mod value;

pub use encoder::{DictEncoder, Encoder};
pub use error::BencodeError;
pub use reader::{Limits, Reader};
pub use value::{Value, decode, decode_prefix};

/// The raw bytes of the value of `key` in the dictionary at the start of `bytes`; `None` when the
/// dictionary has no such key.
///
/// # Errors
/// When `bytes` do not begin with a complete dictionary within `limits`.
pub fn raw_dict_value<'a>(
    bytes: &'a [u8],
    key: &[u8],
    limits: Limits,
) -> Result<Option<&'a [u8]>, BencodeError> {
    let mut found = None;
    Reader::new(bytes, limits).dict(|name, reader| {
        let raw = reader.skip()?;
        if name == key {
            found = Some(raw);
        }
        Ok::<_, BencodeError>(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_values_are_the_exact_bytes() {
        let text = b"d1:ai1e4:infod1:xli1ei2eee1:zi3eetail";
        assert_eq!(raw_dict_value(text, b"info", Limits::SMALL), Ok(Some(&b"d1:xli1ei2eee"[..])));
        assert_eq!(raw_dict_value(text, b"none", Limits::SMALL), Ok(None));
        assert!(raw_dict_value(b"li1ee", b"info", Limits::SMALL).is_err());
    }
}
