//! The steps of MD5 with AVX-512's instructions on 128 bits, of which one lane is used. Nothing is
//! done in parallel: the gain is that any function of three words is one instruction
//! (`vpternlogd`), so each of the 64 steps is a chain of four instructions of a cycle each, where
//! the general-purpose ones need four or five; and that what comes next is fetched ahead.
//!
//! # Unsafe
//! Three things here could not be said in safe Rust when this was written. That this processor has
//! the instructions: a [`Wide`] exists only where they were found. The hint that some bytes will be
//! wanted soon, which takes a pointer but reads nothing that can be seen. And the question who made
//! the processor.
#![allow(unsafe_code, reason = "three lines, argued above and where they stand")]

use std::{
    arch::x86_64::{
        __cpuid, __m128i, _MM_HINT_T0, _mm_add_epi32, _mm_cvtsi32_si128, _mm_cvtsi128_si32,
        _mm_prefetch, _mm_rol_epi32, _mm_ternarylogic_epi32,
    },
    hint::black_box,
};

const BLOCK: usize = 64;
/// Blocks that are fetched ahead: what memory takes to answer is less than they take to be summed
/// up.
const AHEAD: usize = 16;

/// Four words before the first block (RFC 1321, 3.3).
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// What is added in each step: ⌊2³² · |sin(n + 1)|⌋ (RFC 1321, 3.4).
#[rustfmt::skip]
static SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// A sum on a processor that has the instructions, of which its existence is the proof.
pub(crate) struct Wide {
    state: [u32; 4],
    /// Bytes of a block that is not whole yet: the first `length % 64`.
    begun: [u8; BLOCK],
    /// Bytes so far; MD5 counts them modulo 2⁶¹.
    length: u64,
}

impl Wide {
    /// The sum of nothing so far, unless this processor lacks the instructions or takes longer for
    /// them.
    pub(crate) fn new() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_intel();
        has.then_some(Self { state: START, begun: [0; BLOCK], length: 0 })
    }

    /// Appends `bytes`.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let filled = self.length as usize % BLOCK;
        self.length = self.length.wrapping_add(bytes.len() as u64);
        let mut rest = bytes;
        if filled > 0 {
            let (more, after) = rest.split_at(rest.len().min(BLOCK - filled));
            self.begun[filled..filled + more.len()].copy_from_slice(more);
            rest = after;
            if filled + more.len() < BLOCK {
                return;
            }
            let block = self.begun;
            self.sum_up(&[block]);
        }
        let (whole, rest) = rest.as_chunks();
        self.sum_up(whole);
        self.begun[..rest.len()].copy_from_slice(rest);
    }

    /// The sum: what is left is filled up with a one, zeros, and the length in bits (RFC 1321, 3.1
    /// and 3.2).
    pub(crate) fn finish(mut self) -> [u8; 16] {
        let filled = self.length as usize % BLOCK;
        let mut last = [[0; BLOCK]; 2];
        last[0][..filled].copy_from_slice(&self.begun[..filled]);
        last[0][filled] = 0x80;
        let blocks = if filled < BLOCK - 8 { 1 } else { 2 };
        last[blocks - 1][BLOCK - 8..].copy_from_slice(&self.length.wrapping_mul(8).to_le_bytes());
        self.sum_up(&last[..blocks]);
        let mut sum = [0; 16];
        for (bytes, word) in sum.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_le_bytes();
        }
        sum
    }

    fn sum_up(&mut self, blocks: &[[u8; BLOCK]]) {
        // SAFETY: `new` is the only way to a `Wide`, and it found both features.
        self.state = unsafe { steps(self.state, blocks) };
    }
}

/// Whether these instructions take a cycle each: so it is on Intel's processors, and not on all
/// others that have them.
fn is_intel() -> bool {
    // SAFETY: every processor with 64 bits has this instruction.
    #[allow(unused_unsafe, reason = "newer versions of Rust let everybody say it")]
    let vendor = unsafe { __cpuid(0) };
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

/// One step: `a` becomes `b` plus the rotated sum of `a`, a function of `b`, `c` and `d`, a word
/// and a sine. `$f` is the function's table of truth.
macro_rules! step {
    ($f:literal, $turn:literal, $a:ident, $b:ident, $c:ident, $d:ident, $word:expr, $sine:expr) => {
        // All that was known before the last step ended is summed up first: only four instructions
        // wait for it.
        let known = _mm_add_epi32(_mm_add_epi32($word, $sine), $a);
        let mixed = _mm_add_epi32(_mm_ternarylogic_epi32::<$f>($b, $c, $d), known);
        $a = _mm_add_epi32(_mm_rol_epi32::<$turn>(mixed), $b);
    };
}

/// Sixteen steps; the n-th takes the word `$times * n + $first`.
macro_rules! round {
    ($f:literal, [$s0:literal $s1:literal $s2:literal $s3:literal], $state:ident, $words:ident, $sines:expr, $times:literal, $first:literal) => {
        let [mut a, mut b, mut c, mut d] = $state;
        for quarter in 0..4 {
            let n = quarter * 4;
            let word = |n: usize| $words[(n * $times + $first) % 16];
            let sine = |n: usize| one($sines[n]);
            step!($f, $s0, a, b, c, d, word(n), sine(n));
            step!($f, $s1, d, a, b, c, word(n + 1), sine(n + 1));
            step!($f, $s2, c, d, a, b, word(n + 2), sine(n + 2));
            step!($f, $s3, b, c, d, a, word(n + 3), sine(n + 3));
        }
        $state = [a, b, c, d];
    };
}

#[target_feature(enable = "avx512f,avx512vl")]
fn steps(state: [u32; 4], blocks: &[[u8; BLOCK]]) -> [u32; 4] {
    // If their values were known here, the compiler would add them last, in the chain that
    // everything waits for.
    let sines = black_box(&SINES);
    let mut state = state.map(|word| one(word));
    for (index, block) in blocks.iter().enumerate() {
        if let Some(soon) = blocks.get(index + AHEAD) {
            // SAFETY: a hint, which changes nothing and reads nothing into the program; the pointer
            // is one to a live block besides.
            #[allow(unused_unsafe, reason = "newer versions of Rust let everybody say it")]
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(soon.as_ptr().cast())
            };
        }
        let (words, _) = block.as_chunks();
        let words: [__m128i; 16] = std::array::from_fn(|n| one(u32::from_le_bytes(words[n])));
        let before = state;
        round!(0xca, [7 12 17 22], state, words, sines, 1, 0);
        round!(0xe4, [5 9 14 20], state, words, sines[16..], 5, 1);
        round!(0x96, [4 11 16 23], state, words, sines[32..], 3, 5);
        round!(0x39, [6 10 15 21], state, words, sines[48..], 7, 0);
        state = std::array::from_fn(|n| _mm_add_epi32(state[n], before[n]));
    }
    state.map(|word| _mm_cvtsi128_si32(word) as u32)
}

/// A word in the lane that is used.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn one(word: u32) -> __m128i {
    _mm_cvtsi32_si128(word as i32)
}
