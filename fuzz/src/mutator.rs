//! Inputs made of others by random changes, without an allocation for each.

/// The longest input that is made, in bytes.
const MAX_LENGTH: usize = 4096;

/// Inputs above this length are chosen one time in sixteen: the time of a run is in proportion to
/// the length.
const SHORT: usize = 512;

/// Numbers at the ends of ranges.
const EDGES: [u32; 10] = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x4000, 0x4001, 0x7fff_ffff, 0xffff_ffff];

/// Texts that decoders look for.
const WORDS: [&[u8]; 16] = [
    b"d",
    b"e",
    b"i-1e",
    b"0:",
    b"4:info",
    b"6:pieces",
    b"\r\n",
    b"[]",
    b"{\"",
    b"\",",
    b":",
    b"CHEL ",
    b"ERROR ",
    b"&",
    b"%",
    b"\0\0\0\x01",
];

/// An endless source of inputs.
pub struct Mutator<'a> {
    inputs: &'a [Vec<u8>],
    /// The indices of the short inputs.
    short: Vec<usize>,
    rng: fastrand::Rng,
    buffer: Vec<u8>,
}

impl<'a> Mutator<'a> {
    /// Mutations of `inputs`, which `seed` determines.
    pub fn new(inputs: &'a [Vec<u8>], seed: u64) -> Self {
        let short = (0..inputs.len()).filter(|&at| inputs[at].len() <= SHORT).collect();
        let (rng, buffer) = (fastrand::Rng::with_seed(seed), Vec::with_capacity(2 * MAX_LENGTH));
        Self { inputs, short, rng, buffer }
    }

    /// The next input.
    #[allow(clippy::should_implement_trait, reason = "it lends its buffer")]
    pub fn next(&mut self) -> &[u8] {
        let base = self.choose();
        self.buffer.clear();
        self.buffer.extend_from_slice(&base[..base.len().min(MAX_LENGTH)]);
        for _ in 0..=self.rng.u8(..).trailing_ones() + u32::from(self.rng.bool()) {
            self.change();
        }
        self.buffer.truncate(MAX_LENGTH);
        &self.buffer
    }

    fn choose(&mut self) -> &'a [u8] {
        let at = match self.rng.u8(..16) {
            0 if !self.inputs.is_empty() => self.rng.usize(..self.inputs.len()),
            _ if !self.short.is_empty() => self.short[self.rng.usize(..self.short.len())],
            _ => return &[],
        };
        &self.inputs[at]
    }

    /// One random change.
    fn change(&mut self) {
        let length = self.buffer.len();
        let at = self.rng.usize(..=length);
        let end = (at + 1 + self.rng.usize(..8)).min(length);
        match self.rng.u8(..12) {
            0 | 1 if at < length => self.buffer[at] ^= 1 << self.rng.u8(..8),
            2 | 3 if at < length => self.buffer[at] = self.rng.u8(..),
            4 if at < length => {
                let change = self.rng.u8(1..17);
                self.buffer[at] = match self.rng.bool() {
                    true => self.buffer[at].wrapping_add(change),
                    false => self.buffer[at].wrapping_sub(change),
                };
            }
            5 => _ = self.buffer.drain(at..end),
            6 => {
                let word = WORDS[self.rng.usize(..WORDS.len())];
                _ = self.buffer.splice(at..at, word.iter().copied());
            }
            7 => {
                let edge = EDGES[self.rng.usize(..EDGES.len())].to_be_bytes();
                for (to, from) in self.buffer[at..].iter_mut().zip(edge) {
                    *to = from;
                }
            }
            8 if at < end => self.buffer.extend_from_within(at..end),
            9 => self.buffer.truncate(at),
            10 => {
                // The end of another input in place of ours.
                let other = self.choose();
                let from = self.rng.usize(..=other.len());
                self.buffer.truncate(at);
                self.buffer.extend_from_slice(&other[from..]);
            }
            _ => self.buffer.insert(at, self.rng.u8(..)),
        }
    }
}
