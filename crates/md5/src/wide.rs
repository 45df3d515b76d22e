//! The steps of MD5 with AVX-512 instructions on 128-bit registers, of which one lane is used.
//! Other processors use the portable implementation in `lib.rs`.
//!
//! Nothing runs in parallel. The gain has two sources. Any function of three words is one
//! instruction (`vpternlogd`), so each of the 64 steps is a chain of four instructions of one
//! cycle; general-purpose instructions need four or five. And the next blocks are prefetched.
//!
//! # Unsafe
//! Three operations had no safe form when this was written:
//!
//! - Calling a function that needs AVX-512: a [`Wide`] exists only where the processor has it.
//! - The prefetch hint: it takes a pointer, but the program does not observe what it reads.
//! - Reading the vendor of the processor.
#![allow(unsafe_code, reason = "three lines, argued above and where they stand")]

use std::{
    arch::x86_64::{
        __cpuid, __m128i, _MM_HINT_T0, _mm_add_epi32, _mm_cvtsi32_si128, _mm_cvtsi128_si32,
        _mm_prefetch, _mm_rol_epi32, _mm_ternarylogic_epi32,
    },
    hint::black_box,
};

/// The length of a block in bytes.
const BLOCK_LENGTH: usize = 64;

/// The number of blocks between the current one and the prefetched one. Processing them takes
/// longer than a read from main memory.
const PREFETCH_DISTANCE: usize = 16;

/// The state before the first block (RFC 1321, 3.3).
const INITIAL_STATE: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The constant of each step: ⌊2³² · |sin(n + 1)|⌋ (RFC 1321, 3.4).
#[rustfmt::skip]
static SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613,
    0xfd46_9501, 0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193,
    0xa679_438e, 0x49b4_0821, 0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d,
    0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8, 0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed,
    0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a, 0xfffa_3942, 0x8771_f681, 0x6d9d_6122,
    0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70, 0x289b_7ec6, 0xeaa1_27fa,
    0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665, 0xf429_2244,
    0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb,
    0xeb86_d391,
];

/// An MD5 digest in progress. It exists only on a processor that has the instructions.
pub(crate) struct Wide {
    state: [u32; 4],
    /// An incomplete block, of which the first `length % 64` bytes are valid.
    partial_block: [u8; BLOCK_LENGTH],
    /// The number of bytes so far; MD5 counts them modulo 2⁶¹.
    length: u64,
}

impl Wide {
    /// A digest over no bytes yet; `None` on a processor that lacks the instructions or is slow at
    /// them.
    pub(crate) fn new() -> Option<Self> {
        let is_supported = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_intel();
        let partial_block = [0; BLOCK_LENGTH];
        is_supported.then_some(Self { state: INITIAL_STATE, partial_block, length: 0 })
    }

    /// Appends `bytes`.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let filled = self.length as usize % BLOCK_LENGTH;
        self.length = self.length.wrapping_add(bytes.len() as u64);
        let mut rest = bytes;
        if filled > 0 {
            let (more, after) = rest.split_at(rest.len().min(BLOCK_LENGTH - filled));
            self.partial_block[filled..filled + more.len()].copy_from_slice(more);
            rest = after;
            if filled + more.len() < BLOCK_LENGTH {
                return;
            }
            let block = self.partial_block;
            self.process(&[block]);
        }
        let (blocks, rest) = rest.as_chunks();
        self.process(blocks);
        self.partial_block[..rest.len()].copy_from_slice(rest);
    }

    /// The digest of all appended bytes. The last block is padded with a one bit, zeros, and the
    /// length in bits (RFC 1321, 3.1 and 3.2).
    pub(crate) fn finish(mut self) -> [u8; 16] {
        const LENGTH_FIELD: usize = 8;
        let filled = self.length as usize % BLOCK_LENGTH;
        let mut last = [[0; BLOCK_LENGTH]; 2];
        last[0][..filled].copy_from_slice(&self.partial_block[..filled]);
        last[0][filled] = 0x80;
        let blocks = if filled < BLOCK_LENGTH - LENGTH_FIELD { 1 } else { 2 };
        last[blocks - 1][BLOCK_LENGTH - LENGTH_FIELD..]
            .copy_from_slice(&self.length.wrapping_mul(8).to_le_bytes());
        self.process(&last[..blocks]);
        let mut digest = [0; 16];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_le_bytes();
        }
        digest
    }

    fn process(&mut self, blocks: &[[u8; BLOCK_LENGTH]]) {
        // SAFETY: `new` is the only constructor, and it has detected both features.
        self.state = unsafe { steps(self.state, blocks) };
    }
}

