//! MD5 (RFC 1321), by which document 1 knows a file. Nothing else can share the work of this sum,
//! so it is what a `chunk` client waits for on a fast link; hence the pains. No defence against an
//! adversary who makes the content: MD5 has none.
//!
//! On processors with AVX-512 the steps are `wide`'s, elsewhere those of the `fast-md5` crate. A
//! crate of its own, because it alone has `unsafe` in it.

#[cfg(target_arch = "x86_64")]
mod wide;

use std::fmt;

/// An MD5 sum that is fed part by part.
pub struct Md5(Machine);

enum Machine {
    #[cfg(target_arch = "x86_64")]
    Wide(wide::Wide),
    Anywhere(fast_md5::Md5),
}

impl Md5 {
    /// The sum of nothing so far.
    pub fn new() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(wide) = wide::Wide::new() {
            return Self(Machine::Wide(wide));
        }
        Self::anywhere()
    }

    /// The same on any processor.
    fn anywhere() -> Self {
        Self(Machine::Anywhere(fast_md5::Md5::new()))
    }

    /// Appends `bytes` to what is summed.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            #[cfg(target_arch = "x86_64")]
            Machine::Wide(wide) => wide.update(bytes),
            Machine::Anywhere(md5) => md5.update(bytes),
        }
    }

    /// The sum of everything that was appended.
    pub fn finish(self) -> [u8; 16] {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Machine::Wide(wide) => wide.finish(),
            Machine::Anywhere(md5) => md5.finalize(),
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

    /// This processor's way and any processor's, which may be the same.
    fn both() -> [Md5; 2] {
        [Md5::new(), Md5::anywhere()]
    }

    #[test]
    fn the_test_suite_of_rfc_1321() {
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
    fn the_length_of_the_last_block_makes_no_difference() {
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
        fn any_segmentation_gives_the_sum_that_others_get(
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
