//! SHA-1, the hash of BitTorrent v1 pieces and info dictionaries, MD5, the file digest of the
//! `chunk` protocol, and SHA-256, for programs. SHA-1 uses the CPU's instructions where it has
//! them. SHA-1 and MD5 do not protect against an adversary that creates the content.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

pub use sow_md5::Md5;

/// An incremental SHA-1 hash.
#[derive(Clone)]
pub struct Sha1(Context);

/// The SHA-1 of `bytes`.
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    to_array(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref())
}

/// The SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

impl Sha1 {
    /// A hash over no bytes yet.
    pub fn new() -> Self {
        Self(Context::new(&SHA1_FOR_LEGACY_USE_ONLY))
    }

    /// Appends `bytes` to the hashed content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all appended bytes.
    pub fn finish(self) -> [u8; 20] {
        to_array(self.0.finish().as_ref())
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

/// A digest as lower-case hexadecimal digits.
pub fn hexadecimal(digest: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(digest)
}

/// A SHA-1 digest always has 20 bytes; the library's type does not say so.
fn to_array(digest: &[u8]) -> [u8; 20] {
    let mut out = [0; 20];
    out.copy_from_slice(digest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_inputs_give_the_known_digests() {
        let hex = |digest: [u8; 20]| data_encoding::HEXLOWER.encode(&digest);
        assert_eq!(hex(sha1(b"")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
    }

    #[test]
    fn hashing_in_parts_gives_the_hash_of_the_whole() {
        let bytes: Vec<u8> = (0..100_000u32).map(|at| ((at * 31) >> 3) as u8).collect();
        for part_length in [1, 63, 64, 65, 16_384] {
            let mut hash = Sha1::new();
            bytes.chunks(part_length).for_each(|part| hash.update(part));
            assert_eq!(hash.finish(), sha1(&bytes));
        }
    }
}
