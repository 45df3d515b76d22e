//! An encoder that appends bencoded values directly, without a tree of values. Nothing is decoded
//! here.

/// Appends bencoded values to a buffer of its own.
#[derive(Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
}

/// An open dictionary. Keys must be appended in ascending order.
#[derive(Debug)]
pub struct DictEncoder<'a> {
    encoder: &'a mut Encoder,
    /// Where the last key is in the output: a debug assertion compares the next key with it.
    last_key: Option<(usize, usize)>,
}

impl Encoder {
    /// An empty encoder.
    pub fn new() -> Self {
        Self::default()
    }

    /// The encoded bytes.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Appends an integer.
    pub fn int(&mut self, value: i64) {
        self.out.push(b'i');
        self.out.extend_from_slice(value.to_string().as_bytes());
        self.out.push(b'e');
    }

    /// Appends a byte string.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes.len().to_string().as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(bytes);
    }

    /// Appends a value that is already bencoded.
    pub fn raw(&mut self, bencoded: &[u8]) {
        self.out.extend_from_slice(bencoded);
    }

    /// Appends a list of the values that `fill` appends.
    pub fn list(&mut self, fill: impl FnOnce(&mut Self)) {
        self.out.push(b'l');
        fill(self);
        self.out.push(b'e');
    }

    /// Appends a dictionary of the entries that `fill` appends, in ascending order of their keys.
    pub fn dict(&mut self, fill: impl FnOnce(&mut DictEncoder<'_>)) {
        self.out.push(b'd');
        fill(&mut DictEncoder { encoder: self, last_key: None });
        self.out.push(b'e');
    }
}

impl DictEncoder<'_> {
    /// Appends an entry: the key, and the one value that `fill` appends.
    pub fn entry(&mut self, key: &[u8], fill: impl FnOnce(&mut Encoder)) {
        let out = &self.encoder.out;
        debug_assert!(
            self.last_key.is_none_or(|(from, to)| &out[from..to] < key),
            "dictionary keys must ascend"
        );
        self.encoder.bytes(key);
        let end = self.encoder.out.len();
        self.last_key = Some((end - key.len(), end));
        fill(self.encoder);
    }

    /// Appends an entry with an integer.
    pub fn int(&mut self, key: &[u8], value: i64) {
        self.entry(key, |encoder| encoder.int(value));
    }

    /// Appends an entry with a byte string.
    pub fn bytes(&mut self, key: &[u8], value: &[u8]) {
        self.entry(key, |encoder| encoder.bytes(value));
    }
}
