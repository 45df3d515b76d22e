//! MD5 (RFC 1321), by which document 1 knows a file. Nothing else can share the work of this sum, so it is what a `chunk` client
//! waits for on a fast link; hence the pains. No defence against an adversary who makes the content: MD5 has none.
//!
//! On processors with AVX-512 the steps are `wide`'s, elsewhere those of the `fast-md5` crate. A crate of its own, because it
//! alone has `unsafe` in it.

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
    use super::*;

    #[test]
    fn this_processor_s_way_and_any_processor_s_agree() {
        let bytes: Vec<u8> = (0..300_000u32).map(|at| ((at * 31) >> 3) as u8).collect();
        for length in [0, 1, 55, 56, 63, 64, 65, 119, 128, 4096, bytes.len()] {
            let (mut here, mut anywhere) = (Md5::new(), Md5::anywhere());
            here.update(&bytes[..length]);
            anywhere.update(&bytes[..length]);
            assert_eq!(here.finish(), anywhere.finish(), "{length} bytes");
        }
    }
}
