//! A strict pull parser for bencoded bytes. It checks and counts values, and allocates nothing that
//! outlives a call. It builds no tree; that is `value`.

use super::BencodeError;

/// Bounds for one parse. The number of bytes is bounded by the slice itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum nesting of lists and dictionaries, the outermost included.
    pub depth: usize,
    /// The maximum number of values of any type; dictionary keys are not counted.
    pub items: usize,
    /// Whether a dictionary of at most 4,096 keys may have them in any order, as some programs send
    /// them. A duplicate key is an error either way.
    pub any_order: bool,
}

impl Limits {
    /// For messages: 32 deep, 4,096 values, keys in any order.
    pub const SMALL: Self = Self { depth: 32, items: 4096, any_order: true };

    /// For torrents of up to a million files, which are walked without building a tree: 32 deep,
    /// 16 Mi values, keys in any order.
    pub const LARGE: Self = Self { depth: 32, items: 1 << 24, any_order: true };

    /// Exactly BEP 3: as [`Limits::SMALL`], but keys must be sorted.
    pub const STRICT: Self = Self { depth: 32, items: 4096, any_order: false };
}

/// The largest number of keys in a dictionary with unsorted keys. Those keys are collected to find
/// duplicates.
const MAX_UNSORTED_KEYS: usize = 4096;

