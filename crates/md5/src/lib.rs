//! MD5 (RFC 1321), the file digest of the `chunk` protocol (`docs/protocols/chunk.md`).
//!
//! MD5 cannot be computed in parallel, so a `chunk` client on a fast link waits for it; that is why
//! this crate exists. MD5 does not protect against an adversary that creates the content.
//!
//! On Intel processors with AVX-512 the steps are those of `wide`, elsewhere those of the
//! `fast-md5` crate. This is a crate of its own because it is the only one that contains `unsafe`.
//!
//! ```
//! let mut md5 = sow_md5::Md5::new();
//! md5.update(b"message ");
//! md5.update(b"digest");
//! assert_eq!(md5.finish()[..4], [0xf9, 0x6b, 0x69, 0x7d]);
//! ```

#[cfg(target_arch = "x86_64")]
mod wide;

use std::fmt;

/// An incremental MD5 digest.
pub struct Md5(Implementation);

enum Implementation {
    #[cfg(target_arch = "x86_64")]
    Wide(wide::Wide),
    Portable(fast_md5::Md5),
}

impl Md5 {
    /// A digest over no bytes yet.
    pub fn new() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(wide) = wide::Wide::new() {
            return Self(Implementation::Wide(wide));
        }
        Self::portable()
    }

    /// The implementation for any processor.
    fn portable() -> Self {
        Self(Implementation::Portable(fast_md5::Md5::new()))
    }

    /// Appends `bytes` to the digested content.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            #[cfg(target_arch = "x86_64")]
            Implementation::Wide(wide) => wide.update(bytes),
            Implementation::Portable(md5) => md5.update(bytes),
        }
    }

    /// The digest of all appended bytes.
    pub fn finish(self) -> [u8; 16] {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Implementation::Wide(wide) => wide.finish(),
            Implementation::Portable(md5) => md5.finalize(),
        }
    }
}

impl Default for Md5 {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5(..)")
    }
}

#[cfg(test)]
mod tests {
    use md5::Digest;
    use proptest::prelude::*;

    use super::*;

    /// The implementation for this processor and the portable one, which may be the same.
    fn both() -> [Md5; 2] {
        [Md5::new(), Md5::portable()]
    }

    #[test]
    fn the_test_suite_of_rfc_1321_passes() {
        for (text, sum) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            for mut md5 in both() {
                md5.update(text.as_bytes());
                let digits: String =
                    md5.finish().iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(digits, sum, "{text}");
            }
        }
    }

    #[test]
    fn content_of_any_length_has_the_digest_of_the_reference() {
        let bytes: Vec<u8> = (0..300_000u32).map(|at| ((at * 31) >> 3) as u8).collect();
        for length in [0, 1, 55, 56, 63, 64, 65, 119, 128, 4096, bytes.len()] {
            let sum = <[u8; 16]>::from(md5::Md5::digest(&bytes[..length]));
            for mut md5 in both() {
                md5.update(&bytes[..length]);
                assert_eq!(md5.finish(), sum, "{length} bytes");
            }
        }
    }

    proptest! {
        #[test]
        fn any_segmentation_has_the_digest_of_the_reference(
            bytes in proptest::collection::vec(any::<u8>(), 0..5000),
            cuts in proptest::collection::vec(0usize..5000, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            for mut md5 in both() {
                for pair in cuts.windows(2) {
                    md5.update(&bytes[pair[0]..pair[1]]);
                }
                prop_assert_eq!(md5.finish().to_vec(), md5::Md5::digest(&bytes).to_vec());
            }
        }
    }
}