/// Whether the processor is Intel's. There, each of these instructions takes one cycle; some other
/// processors with AVX-512 are slower.
fn is_intel() -> bool {
    // SAFETY: every x86-64 processor has this instruction.
    #[allow(unused_unsafe, reason = "newer versions of Rust declare it safe")]
    let vendor = unsafe { __cpuid(0) };
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

/// One step: `a` becomes `b` plus the rotated sum of `a`, a function of `b`, `c` and `d`, a word
/// and a sine. `$f` is the truth table of the function, `$shift` the rotation in bits.
macro_rules! step {
    (
        $f:literal, $shift:literal, $a:ident, $b:ident, $c:ident, $d:ident, $word:expr, $sine:expr
    ) => {
        // The values that do not depend on the previous step are added first, so that only four
        // instructions wait for it.
        let independent = _mm_add_epi32(_mm_add_epi32($word, $sine), $a);
        let mixed = _mm_add_epi32(_mm_ternarylogic_epi32::<$f>($b, $c, $d), independent);
        $a = _mm_add_epi32(_mm_rol_epi32::<$shift>(mixed), $b);
    };
}

/// Sixteen steps; the n-th takes the word `$times * n + $first`.
macro_rules! round {
    (
        $f:literal, [$s0:literal $s1:literal $s2:literal $s3:literal], $state:ident, $words:ident,
        $sines:expr, $times:literal, $first:literal
    ) => {
        let [mut a, mut b, mut c, mut d] = $state;
        for quarter in 0..4 {
            let n = quarter * 4;
            let word = |n: usize| $words[(n * $times + $first) % 16];
            let sine = |n: usize| in_lane($sines[n]);
            step!($f, $s0, a, b, c, d, word(n), sine(n));
            step!($f, $s1, d, a, b, c, word(n + 1), sine(n + 1));
            step!($f, $s2, c, d, a, b, word(n + 2), sine(n + 2));
            step!($f, $s3, b, c, d, a, word(n + 3), sine(n + 3));
        }
        $state = [a, b, c, d];
    };
}

#[target_feature(enable = "avx512f,avx512vl")]
fn steps(state: [u32; 4], blocks: &[[u8; BLOCK_LENGTH]]) -> [u32; 4] {
    // If the compiler knew these values, it would add them last, in the dependent chain.
    let sines = black_box(&SINES);
    let mut state = state.map(|word| in_lane(word));
    for (index, block) in blocks.iter().enumerate() {
        if let Some(later) = blocks.get(index + PREFETCH_DISTANCE) {
            // SAFETY: a prefetch has no visible effect, and the pointer is to a live block.
            #[allow(unused_unsafe, reason = "newer versions of Rust declare it safe")]
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(later.as_ptr().cast())
            };
        }
        let (words, _) = block.as_chunks();
        let words: [__m128i; 16] = std::array::from_fn(|n| in_lane(u32::from_le_bytes(words[n])));
        let before = state;
        round!(0xca, [7 12 17 22], state, words, sines, 1, 0);
        round!(0xe4, [5 9 14 20], state, words, sines[16..], 5, 1);
        round!(0x96, [4 11 16 23], state, words, sines[32..], 3, 5);
        round!(0x39, [6 10 15 21], state, words, sines[48..], 7, 0);
        state = std::array::from_fn(|n| _mm_add_epi32(state[n], before[n]));
    }
    state.map(|word| _mm_cvtsi128_si32(word) as u32)
}

/// A register with the word in the lane that is used.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn in_lane(word: u32) -> __m128i {
    _mm_cvtsi32_si128(word as i32)
}