/// Walks over bencoded bytes, value by value. After an error the reader must not be used again.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    items: usize,
    limits: Limits,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8], limits: Limits) -> Self {
        Self { bytes, at: 0, depth: 0, items: 0, limits }
    }

    /// The number of bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The bytes between two positions that [`Reader::position`] returned.
    pub fn span(&self, from: usize, to: usize) -> &'a [u8] {
        &self.bytes[from..to]
    }

    /// The bytes that are not read yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The first byte of the next value: `i`, `l`, `d` or a digit; `e` at the end of a list or
    /// dictionary.
    ///
    /// # Errors
    /// When no bytes are left.
    pub fn peek(&self) -> Result<u8, BencodeError> {
        self.bytes.get(self.at).copied().ok_or(BencodeError::Truncated { at: self.bytes.len() })
    }

    /// Reads an integer.
    ///
    /// # Errors
    /// When the next value is not an integer, or does not fit in 64 bits.
    pub fn int(&mut self) -> Result<i64, BencodeError> {
        let start = self.at;
        self.expect(b'i', "an integer")?;
        self.count()?;
        let digits = self.integer_text(start)?;
        digits.parse().map_err(|_| BencodeError::IntegerRange { at: start })
    }

    /// Reads a byte string.
    ///
    /// # Errors
    /// When the next value is not a byte string.
    pub fn bytes(&mut self) -> Result<&'a [u8], BencodeError> {
        if !self.peek()?.is_ascii_digit() {
            return Err(BencodeError::WrongKind { at: self.at, want: "a string" });
        }
        self.count()?;
        self.string()
    }

    /// Reads a list: calls `visit` with each index, and the reader before that element. An element
    /// that `visit` does not read is skipped.
    ///
    /// # Errors
    /// When the next value is not a list, or `visit` fails.
    pub fn list<E: From<BencodeError>>(
        &mut self,
        mut visit: impl FnMut(usize, &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(b'l', "a list")?;
        for index in 0.. {
            if self.peek()? == b'e' {
                break;
            }
            let before = self.at;
            visit(index, self)?;
            self.skip_unread(before)?;
        }
        self.leave();
        Ok(())
    }

    /// Reads a dictionary: calls `visit` with each key, and the reader before that key's value. A
    /// value that `visit` does not read is skipped.
    ///
    /// # Errors
    /// When the next value is not a dictionary, a key is a duplicate or out of order (see
    /// [`Limits::any_order`]), or `visit` fails.
    pub fn dict<E: From<BencodeError>>(
        &mut self,
        mut visit: impl FnMut(&'a [u8], &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.at;
        self.enter(b'd', "a dictionary")?;
        let mut last: Option<&[u8]> = None;
        let mut out_of_order = None;
        let mut keys = 0;
        while self.peek()? != b'e' {
            let at = self.at;
            let key = self.key()?;
            keys += 1;
            match last {
                Some(last) if key == last => {
                    return Err(BencodeError::DuplicateKey { at: start }.into());
                }
                Some(last) if key < last => out_of_order = out_of_order.or(Some(at)),
                _ => {}
            }
            let order_matters = keys > MAX_UNSORTED_KEYS || !self.limits.any_order;
            if let (Some(at), true) = (out_of_order, order_matters) {
                return Err(BencodeError::KeyOrder { at }.into());
            }
            last = Some(key);
            let before = self.at;
            visit(key, self)?;
            self.skip_unread(before)?;
        }
        self.leave();
        if out_of_order.is_some() {
            self.reject_duplicate_keys(start)?;
        }
        Ok(())
    }

    /// Skips one value of any type and returns its raw bytes. Only the structure is checked, not
    /// the order of keys and not the range of integers.
    ///
    /// # Errors
    /// When there is no complete value within the limits.
    pub fn skip(&mut self) -> Result<&'a [u8], BencodeError> {
        let start = self.at;
        match self.peek()? {
            b'i' => {
                self.count()?;
                self.at += 1;
                self.integer_text(start)?;
            }
            b'l' => {
                self.enter(b'l', "a list")?;
                while self.peek()? != b'e' {
                    self.skip()?;
                }
                self.leave();
            }
            b'd' => {
                self.enter(b'd', "a dictionary")?;
                while self.peek()? != b'e' {
                    self.key()?;
                    self.skip()?;
                }
                self.leave();
            }
            b'0'..=b'9' => {
                self.bytes()?;
            }
            byte => return Err(BencodeError::Unexpected { at: start, byte }),
        }
        Ok(&self.bytes[start..self.at])
    }

    /// Reads the next value with `read`, or skips it: what `read` fails with is the inner error.
    ///
    /// # Errors
    /// When there is no complete value within the limits.
    pub fn attempt<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, BencodeError>,
    ) -> Result<Result<T, BencodeError>, BencodeError> {
        let before = self.clone();
        let outcome = read(self);
        if outcome.is_err() {
            *self = before;
            self.skip()?;
        }
        Ok(outcome)
    }

    /// Checks that all bytes were read.
    ///
    /// # Errors
    /// When bytes are left.
    pub fn finish(self) -> Result<(), BencodeError> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(BencodeError::Trailing { at: self.at })
        }
    }

    /// Reads the keys of an unsorted dictionary again and compares all of them; the first pass
    /// compares neighbours only.
    fn reject_duplicate_keys(&self, start: usize) -> Result<(), BencodeError> {
        let mut reader = Reader::new(&self.bytes[..self.at], self.limits);
        reader.at = start + 1;
        let mut keys = Vec::new();
        while reader.peek()? != b'e' {
            keys.push(reader.key()?);
            reader.skip()?;
        }
        keys.sort_unstable();
        match keys.windows(2).any(|pair| pair[0] == pair[1]) {
            true => Err(BencodeError::DuplicateKey { at: start }),
            false => Ok(()),
        }
    }

    /// Skips the value at `before`, unless the visitor has read it.
    fn skip_unread(&mut self, before: usize) -> Result<(), BencodeError> {
        if self.at == before { self.skip().map(drop) } else { Ok(()) }
    }

    fn key(&mut self) -> Result<&'a [u8], BencodeError> {
        if !self.peek()?.is_ascii_digit() {
            return Err(BencodeError::WrongKind { at: self.at, want: "a dictionary key" });
        }
        self.string()
    }

    /// A string's length, colon and bytes. The caller has checked that a digit comes first.
    fn string(&mut self) -> Result<&'a [u8], BencodeError> {
        const MAX_DIGITS: usize = 19;
        let start = self.at;
        let prefix = self.rest().iter().take(MAX_DIGITS + 1);
        let digits = prefix.take_while(|byte| byte.is_ascii_digit()).count();
        match self.bytes.get(start + digits) {
            None => return Err(BencodeError::Truncated { at: self.bytes.len() }),
            Some(b':') if digits <= MAX_DIGITS && !(digits > 1 && self.bytes[start] == b'0') => {}
            Some(_) => return Err(BencodeError::BadLength { at: start }),
        }
        let claimed = number(&self.bytes[start..start + digits]);
        let from = start + digits + 1;
        let left = self.bytes.len() - from;
        match usize::try_from(claimed) {
            Ok(length) if length <= left => {
                self.at = from + length;
                Ok(&self.bytes[from..self.at])
            }
            _ => Err(BencodeError::StringPastEnd { at: start, claimed, left }),
        }
    }

    /// The text between an `i`, already read, and its `e`: `0`, or digits without a leading zero
    /// and with an optional minus sign.
    fn integer_text(&mut self, start: usize) -> Result<&'a str, BencodeError> {
        let rest = self.rest();
        let minus = usize::from(rest.first() == Some(&b'-'));
        let digits = rest[minus..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let end = minus + digits;
        match rest.get(end) {
            None => return Err(BencodeError::Truncated { at: self.bytes.len() }),
            Some(b'e') if digits == 1 && rest[minus..end] == *b"0" && minus == 0 => {}
            Some(b'e') if digits > 0 && rest[minus] != b'0' => {}
            Some(_) => return Err(BencodeError::BadInteger { at: start }),
        }
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| BencodeError::BadInteger { at: start })
    }

    fn expect(&mut self, byte: u8, want: &'static str) -> Result<(), BencodeError> {
        if self.peek()? != byte {
            return Err(BencodeError::WrongKind { at: self.at, want });
        }
        self.at += 1;
        Ok(())
    }

    fn enter(&mut self, byte: u8, want: &'static str) -> Result<(), BencodeError> {
        let at = self.at;
        self.expect(byte, want)?;
        self.count()?;
        if self.depth == self.limits.depth {
            return Err(BencodeError::TooDeep { at, limit: self.limits.depth });
        }
        self.depth += 1;
        Ok(())
    }

    /// Reads the `e` that `peek` has shown.
    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    fn count(&mut self) -> Result<(), BencodeError> {
        if self.items == self.limits.items {
            return Err(BencodeError::TooMany { at: self.at, limit: self.limits.items });
        }
        self.items += 1;
        Ok(())
    }
}

/// The value of at most 19 decimal digits.
fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
}
