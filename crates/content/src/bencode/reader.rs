//! A strict pull reader over bencoded bytes: it walks, checks and counts, and allocates nothing
//! that outlives a call.

use super::BencodeError;

/// How much a walk may come across. The bound on the bytes is the slice itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Lists and dictionaries inside each other, the outermost included.
    pub depth: usize,
    /// Values in all, of any kind; dictionary keys are not counted.
    pub items: usize,
    /// Dictionaries of at most 4,096 keys may have them in any order, as some programs send them. A
    /// key that comes twice is refused either way.
    pub any_order: bool,
}

impl Limits {
    /// For messages: 32 deep, 4,096 values, keys in any order.
    pub const SMALL: Self = Self { depth: 32, items: 4096, any_order: true };

    /// For torrents of a million files, which are walked and not kept: 32 deep, 16 Mi values, keys
    /// in any order.
    pub const LARGE: Self = Self { depth: 32, items: 1 << 24, any_order: true };

    /// The letter of BEP 3: as [`Limits::SMALL`], but keys must be sorted.
    pub const STRICT: Self = Self { depth: 32, items: 4096, any_order: false };
}

/// The largest dictionary whose keys may be out of order: they have to be collected to find one
/// that comes twice.
const MAX_UNSORTED: usize = 4096;

/// Walks over bencoded bytes, value by value. After an error a reader is of no more use.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    items: usize,
    limits: Limits,
}

impl<'a> Reader<'a> {
    /// A reader at the first of `bytes`.
    pub fn new(bytes: &'a [u8], limits: Limits) -> Self {
        Self { bytes, at: 0, depth: 0, items: 0, limits }
    }

    /// How many bytes were read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The bytes between two positions, each as [`Reader::position`] gave it.
    pub fn span(&self, from: usize, to: usize) -> &'a [u8] {
        &self.bytes[from..to]
    }

    /// The bytes that were not read.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The byte that the next value begins with: `i`, `l`, `d` or a digit; `e` at the end of a list
    /// or dictionary.
    ///
    /// # Errors
    /// When there is none.
    pub fn peek(&self) -> Result<u8, BencodeError> {
        self.bytes.get(self.at).copied().ok_or(BencodeError::Truncated { at: self.bytes.len() })
    }

    /// Reads an integer.
    ///
    /// # Errors
    /// When the next value is none, or one beyond 64 bits.
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
    /// When the next value is none.
    pub fn bytes(&mut self) -> Result<&'a [u8], BencodeError> {
        if !self.peek()?.is_ascii_digit() {
            return Err(BencodeError::WrongKind { at: self.at, want: "a string" });
        }
        self.count()?;
        self.string()
    }

    /// Reads a list: calls `visit` with each index, and the reader before that element. What
    /// `visit` leaves of the element is passed over.
    ///
    /// # Errors
    /// When the next value is no list, or `visit` fails.
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
            self.pass(before)?;
        }
        self.leave();
        Ok(())
    }

    /// Reads a dictionary: calls `visit` with each key, and the reader before that key's value.
    /// What `visit` leaves of the value is passed over.
    ///
    /// # Errors
    /// When the next value is no dictionary, a key comes twice or (where that matters) out of
    /// order, or `visit` fails.
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
            if let (Some(at), true) = (out_of_order, keys > MAX_UNSORTED || !self.limits.any_order)
            {
                return Err(BencodeError::KeyOrder { at }.into());
            }
            last = Some(key);
            let before = self.at;
            visit(key, self)?;
            self.pass(before)?;
        }
        self.leave();
        if out_of_order.is_some() {
            self.refuse_duplicates(start)?;
        }
        Ok(())
    }

    /// Passes over one value of any kind and gives its raw bytes. Only its structure is checked:
    /// not the order of keys, not the size of integers.
    ///
    /// # Errors
    /// When there is no whole value within the limits.
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

    /// Ends the walk.
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

    /// After a dictionary with unsorted keys: collects them, as the walk only compared neighbours.
    fn refuse_duplicates(&self, start: usize) -> Result<(), BencodeError> {
        let mut again = Reader::new(&self.bytes[..self.at], self.limits);
        again.at = start + 1;
        let mut keys = Vec::new();
        while again.peek()? != b'e' {
            keys.push(again.key()?);
            again.skip()?;
        }
        keys.sort_unstable();
        match keys.windows(2).any(|pair| pair[0] == pair[1]) {
            true => Err(BencodeError::DuplicateKey { at: start }),
            false => Ok(()),
        }
    }

    /// Passes over the value at `before`, unless a visitor took it.
    fn pass(&mut self, before: usize) -> Result<(), BencodeError> {
        if self.at == before { self.skip().map(drop) } else { Ok(()) }
    }

    fn key(&mut self) -> Result<&'a [u8], BencodeError> {
        if !self.peek()?.is_ascii_digit() {
            return Err(BencodeError::WrongKind { at: self.at, want: "a dictionary key" });
        }
        self.string()
    }

    /// A string's length, colon and bytes; the first digit is known to be one.
    fn string(&mut self) -> Result<&'a [u8], BencodeError> {
        const DIGITS: usize = 19;
        let start = self.at;
        let digits =
            self.rest().iter().take(DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
        match self.bytes.get(start + digits) {
            None => return Err(BencodeError::Truncated { at: self.bytes.len() }),
            Some(b':') if digits <= DIGITS && !(digits > 1 && self.bytes[start] == b'0') => {}
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

    /// The text between an `i`, which was taken, and its `e`, which is taken too: `0`, or digits
    /// without a leading zero, perhaps negative.
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

    /// Takes the `e` that was seen.
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
