//! SHA-1, the hash of BitTorrent v1 pieces and info dictionaries, with the CPU's instructions where
//! it has them; and MD5, by which document 1 knows a file. Neither is to keep out an adversary who
//! makes the content.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, digest};

pub use sow_md5::Md5;

/// A hash that is fed part by part.
#[derive(Clone)]
pub struct Sha1(Context);

/// The SHA-1 of `bytes`.
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    twenty(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref())
}

impl Sha1 {
    /// The hash of nothing so far.
    pub fn new() -> Self {
        Self(Context::new(&SHA1_FOR_LEGACY_USE_ONLY))
    }

    /// Appends `bytes` to what is hashed.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of everything that was appended.
    pub fn finish(self) -> [u8; 20] {
        twenty(self.0.finish().as_ref())
    }
}

impl Default for Sha1 {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha1(..)")
    }
}

/// A sum or hash in the usual lower-case digits.
pub fn hexadecimal(digest: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(digest)
}

/// A SHA-1 digest is 20 bytes long, whatever the library's type says.
fn twenty(digest: &[u8]) -> [u8; 20] {
    let mut out = [0; 20];
    out.copy_from_slice(digest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let hex = |digest: [u8; 20]| data_encoding::HEXLOWER.encode(&digest);
        assert_eq!(hex(sha1(b"")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
    }

    #[test]
    fn in_parts_as_in_one_go() {
        let bytes: Vec<u8> = (0..100_000u32).map(|at| ((at * 31) >> 3) as u8).collect();
        for step in [1, 63, 64, 65, 16_384] {
            let mut hash = Sha1::new();
            bytes.chunks(step).for_each(|part| hash.update(part));
            assert_eq!(hash.finish(), sha1(&bytes));
        }
    }
}
