//! The info-hash, which identifies a swarm: the SHA-1 of the bencoded `info` dictionary (BEP 3).
//! This file parses and prints it; [`crate::metainfo`] computes it.

use std::{fmt, str::FromStr};

use data_encoding::{BASE32_NOPAD_NOCASE, HEXLOWER, HEXLOWER_PERMISSIVE};

/// The 20 bytes that identify a swarm. Displayed as 40 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InfoHash(pub [u8; 20]);

/// The text is neither 40 hexadecimal digits nor 32 base-32 characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an info-hash is 40 hexadecimal digits or 32 base-32 characters")]
pub struct InfoHashError;

impl InfoHash {
    /// 32 lower-case base-32 characters, the form used in tickets.
    pub fn to_base32(self) -> String {
        BASE32_NOPAD_NOCASE.encode(&self.0).to_ascii_lowercase()
    }
}

impl FromStr for InfoHash {
    type Err = InfoHashError;

    fn from_str(text: &str) -> Result<Self, InfoHashError> {
        let bytes = match text.len() {
            40 => HEXLOWER_PERMISSIVE.decode(text.as_bytes()),
            32 => BASE32_NOPAD_NOCASE.decode(text.as_bytes()),
            _ => return Err(InfoHashError),
        };
        bytes.ok().and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(InfoHashError)
    }
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoHash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_and_base_32_are_both_parsed() {
        let hash = InfoHash(std::array::from_fn(|i| i as u8 * 13));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.to_string().to_uppercase().parse(), Ok(hash));
        assert_eq!(hash.to_base32().parse(), Ok(hash));
        assert_eq!(hash.to_base32().len(), 32);
        assert_eq!("abc".parse::<InfoHash>(), Err(InfoHashError));
        assert_eq!("z".repeat(40).parse::<InfoHash>(), Err(InfoHashError));
    }
}
